"""Adapted layers at their edges: what is refused leaves the model as it was, and what happens while attached stays."""

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from atomtune import adapt
from atomtune.adapt import attach, detach, set_scale, swap, trainable_parameters
from atomtune.core.decompose import decompose
from atomtune.core.deltas import AtomDelta, WeightDelta
from atomtune.errors import AtomtuneError
from made import merge


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_merge_refuses_what_is_not_finite_and_changes_nothing(bad: float) -> None:
    model = nn.Sequential(OrderedDict(good=nn.Linear(8, 8), bad=nn.Linear(8, 8))).to(torch.float16)
    deltas = {name: AtomDelta(decompose(layer.weight, 4, 4, 0.05)) for name, layer in model.named_children()}
    with torch.no_grad():
        deltas["good"].delta_atoms.fill_(0.1)
        deltas["bad"].delta_atoms[0, 0] = bad
    before = [parameter.detach().clone() for parameter in model.parameters()]
    attach(model, deltas)
    with pytest.raises(AtomtuneError, match=r"of bad\.weight is not finite in torch\.float16"):
        merge(model)
    assert set(adapt.adapted_layers(model)) == {"good", "bad"}
    detach(model)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


def two_layers() -> tuple[nn.Module, dict[str, WeightDelta]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 4)))
    return model, {name: AtomDelta(decompose(model.get_submodule(name).weight, 4, 4, 0.05)) for name in ("0", "2.0")}


@pytest.mark.parametrize("path", ["3", "1", "", "2", "0.weight"])
@pytest.mark.parametrize("act", [attach, swap])
def test_an_unknown_layer_leaves_the_model_untouched(act: Callable[..., None], path: str) -> None:
    model, deltas = two_layers()
    attach(model, deltas)
    modules = list(model.modules())
    with pytest.raises(KeyError, match="no convolution or linear layer is called"):
        act(model, {**deltas, path: deltas["0"]})
    assert list(model.modules()) == modules


def test_a_name_is_taken_once() -> None:
    model, deltas = two_layers()
    attach(model, {"2.0": deltas["2.0"]})
    with pytest.raises(ValueError, match="already has a delta called 'default'"):
        attach(model, deltas)
    assert set(adapt.adapted_layers(model)) == {"2.0"}


def test_a_scale_for_nobody_is_an_error() -> None:
    model, deltas = two_layers()
    attach(model, deltas)
    with pytest.raises(KeyError, match="no layer has a delta called 'castle'"):
        set_scale(model, 0.5, "castle")


def test_what_happens_while_attached_stays_after_detach() -> None:
    model, deltas = two_layers()
    attach(model, deltas)
    model.eval()
    model.load_state_dict({k: torch.ones_like(v) for k, v in model.state_dict().items()}, assign=True)
    weight = model[0].weight
    detach(model)
    assert not any(module.training for module in model.modules())
    assert model[0].weight is weight
    assert torch.equal(model[0].weight, torch.ones(8, 8))


def test_hooks_of_the_layer_still_run() -> None:
    model, deltas = two_layers()
    seen: list[str] = []
    model[0].register_forward_hook(lambda *_: seen.append("before"))
    attach(model, deltas)
    handle = model[0].register_forward_hook(lambda *_: seen.append("during"))
    model(torch.ones(1, 8))
    handle.remove()
    detach(model)
    model(torch.ones(1, 8))
    assert seen == ["before", "during", "before"]


def test_layers_with_a_forward_of_their_own_are_left_alone() -> None:
    class Doubled(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2.0 * super().forward(input)

    model = nn.Sequential(Doubled(4, 4), nn.Linear(4, 4), nn.ConvTranspose2d(2, 2, 3), nn.Conv1d(2, 2, 3))
    assert list(adapt.adaptable_layers(model)) == ["1"]
    attach(model, {"1": AtomDelta(decompose(model[1].weight, 2, 2, 0.05))})
    assert list(adapt.adaptable_layers(model)) == ["1"]


def test_a_half_precision_cast_of_an_attached_model() -> None:
    model, deltas = two_layers()
    attach(model, deltas)
    model.half()
    assert {p.dtype for p in trainable_parameters(model).values()} == {torch.float32}
    assert model(torch.ones(1, 8).half()).dtype == torch.float16
