"""Every method through the same commands: train, resume, sample, merge; and the files that others read."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from atomtune.data.concept import Concept, expand
from atomtune.errors import Interrupted, UsageError
from atomtune.files.atoms_file import load_atoms
from atomtune.files.describe import describe
from atomtune.methods import METHODS
from atomtune.methods.specs import RankSpec, Spec
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.models.components import split_parts, token_ids
from atomtune.models.conditioning import embed, text_encoders
from atomtune.runtime.progress import Events
from atomtune.sampling.apply import applied, merge_atoms
from atomtune.sampling.changes import read_atoms
from atomtune.training.loop import Loop
from atomtune.training.options import TrainOptions
from atomtune.training.plan import file_bytes, plan
from atomtune.training.train import train
from stopping import StopAfter
from tiny import tiny_xl

Options = Callable[..., TrainOptions]

SMALL: dict[str, dict[str, Any]] = {"atoms": {"atoms": 4, "tile": 4}, "loldu": {"rank": 4, "alpha": 4}}
each_method = pytest.mark.parametrize("name", list(METHODS))


def asked(options: Options, name: str, **changes: Any) -> TrainOptions:
    spec = METHODS[name].spec(**SMALL.get(name, {}))
    return options(method=name, spec=spec, lr=1e-2, **changes)


def weights(pipeline: Any) -> dict[str, torch.Tensor]:
    parts = {"unet": pipeline.unet, **text_encoders(pipeline)}
    return {
        f"{part}.{key}": tensor.clone() for part, module in parts.items() for key, tensor in module.state_dict().items()
    }


@each_method
def test_a_file_of_every_method_changes_the_model_and_nothing_is_left(
    name: str, options: Options, tmp_path: Path, tiny_model: Path
) -> None:
    wanted = asked(options, name, steps=3)
    result = train(wanted, tmp_path / "run")
    layers = plan(wanted)
    assert result.trainable_parameters == sum(layer.parameters for layer in layers)
    names = 500 * len(layers)  # names take most of so small a file, and some methods have four tensors a layer
    assert file_bytes(layers) == pytest.approx(result.atoms_bytes, abs=names)
    _, info, _ = load_atoms(result.atoms_file)
    assert (info.method, METHODS[name].spec.from_dict(info.spec)) == (name, wanted.spec)
    assert describe(result.atoms_file)["method"] == name
    pipeline = load_pipeline(resolve(str(tiny_model)))
    before = weights(pipeline)
    modules = {id(module) for module in pipeline.unet.modules()}
    prompt = ["a photo of a sks castle"]
    noise, time = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3)), torch.tensor([500])

    def answer() -> torch.Tensor:
        with torch.no_grad():
            prediction: torch.Tensor = pipeline.unet(noise, time, embed(pipeline, prompt).states)[0]
        return prediction

    base = answer()
    with applied(pipeline, read_atoms([(result.atoms_file, 1.0)]), Events()):
        assert not torch.equal(answer(), base)
    assert torch.equal(answer(), base)
    merge_atoms(pipeline, read_atoms([(result.atoms_file, 0.0)]), Events())
    after = weights(pipeline)
    assert all(torch.equal(after[key], before[key]) for key in before)
    merge_atoms(pipeline, read_atoms([(result.atoms_file, 1.0)]), Events())
    assert any(not torch.equal(tensor, before[key]) for key, tensor in weights(pipeline).items())
    assert {id(module) for module in pipeline.unet.modules()} == modules


@each_method
def test_every_method_resumes_bit_equal(name: str, options: Options, tmp_path: Path) -> None:
    wanted = asked(options, name, steps=4)
    whole = train(wanted, tmp_path / "whole")
    steps = Loop.run

    def stop(self: Loop, total: int, after_step: Callable[[float], bool]) -> None:
        steps(self, 2, after_step)
        raise RuntimeError("the machine went down")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "run", stop)
        with pytest.raises(RuntimeError):
            train(wanted, tmp_path / "parts")
    assert train(wanted, tmp_path / "parts", resume=True).sha256 == whole.sha256


@pytest.mark.parametrize("name", ["lora", "oft", "bitfit", "difffit", "full", "loldu"])
def test_text_encoders_learn_by_every_method(name: str, options: Options, tmp_path: Path, tiny_model: Path) -> None:
    result = train(asked(options, name, train_text_encoder=True, train_token=True, steps=2), tmp_path / "run")
    tensors, info, _ = load_atoms(result.atoms_file)
    assert set(split_parts(tensors)) == {"unet", "text_encoder"}
    assert not any("text_model" in key for key in tensors)
    assert info.training["train_token"]
    pipeline = load_pipeline(resolve(str(tiny_model)))
    before = weights(pipeline)
    merge_atoms(pipeline, read_atoms([(result.atoms_file, 1.0)]), Events())
    changed = {key for key, tensor in weights(pipeline).items() if not torch.equal(tensor, before[key])}
    assert any(key.startswith("unet.") for key in changed)
    assert any(key.startswith("text_encoder.") and "token_embedding" not in key for key in changed)
    assert any("token_embedding" in key for key in changed)


@pytest.mark.parametrize("name", ["textual-inversion", "atoms"])
def test_the_token_alone_moves_in_the_table(name: str, options: Options, tmp_path: Path, tiny_model: Path) -> None:
    result = train(asked(options, name, train_token=name == "atoms", steps=2), tmp_path / "run")
    pipeline = load_pipeline(resolve(str(tiny_model)))
    before = weights(pipeline)
    merge_atoms(pipeline, read_atoms([(result.atoms_file, 1.0)]), Events())
    (token,) = token_ids(pipeline.tokenizer, "sks")
    for key, tensor in weights(pipeline).items():
        if key.startswith("text_encoder."):
            rows = (tensor != before[key]).reshape(len(tensor), -1).any(1).nonzero() if tensor.dim() else []
            assert [int(row) for row in rows] == ([token] if "token_embedding" in key else []), key
        elif name == "textual-inversion":
            assert torch.equal(tensor, before[key]), key


def test_the_token_has_a_learning_rate_of_its_own(options: Options, tmp_path: Path) -> None:
    wanted = asked(options, "bitfit", train_token=True, steps=4, lr_scheduler="linear")
    same = train(replace(wanted, token_lr=wanted.lr), tmp_path / "same")
    assert same.sha256 == train(wanted, tmp_path / "plain").sha256
    faster = replace(wanted, token_lr=5 * wanted.lr)
    whole = train(faster, tmp_path / "whole")
    with pytest.raises(Interrupted, match="stopped after step 2"):
        train(faster, tmp_path / "parts", events=StopAfter(2))
    assert train(faster, tmp_path / "parts", resume=True).sha256 == whole.sha256
    key = "text_encoder.token_embedding.change"
    slow, fast = (load_atoms(result.atoms_file)[0] for result in (same, whole))
    assert fast[key].norm() > 3 * slow[key].norm()
    assert all(fast[name].norm() < 2 * tensor.norm() for name, tensor in slow.items() if name != key)


def test_the_text_encoders_have_a_learning_rate_of_their_own(options: Options, tmp_path: Path) -> None:
    wanted = asked(options, "bitfit", train_text_encoder=True, train_token=True, steps=4, lr_scheduler="linear")
    same = train(replace(wanted, text_encoder_lr=wanted.lr), tmp_path / "same")
    assert same.sha256 == train(wanted, tmp_path / "plain").sha256
    faster = replace(wanted, text_encoder_lr=5 * wanted.lr, token_lr=0.2 * wanted.lr)
    whole = train(faster, tmp_path / "whole")
    with pytest.raises(Interrupted, match="stopped after step 2"):
        train(faster, tmp_path / "parts", events=StopAfter(2))
    assert train(faster, tmp_path / "parts", resume=True).sha256 == whole.sha256
    slow, fast = (load_atoms(result.atoms_file)[0] for result in (same, whole))
    for name, tensor in slow.items():
        factor = float(fast[name].float().norm() / tensor.float().norm())
        is_token = name == "text_encoder.token_embedding.change"
        expected = 0.2 if is_token else 5.0 if name.startswith("text_encoder.") else 1.0
        assert 0.5 * expected < factor < 2 * expected, name


def test_a_rate_for_a_token_that_is_not_trained_is_refused(options: Options) -> None:
    with pytest.raises(UsageError, match="text_encoder_lr needs train_text_encoder"):
        options(text_encoder_lr=1e-3)
    for changes in ({}, {"method": "textual-inversion", "spec": Spec()}):
        with pytest.raises(UsageError, match="token_lr needs train_token"):
            options(token_lr=1e-3, **changes)
    with pytest.raises(UsageError, match="prodigy, which finds one learning rate"):
        options(token_lr=1e-3, train_token=True, optimizer="prodigy", lr=1.0)


def test_the_token_of_two_text_encoders(options: Options, tmp_path: Path) -> None:
    model = tiny_xl(tmp_path / "xl")
    wanted = asked(options, "textual-inversion", model=str(model), steps=2)
    result = train(wanted, tmp_path / "run")
    tensors, _, _ = load_atoms(result.atoms_file)
    assert {key: tuple(tensor.shape) for key, tensor in tensors.items()} == {
        "text_encoder.token_embedding.change": (16,),
        "text_encoder_2.token_embedding.change": (24,),
    }
    assert all(bool(tensor.any()) for tensor in tensors.values())
    assert result.trainable_parameters == 40 == sum(layer.parameters for layer in plan(wanted))
    pipeline = load_pipeline(resolve(str(model)))
    before = embed(pipeline, ["a sks castle"]).states
    merge_atoms(pipeline, read_atoms([(result.atoms_file, 1.0)]), Events())
    moved = (embed(pipeline, ["a sks castle"]).states != before).any(dim=1)[0]
    assert bool(moved[:16].any())
    assert bool(moved[16:].any())


@pytest.mark.parametrize(
    ("token", "vectors", "said"),
    [("zqxwvut", 1, r"'zqxwvut' is [2-9] tokens"), ("sks", 2, "is 1 token "), ("sks sks", 2, "2 different ones")],
)
def test_a_token_that_is_not_as_many_as_its_vectors_is_refused(
    token: str, vectors: int, said: str, options: Options, tmp_path: Path
) -> None:
    wanted = options(method="textual-inversion", spec=Spec(), concept=Concept("castle", "castle", token, vectors))
    with pytest.raises(UsageError, match=said):
        train(wanted, tmp_path / "run")


def test_several_vectors_are_trained_resumed_and_sampled(options: Options, tmp_path: Path, tiny_model: Path) -> None:
    concept = Concept("castle", "castle", token_vectors=3)
    wanted = asked(options, "textual-inversion", concept=concept, steps=4)
    result = train(wanted, tmp_path / "run")
    with pytest.raises(Interrupted, match="stopped after step 2"):
        train(wanted, tmp_path / "parts", events=StopAfter(2))
    assert train(wanted, tmp_path / "parts", resume=True).sha256 == result.sha256
    assert result.trainable_parameters == 48 == sum(layer.parameters for layer in plan(wanted))
    tensors, info, _ = load_atoms(result.atoms_file)
    assert (info.token, {key: tuple(tensor.shape) for key, tensor in tensors.items()}) == (
        "choa uer rufc",
        {"text_encoder.token_embedding.change": (3, 16)},
    )
    pipeline = load_pipeline(resolve(str(tiny_model)))
    table = pipeline.text_encoder.get_input_embeddings().weight
    before, numbers = table.detach().clone(), token_ids(pipeline.tokenizer, info.token, 3)
    atoms = read_atoms([(result.atoms_file, 1.0)])
    prompt = expand("a photo of a <castle>", [atoms[0].concept])
    assert prompt == "a photo of a choa uer rufc castle"
    merge_atoms(pipeline, atoms, Events())
    change = tensors["text_encoder.token_embedding.change"].float()
    assert bool(change.any(dim=1).all()), "every vector learned"
    torch.testing.assert_close(table.detach()[numbers] - before[numbers], change, atol=1e-6, rtol=1e-3)
    untouched = torch.ones(len(table), dtype=torch.bool).index_fill(0, torch.tensor(numbers), value=False)
    assert torch.equal(table.detach()[untouched], before[untouched])


def test_more_vectors_without_a_trained_token_are_refused(options: Options) -> None:
    with pytest.raises(UsageError, match="token_vectors needs train_token"):
        options(concept=Concept("castle", token_vectors=2))


def test_a_spec_of_another_method_is_refused(options: Options) -> None:
    with pytest.raises(UsageError, match="spec is not one of the method atoms"):
        options(spec=RankSpec())
    with pytest.raises(UsageError, match="method must be one of atoms, lora"):
        options(method="magic")
    with pytest.raises(UsageError, match="trains an embedding alone"):
        options(method="textual-inversion", spec=Spec(), train_text_encoder=True)


def test_another_method_does_not_resume_a_run(options: Options, tmp_path: Path) -> None:
    train(asked(options, "lora", steps=2), tmp_path / "run")
    with pytest.raises(UsageError, match="method was 'lora', now 'loha'"):
        train(asked(options, "loha", steps=2), tmp_path / "run", resume=True, explicit=frozenset({"method"}))


@pytest.mark.parametrize("alpha", [4, 16])
def test_diffusers_loads_a_lora(alpha: int, options: Options, tmp_path: Path, tiny_model: Path) -> None:
    spec = RankSpec("attention", rank=4, alpha=alpha)
    result = train(options(method="lora", spec=spec, lr=1e-2, steps=3), tmp_path / "run")
    ours, theirs = (load_pipeline(resolve(str(tiny_model))) for _ in range(2))
    merge_atoms(ours, read_atoms([(result.atoms_file, 1.0)]), Events())
    theirs.load_lora_weights(str(result.atoms_file.parent), weight_name=result.atoms_file.name)
    theirs.fuse_lora()
    theirs.unload_lora_weights()
    base = load_pipeline(resolve(str(tiny_model))).unet
    own: dict[str, nn.Parameter] = dict(ours.unet.named_parameters())
    for key, parameter in theirs.unet.named_parameters():
        torch.testing.assert_close(parameter, own[key].detach(), atol=1e-6, rtol=1e-5, msg=key)
    assert any(not torch.equal(p, own[key]) for key, p in base.named_parameters())
