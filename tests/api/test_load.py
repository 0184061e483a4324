"""`load` and `applied`: files on plain pipelines of diffusers and on models, from paths, runs and the hub."""

import gc
import hashlib
import shutil
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

import atomtune
from atomtune.training.options import TrainOptions
from made import made_atoms
from small_models import small_resnet, text_encoder


@pytest.fixture
def pipe(tiny_model: Path) -> Any:
    return plain(tiny_model)


def plain(folder: Path) -> Any:
    """A pipeline as a user of diffusers has it."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def weights(pipe: Any) -> dict[str, Tensor]:
    parts = ("unet", "text_encoder", "vae")
    return {f"{part}.{k}": v.clone() for part in parts for k, v in getattr(pipe, part).state_dict().items()}


def image(pipe: Any) -> bytes:
    generator = torch.Generator().manual_seed(0)
    made = pipe("a photo of a sks castle", num_inference_steps=2, generator=generator).images[0]
    return bytes(made.tobytes())


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_loaded_file_shows_and_detaching_gives_the_pipeline_back_bit_for_bit(pipe: Any, castle: Path) -> None:
    before, base = weights(pipe), image(pipe)
    loaded = atomtune.load(pipe, castle)
    assert repr(loaded) == "Loaded(castle (castle.safetensors): scale 1)"
    changed = image(pipe)
    assert changed != base
    loaded.scale = 0.0
    assert same(weights(pipe), before)
    loaded.scale = 1.0
    assert image(pipe) == changed
    loaded.detach()
    assert same(weights(pipe), before)
    assert image(pipe) == base
    with pytest.raises(atomtune.UsageError, match="were detached and cannot be scaled"):
        loaded.scale = 1.0


def test_applied_is_a_context_also_where_an_error_leaves_it(pipe: Any, castle: Path) -> None:
    before = weights(pipe)
    with atomtune.applied(pipe, castle, scale=0.5) as loaded:
        assert loaded.scale == 0.5
        assert not same(weights(pipe), before)
    assert same(weights(pipe), before)
    with pytest.raises(ZeroDivisionError), atomtune.applied(pipe, castle):
        1 / 0  # noqa: B018
    assert same(weights(pipe), before)
    with atomtune.applied(pipe, castle) as loaded:
        loaded.merge()
    assert not same(weights(pipe), before)


def test_files_add_up_in_one_call_or_several_and_go_in_any_order(pipe: Any, tiny_model: Path, tmp_path: Path) -> None:
    first = made_atoms(tmp_path / "first.safetensors", tiny_model)
    second = made_atoms(tmp_path / "second.safetensors", tiny_model, seed=1)
    before = weights(pipe)
    with (
        pytest.warns(atomtune.AtomtuneWarning, match="are of one concept") as caught,
        atomtune.applied(pipe, first, second, scale=(1.0, 0.5)),
    ):
        together = weights(pipe)
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the base is the pipeline's own, whatever is loaded into it
        one = atomtune.load(pipe, first)
        alone = weights(pipe)
        two = atomtune.load(pipe, second, scale=0.5)
    assert same(weights(pipe), together)
    one.detach()
    two.detach()
    assert same(weights(pipe), before)
    two = atomtune.load(pipe, second)
    one = atomtune.load(pipe, first)
    two.detach()
    assert same(weights(pipe), alone)
    one.merge()
    assert same(weights(pipe), alone)
    with pytest.raises(atomtune.UsageError, match="2 sources and 1 scale"):
        atomtune.load(pipe, first, second, scale=[1.0])
    with pytest.raises(atomtune.UsageError, match="0 sources"):
        atomtune.load(pipe)


def test_what_was_merged_along_with_others_cannot_be_taken_away(pipe: Any, castle: Path) -> None:
    first, second = atomtune.load(pipe, castle), atomtune.load(pipe, castle)
    first.merge()
    with pytest.raises(atomtune.UsageError, match="were merged along with others"):
        second.detach()


def test_a_saved_pipeline_is_a_plain_one_with_the_adapter_merged_in(
    pipe: Any, tiny_model: Path, tmp_path: Path
) -> None:
    names = set(pipe.unet.state_dict())
    atomtune.load(pipe, made_atoms(tmp_path / "castle.safetensors", tiny_model))
    pipe.save_pretrained(tmp_path / "merged")
    again = plain(tmp_path / "merged")
    assert set(again.unet.state_dict()) == names
    assert image(again) == image(pipe)


def test_a_loaded_pipeline_can_change_its_type_before_it_is_given_back(
    pipe: Any, tiny_model: Path, tmp_path: Path
) -> None:
    expected = plain(tiny_model).to(torch.bfloat16)
    loaded = atomtune.load(pipe, made_atoms(tmp_path / "castle.safetensors", tiny_model))
    pipe.to(torch.bfloat16)
    loaded.detach()
    assert same(weights(pipe), weights(expected))


def test_text_encoders_and_the_tokens_embedding_of_a_run_are_loaded_too(
    pipe: Any, options: Callable[..., TrainOptions], tmp_path: Path
) -> None:
    atomtune.train(options(steps=2, train_text_encoder=True, train_token=True, lr=1e-2), tmp_path / "run")
    before = weights(pipe)
    loaded = atomtune.load(pipe, tmp_path / "run")
    changed = {name.split(".")[0] for name, value in weights(pipe).items() if not torch.equal(value, before[name])}
    assert changed == {"unet", "text_encoder"}
    table = next(name for name in before if name.endswith("token_embedding.weight"))
    assert (weights(pipe)[table] != before[table]).any(dim=1).sum() == 1
    loaded.detach()
    assert same(weights(pipe), before)
    with pytest.raises(atomtune.AtomtuneError, match="tunes a text_encoder, and this is the UNet alone"):
        atomtune.load(pipe.unet, tmp_path / "run")


def test_a_file_for_one_model_of_a_pipeline_finds_it(pipe: Any, tmp_path: Path) -> None:
    before = weights(pipe)
    adapter = atomtune.attach(pipe.text_encoder, "lora", rank=2)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.1)
    path = adapter.save(tmp_path / "encoder.safetensors")
    adapter.detach()
    atomtune.load(pipe, path)
    changed = {name.split(".")[0] for name, value in weights(pipe).items() if not torch.equal(value, before[name])}
    assert changed == {"text_encoder"}


def test_an_adapter_saved_from_a_unet_is_a_file_that_the_command_line_takes(
    pipe: Any, tiny_model: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    adapter = atomtune.attach(pipe.unet, "lora", rank=2)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.1)
    path = adapter.save(tmp_path / "castle.safetensors", base=str(tiny_model))
    answer = cli("sample", "--atoms", path, "--prompt", "a <castle>", "--steps", 2, "--output", tmp_path / "images")
    assert answer.code == 0, answer.err


def test_another_base_is_a_warning_of_the_caller_and_another_architecture_an_error(
    castle: Path, other_model: Path, wider_model: Path
) -> None:
    with pytest.warns(atomtune.AtomtuneWarning, match="this base has other weights") as caught:
        atomtune.load(plain(other_model), castle)
    assert [warning.filename for warning in caught] == [__file__]
    wider = plain(wider_model)
    before = weights(wider)
    with pytest.raises(atomtune.AtomtuneError, match="is for the architecture"):
        atomtune.load(wider, castle)
    with pytest.raises(atomtune.AtomtuneError, match="the base model is ResNet-"):
        atomtune.load(small_resnet().make(), castle)
    assert same(weights(wider), before)
    with pytest.raises(atomtune.UsageError, match="a dict is neither a diffusers pipeline nor a torch module"):
        atomtune.load({}, castle)


def test_a_wider_model_of_the_same_class_is_another_architecture(tmp_path: Path) -> None:
    path = atomtune.attach(nn.Sequential(nn.Conv2d(3, 8, 3)), "c1").save(tmp_path / "net.safetensors")
    with pytest.raises(atomtune.AtomtuneError, match="is for the architecture Sequential-"):
        atomtune.load(nn.Sequential(nn.Conv2d(3, 16, 3)), path)


def test_nothing_changes_where_a_weight_would_not_be_finite(pipe: Any, tiny_model: Path, tmp_path: Path) -> None:
    path = made_atoms(tmp_path / "castle.safetensors", tiny_model, strength=10.0)
    before = weights(pipe)
    loaded = atomtune.load(pipe, path)
    changed = weights(pipe)
    with pytest.raises(atomtune.AtomtuneError, match="is not finite"):
        loaded.scale = 3e38
    assert loaded.scale == 1.0
    with pytest.raises(atomtune.UsageError, match="a scale of inf is out of range"):
        atomtune.load(pipe, path, scale=float("inf"))
    assert same(weights(pipe), changed)
    loaded.detach()
    assert same(weights(pipe), before)


def test_an_attached_adapter_and_loaded_files_do_not_mix(pipe: Any, castle: Path) -> None:
    loaded = atomtune.load(pipe, castle)
    adapter = atomtune.attach(pipe.unet, "c1")  # on top of what is loaded
    for call in (loaded.detach, loaded.merge, lambda: atomtune.load(pipe, castle)):
        with pytest.raises(atomtune.UsageError, match="has an adapter"):
            call()
    adapter.detach()
    loaded.detach()


def test_what_is_loaded_does_not_keep_a_model_in_memory(tmp_path: Path) -> None:
    model = text_encoder().make()
    path = atomtune.attach(text_encoder().make(), "c1").save(tmp_path / "encoder.safetensors")
    held = weakref.ref(model)
    atomtune.load(model, path)
    del model
    gc.collect()
    assert held() is None


def test_the_folder_of_a_run_and_a_folder_with_one_file(pipe: Any, tiny_model: Path, tmp_path: Path) -> None:
    run = made_atoms(tmp_path / "run" / "atoms.safetensors", tiny_model).parent
    made_atoms(run / "another.safetensors", tiny_model)
    assert atomtune.load(pipe, run).files[0].path == run / "atoms.safetensors"
    assert atomtune.load(pipe, run, filename="another.safetensors").files[0].path == run / "another.safetensors"
    (run / "atoms.safetensors").unlink()
    assert atomtune.load(pipe, str(run)).files[0].path == run / "another.safetensors"
    made_atoms(run / "third.safetensors", tiny_model)
    with pytest.raises(atomtune.AtomtuneError, match=r"holds no run\.safetensors, .* 2: another") as caught:
        atomtune.load(pipe, run)
    assert caught.value.hint == "filename= says which one to take"
    with pytest.raises(atomtune.UsageError, match="revision is for hub ids"):
        atomtune.load(pipe, run, revision="main")
    for absent in (tmp_path / "nowhere" / "x", "castle.safetensors", "no such thing", run / "runs"):
        with pytest.raises(atomtune.AtomtuneError, match="there is no file or folder"):
            atomtune.load(pipe, absent)


@pytest.fixture(scope="module")
def castle(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_atoms(tmp_path_factory.mktemp("atoms") / "castle.safetensors", tiny_model)


@pytest.fixture
def hub(castle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub's client that holds two revisions of org/mug, as downloads leave it."""
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    folder = cache / "models--org--mug"
    for name in ("main", "v2"):
        commit = hashlib.sha1(name.encode()).hexdigest()
        snapshot = folder / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for file in ("atoms", "extra"):
            shutil.copy(castle, snapshot / f"{file}.safetensors")
        (folder / "refs").mkdir(exist_ok=True, parents=True)
        (folder / "refs" / name).write_text(commit, encoding="ascii")
    return folder


def test_a_hub_id_with_revision_and_file(pipe: Any, hub: Path) -> None:
    def found(*arguments: str, **options: Any) -> tuple[str, str]:
        with atomtune.applied(pipe, *arguments, **options) as loaded:
            path = loaded.files[0].path
        return next(ref.name for ref in (hub / "refs").iterdir() if ref.read_text() == path.parent.name), path.name

    assert found("org/mug") == ("main", "atoms.safetensors")
    assert found("org/mug", revision="v2") == ("v2", "atoms.safetensors")
    assert found("org/mug@v2") == ("v2", "atoms.safetensors")
    assert found("org/mug@v2:extra.safetensors") == ("v2", "extra.safetensors")
    assert found("org/mug:extra.safetensors") == ("main", "extra.safetensors")
    assert found("org/mug", filename="extra.safetensors", revision="v2") == ("v2", "extra.safetensors")
    with pytest.raises(atomtune.UsageError, match="names the revision v2, and v1 was asked for"):
        atomtune.load(pipe, "org/mug@v2", revision="v1")


@pytest.mark.parametrize("source", ["org/cup", "org/mug@v3", "org/mug:absent.safetensors"])
def test_a_hub_id_that_cannot_be_had_offline_is_one_line_and_a_hint(pipe: Any, hub: Path, source: str) -> None:
    with pytest.raises(atomtune.AtomtuneError) as caught:
        atomtune.load(pipe, source)
    assert "the hub https://huggingface.co was not asked (HF_HUB_OFFLINE is set)" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hub id such as org/mug" in str(caught.value.hint)


def test_a_lora_of_another_program_is_refused(pipe: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"unet.x": torch.zeros(1)}, tmp_path / "lora.safetensors")
    with pytest.raises(atomtune.AtomtuneError, match="was not written by atomtune"):
        atomtune.load(pipe, tmp_path / "lora.safetensors")
