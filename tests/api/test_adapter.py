"""The contract of `attach` and its adapter: every registered method on models of several libraries."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import atomtune
from atomtune.methods import METHODS
from small_models import Kind, bert, noise, resnet18, small_resnet, text_encoder, unet

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "c2": ("c2", {}),
    "c4": ("c4", {"atoms": 4, "tile": 4}),
    "lora": ("lora", {"rank": 2, "alpha": 4}),
    "loldu": ("loldu", {"layers": "all", "rank": 8}),
    "oft-scaled": ("oft-scaled", {"layers": "all"}),
    **{
        name: (name, {})
        for name in METHODS
        if name not in ("atoms", "lora", "loldu", "oft-scaled", "textual-inversion")
    },
}
QUICK = {"unet": ("c2", "lora", "full"), "resnet18": ("c2",), "bert": ("c4", "oft", "bitfit")}
"""The methods that are tried on these models each time; on the others it is all of them."""
MODELS = ("unet", "text_encoder", "resnet", "resnet18", "bert")


@pytest.fixture(scope="module")
def kinds(tiny_model: Path) -> dict[str, Kind]:
    return {
        "unet": unet(tiny_model),
        "text_encoder": text_encoder(),
        "resnet": small_resnet(),
        "resnet18": resnet18(),
        "bert": bert(),
    }


class Case:
    """A method on a kind of model."""

    def __init__(self, kind: Kind, method: str, options: dict[str, Any]) -> None:
        self.kind, self.method, self.options = kind, method, options

    def attach(self, model: nn.Module, **more: Any) -> atomtune.Adapter:
        return atomtune.attach(model, self.method, **self.options, **more)

    @torch.no_grad()
    def output(self, model: nn.Module) -> Tensor:
        return self.kind.run(model, self.kind.inputs)

    def train(self, model: nn.Module, adapter: atomtune.Adapter, steps: int = 6) -> list[float]:
        """The losses of some steps towards a fixed target."""
        target = noise(*self.output(model).shape, seed=2)
        optimizer = torch.optim.AdamW(adapter.parameters(), lr=1e-3)
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = (self.kind.run(model, self.kind.inputs) - target).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses


def pairs(*models: str) -> list[Any]:
    """Every method on these models."""
    return [
        pytest.param((model, name), marks=() if name in QUICK.get(model, CASES) else pytest.mark.slow)
        for model in models
        for name in CASES
    ]


@pytest.fixture(params=pairs(*MODELS), ids="-".join)
def case(request: pytest.FixtureRequest, kinds: dict[str, Kind]) -> Case:
    model, name = request.param
    return Case(kinds[model], *CASES[name])


@pytest.fixture(params=pairs("text_encoder", "resnet"), ids="-".join)
def small_case(request: pytest.FixtureRequest, kinds: dict[str, Kind]) -> Case:
    model, name = request.param
    return Case(kinds[model], *CASES[name])


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(model: nn.Module, weights: dict[str, Tensor]) -> bool:
    now = model.state_dict()
    return now.keys() == weights.keys() and all(torch.equal(now[name], weights[name]) for name in now)


def test_attaching_changes_no_bit_of_the_output_and_detaching_restores_the_very_modules(case: Case) -> None:
    model = case.kind.make()
    modules, weights = dict(model.named_modules()), state(model)
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    expected = case.output(model)
    adapter = case.attach(model)
    assert torch.equal(case.output(model), expected)
    case.train(model, adapter, steps=2)
    assert not torch.equal(case.output(model), expected)
    assert adapter.detach() is model
    assert dict(model.named_modules()) == modules
    assert same(model, weights)
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(case.output(model), expected)


def test_training_lowers_the_loss_and_only_what_is_trained_gets_gradients(case: Case) -> None:
    model = case.kind.make()
    base = dict(model.named_parameters())
    adapter = case.attach(model)
    losses = case.train(model, adapter)
    assert losses[-1] < losses[0]
    trained = {id(parameter) for parameter in adapter.parameters()}
    assert trained
    assert sum(parameter.grad is not None for parameter in adapter.parameters()) > 0
    for name, parameter in [*base.items(), *model.named_parameters()]:
        assert parameter.requires_grad == (id(parameter) in trained), name
        assert parameter.grad is None or id(parameter) in trained, name


def test_a_saved_adapter_gives_the_trained_model_back_in_a_fresh_one_and_equals_its_merge(
    case: Case, tmp_path: Path
) -> None:
    model = case.kind.make()
    base = case.output(model)
    adapter = case.attach(model)
    case.train(model, adapter)
    trained = case.output(model)
    path = adapter.save(tmp_path / "mug.safetensors", steps=6)
    fresh = case.kind.make()
    weights = state(fresh)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = atomtune.load(fresh, path)
    # the file holds float16
    assert (case.output(fresh) - trained).norm() < 0.02 * (trained - base).norm()
    merged = adapter.merge()
    assert merged is model
    assert same(model, state(fresh))
    assert torch.equal(case.output(model), case.output(fresh))
    loaded.detach()
    assert same(fresh, weights)


def test_the_scale_is_the_factor_of_the_weight_deltas(small_case: Case, tmp_path: Path) -> None:
    case = small_case
    model = case.kind.make()
    base = case.output(model)
    adapter = case.attach(model)
    case.train(model, adapter)
    trained, path = case.output(model), adapter.save(tmp_path / "mug.safetensors")
    adapter.scale = 0.0
    assert torch.equal(case.output(model), base)
    adapter.scale = 0.5
    assert adapter.scale == 0.5
    fresh = case.kind.make()
    atomtune.load(fresh, path, scale=0.5)
    half = case.output(model)
    assert (half - case.output(fresh)).norm() < 0.02 * (half - base).norm()
    before, now = load_file(path), load_file(adapter.save(tmp_path / "again" / "mug.safetensors"))
    assert before.keys() == now.keys()
    assert all(torch.equal(now[name], before[name]) for name in before)  # a file holds the adapter at scale 1
    adapter.scale = 1.0
    # peft's forward pass of COFT moves the parameters into their bounds again and again
    torch.testing.assert_close(case.output(model), trained, rtol=0, atol=1e-5 if case.method == "coft" else 0)
    adapter.scale = 0.5
    adapter.merge()
    assert same(model, state(fresh))


def test_a_state_dict_continues_training_where_it_was(small_case: Case) -> None:
    case = small_case
    model, other = case.kind.make(), case.kind.make()
    adapter, twin = case.attach(model, seed=1), case.attach(other, seed=2)
    case.train(model, adapter, steps=2)
    kept = {name: value.clone() for name, value in adapter.state_dict().items()}
    twin.load_state_dict(kept)
    assert torch.equal(case.output(other), case.output(model))
    assert case.train(other, twin, steps=2) == case.train(model, adapter, steps=2)
