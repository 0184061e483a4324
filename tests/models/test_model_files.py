"""Which files of a model are loaded: whatever diffusers writes, chosen for each component; and where they come from."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from atomtune.core.fingerprint import fingerprint
from atomtune.errors import AtomtuneError
from atomtune.models.architecture import native_resolution, text_encoders_on_meta, unet_on_meta
from atomtune.models.base_model import load_pipeline, load_unet, resolve, resolve_base
from atomtune.models.conditioning import text_encoders
from atomtune.models.weight_files import weight_files
from tiny import tiny_xl

PARTS = ("unet", "vae", "text_encoder")


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def same(ours: Path | str, theirs: Path, dtype: torch.dtype = torch.float32) -> None:
    """Two models have the same weights, once those of the second are rounded."""
    loaded, expected = load_pipeline(resolve(str(ours))), load_pipeline(resolve(str(theirs)))
    for part in PARTS:
        a, b = getattr(loaded, part).state_dict(), getattr(expected, part).state_dict()
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key].to(dtype).to(a[key].dtype)) for key in a), part


@pytest.mark.parametrize("variant", [None, "fp16", "bf16", "fp32"])
@pytest.mark.parametrize("shards", [None, "20KB"])
def test_variants_and_shards_load(variant: str | None, shards: str | None, tiny_model: Path, tmp_path: Path) -> None:
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(variant or "", torch.float32)
    options = {} if shards is None else {"max_shard_size": shards}
    load_pipeline(resolve(str(tiny_model))).to(dtype=dtype).save_pretrained(tmp_path / "m", variant=variant, **options)
    assert (len(list((tmp_path / "m" / "unet").glob("*.safetensors"))) > 1) == (shards is not None)
    same(tmp_path / "m", tiny_model, dtype)
    unet = load_unet(resolve(str(tmp_path / "m")))
    assert fingerprint(unet) == fingerprint(load_pipeline(resolve(str(tmp_path / "m"))).unet)


def test_each_component_may_have_its_own_variant(tiny_model: Path, tmp_path: Path) -> None:
    pipeline = load_pipeline(resolve(str(tiny_model)))
    pipeline.save_pretrained(tmp_path / "m")
    for part, variant in (("unet", "fp16"), ("text_encoder", "bf16")):
        shutil.rmtree(tmp_path / "m" / part)
        getattr(pipeline, part).to(torch.float16).save_pretrained(tmp_path / "m" / part, variant=variant)
        getattr(pipeline, part).to(torch.float32)
    loaded = load_pipeline(resolve(str(tmp_path / "m")))
    assert {parameter.dtype for parameter in loaded.unet.parameters()} == {torch.float32}


def test_shards_of_earlier_versions_load(tiny_model: Path, tmp_path: Path) -> None:
    """NAME-00001-of-00002.fp16.safetensors, as diffusers wrote them."""
    pipeline = load_pipeline(resolve(str(tiny_model))).to(dtype=torch.float16)
    pipeline.save_pretrained(tmp_path / "m", variant="fp16", max_shard_size="20KB")
    for path in list((tmp_path / "m" / "unet").glob("*.safetensors")):
        stem, _, rest = path.name.partition(".fp16-")
        path.rename(path.with_name(f"{stem}-{rest.removesuffix('.safetensors')}.fp16.safetensors"))
    same(tmp_path / "m", tiny_model, torch.float16)


@pytest.mark.parametrize("prefix", ["", "text_model."])
@pytest.mark.parametrize("kind", ["v1", "xl"])
def test_text_encoders_of_transformers_4_and_5_load(prefix: str, kind: str, folder: Path, tmp_path: Path) -> None:
    original = folder if kind == "v1" else tiny_xl(tmp_path / "xl")
    changed = Path(shutil.copytree(original, tmp_path / "changed"))
    for path in changed.glob("text_encoder*/model.safetensors"):
        tensors = {key.removeprefix("text_model."): tensor for key, tensor in load_file(path).items()}
        named = {key if "text_projection" in key else prefix + key: tensor for key, tensor in tensors.items()}
        save_file(named, path, {"format": "pt"})
    loaded, expected = (load_pipeline(resolve(str(path))) for path in (changed, original))
    for name, encoder in text_encoders(expected).items():
        state = getattr(loaded, name).state_dict()
        assert state.keys() == encoder.state_dict().keys()
        assert all(torch.equal(state[key], tensor) for key, tensor in encoder.state_dict().items())


def test_what_dreambooth_leaves_beside_a_model_does_not_matter(folder: Path, tiny_model: Path) -> None:
    for path in ("checkpoint-500/optimizer.bin", "checkpoint-500/unet/diffusion_pytorch_model.bin", "logs/x.pt"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"a pickle")
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "pytorch_model.bin").write_bytes(b"a pickle")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
        "image_encoder": [None, None],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    same(folder, tiny_model)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["w.safetensors", "w.fp16.safetensors", "w.bin"], ["w.safetensors"]),
        (["w.fp16.safetensors", "w.bf16.safetensors", "w.non_ema.safetensors"], ["w.fp16.safetensors"]),
        (["w.bf16.safetensors", "w.bin"], ["w.bf16.safetensors"]),
        (["w.non_ema.safetensors"], ["w.non_ema.safetensors"]),
        (["w-00002-of-00002.safetensors", "w-00001-of-00002.safetensors"],
         ["w-00001-of-00002.safetensors", "w-00002-of-00002.safetensors"]),
        (["w-00001-of-00002.safetensors", "w.fp16.safetensors"], ["w.fp16.safetensors"]),
        (["w.fp16-00001-of-00001.safetensors", "w.safetensors.index.fp16.json"], ["w.fp16-00001-of-00001.safetensors"]),
        (["w-00001-of-00001.fp16.safetensors"], ["w-00001-of-00001.fp16.safetensors"]),
    ],
)  # fmt: skip
def test_the_best_complete_variant_is_chosen(names: list[str], chosen: list[str]) -> None:
    def of_unet(names: list[str]) -> list[str]:
        return [f"unet/{name.replace('w', 'diffusion_pytorch_model', 1)}" for name in names]

    assert weight_files("m", [*of_unet(names), "vae/diffusion_pytorch_model.bin"], "unet") == of_unet(chosen)


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["model.bin"], r"pickles only \(text_encoder/model\.bin\)"),
        (["pytorch_model.bin"], r"pickles only \(text_encoder/pytorch_model\.bin\)"),
        ([], r"lacks the file text_encoder/model\.safetensors"),
        (["optimizer.bin"], r"lacks the file text_encoder/model\.safetensors"),
        (["model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"], r"model-00002-of-00003"),
        (["model.fp16-00002-of-00002.safetensors"], r"model\.fp16-00001-of-00002"),
        (["model.a.safetensors", "model.b.safetensors"], r"variants of unknown kinds: a and b"),
    ],
)
def test_weights_that_cannot_be_chosen_are_named(names: list[str], match: str) -> None:
    with pytest.raises(AtomtuneError, match=match) as problem:
        weight_files("m", [f"text_encoder/{name}" for name in names], "text_encoder")
    assert problem.value.hint


# the hub


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_a_model_in_the_hubs_cache_needs_no_hub(
    variant: str | None, tiny_model: Path, tmp_path: Path, hub_cache: Callable[[str, Path], None]
) -> None:
    load_pipeline(resolve(str(tiny_model))).save_pretrained(tmp_path / "m", variant=variant)
    hub_cache("someone/tiny", tmp_path / "m")
    source = resolve("someone/tiny")
    assert native_resolution(source) == 32
    assert list(text_encoders_on_meta(source)) == ["text_encoder"]
    assert sum(p.numel() for p in unet_on_meta(source).parameters()) == sum(
        p.numel() for p in load_unet(source).parameters()
    )
    same("someone/tiny", tiny_model)


def test_a_cache_that_lacks_files_is_no_model(folder: Path, hub_cache: Callable[[str, Path], None]) -> None:
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    hub_cache("someone/tiny", folder)
    assert isinstance(load_unet(resolve("someone/tiny")), nn.Module)
    with pytest.raises(AtomtuneError, match=r"cannot load someone/tiny: not in the cache .*HF_HUB_OFFLINE"):
        load_pipeline(resolve("someone/tiny"))


def test_a_hub_that_cannot_be_reached_is_asked_once(unreachable_hub: list[str]) -> None:
    for load in (load_pipeline, load_unet, unet_on_meta, native_resolution, text_encoders_on_meta):
        unreachable_hub.clear()
        with pytest.raises(AtomtuneError, match=r"cannot load someone/gone: .* could not be reached \(Name or"):
            load(resolve("someone/gone"))
        assert unreachable_hub == ["someone/gone"]


# local bases that are gone


@pytest.mark.parametrize(
    "name",
    ["./gone", "gone", "../gone", "/tmp/gone/model", "~/gone", "models/gone", "a/b/gone", "someone/gone.safetensors",
     "gone.safetensors", "models/", "someone/", "/", "so me/one", "-a/b"],
)  # fmt: skip
def test_a_local_model_that_is_gone_is_not_asked_of_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: pytest.fail("the hub was asked"))
    with pytest.raises(AtomtuneError, match=r"there is no model (folder|file)|is not a diffusers pipeline") as problem:
        resolve(name)
    assert problem.value.hint


def test_the_base_of_an_atoms_file_is_found_where_it_can_be(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "castle"
    (run / "steps").mkdir(parents=True)
    away = Path(shutil.copytree(tiny_model, tmp_path / "away" / "base"))
    (run / "run.json").write_text(json.dumps({"options": {"model": {"model": str(away)}}}))
    for atoms in (run / "atoms.safetensors", run / "steps" / "step-000002.safetensors"):
        assert resolve_base(None, "base", atoms).location == str(away)
        assert resolve_base("pocket", "base", atoms).name == "pocket"
        assert resolve_base(None, "pocket", atoms).name == "pocket"
        assert resolve_base(None, "someone/model", atoms).name == "someone/model"
    shutil.move(away, run / "base")
    assert resolve_base(None, "base", run / "atoms.safetensors").location == str(run / "base")
    shutil.move(run / "base", tmp_path / "base")
    assert resolve_base(None, "base", run / "atoms.safetensors").location == "base"


@pytest.mark.parametrize("base", ["base", "/home/somebody/base", "./base", "base.safetensors"])
def test_a_base_that_is_gone_is_said_to_be_gone(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AtomtuneError, match=r"the base model .* of atoms\.safetensors is not here") as problem:
        resolve_base(None, base, tmp_path / "atoms.safetensors")
    assert "--model" in (problem.value.hint or "")


def test_names_that_go_into_files_have_no_path(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_model)
    assert resolve(str(tiny_model)).public_name == resolve(".").public_name == tiny_model.name
    assert resolve("someone/model").public_name == "someone/model"
    assert resolve("pocket").public_name == "pocket"


def test_nothing_of_the_place_a_model_was_loaded_from_is_in_copies_of_it(tiny_model: Path, tmp_path: Path) -> None:
    load_pipeline(resolve(str(tiny_model))).save_pretrained(tmp_path / "copy")
    for path in (tmp_path / "copy").rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert str(tiny_model.parent) not in text, path
        assert "atomtune-" not in text, path
