"""Which layers can be adapted, what is said of the others, and freezing a model."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, weight_norm

from atomtune.adapt import adaptable_layers, attach, detach, freeze, skipped_layers, trainable_parameters
from atomtune.core.decompose import decompose
from atomtune.core.deltas import AtomDelta
from atomtune.errors import AtomtuneError
from made import merge


class Doubled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2.0 * super().forward(input)


def delta_for(layer: nn.Module) -> AtomDelta:
    delta = AtomDelta(decompose(layer.weight, 2, 2, 0.05))
    nn.init.normal_(delta.delta_atoms)
    return delta


def mixed_model() -> nn.Module:
    return nn.ModuleDict(
        {
            "plain": nn.Linear(4, 4),
            "conv": nn.Conv2d(2, 2, 3),
            "doubled": Doubled(4, 4),
            "one": nn.Conv1d(2, 2, 3),
            "up": nn.ConvTranspose2d(2, 2, 3),
            "lstm": nn.LSTM(4, 4),
            "attention": nn.MultiheadAttention(4, 2),
            "parametrised": parametrizations.weight_norm(nn.Linear(4, 4)),
            "hooked": weight_norm(nn.Linear(4, 4)),
            "table": nn.Embedding(4, 4),
            "norm": nn.LayerNorm(4),
        }
    )


def test_every_layer_is_adaptable_or_named_with_a_reason() -> None:
    model = mixed_model()
    assert list(adaptable_layers(model)) == ["plain", "conv"]
    reasons = {
        "doubled": "Doubled is a subclass whose own forward",
        "one": "Conv1d is neither",
        "up": "ConvTranspose2d is neither",
        "lstm": "LSTM is neither",
        "attention": "fuses the projections of query, key and value",
        "attention.out_proj": "reads its weight and never calls the layer",
        "parametrised": "is computed from other parameters",
        "hooked": "is computed from other parameters",
    }
    found = skipped_layers(model)
    assert list(found) == list(reasons)
    assert all(reasons[name] in found[name] for name in reasons)


def test_an_adapted_layer_is_not_skipped() -> None:
    model = mixed_model()
    before = skipped_layers(model)
    attach(model, {"plain": delta_for(model["plain"])})
    assert list(adaptable_layers(model)) == ["plain", "conv"]
    assert skipped_layers(model) == before


def test_a_model_that_is_a_single_layer_is_named() -> None:
    assert not adaptable_layers(nn.Linear(2, 2))
    assert "whole model" in skipped_layers(nn.Linear(2, 2))[""]


def test_the_layers_of_a_vit_that_are_passed_over_are_named() -> None:
    vit = pytest.importorskip("torchvision").models.vit_b_16
    with torch.device("meta"):
        model = vit(weights=None)
    skipped = skipped_layers(model)
    assert len(adaptable_layers(model)) == 26
    assert {name.rpartition(".")[2] for name in skipped} == {"self_attention", "out_proj"}
    assert len(skipped) == 24


def test_freezing_takes_the_fast_way_and_is_undone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 300))
    model[2].bias.requires_grad_(False)
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    restore = freeze(model)
    attach(model, {"0": delta_for(model[0])})
    assert model[0].update() is not None
    model(torch.ones(2, 300)).sum().backward()
    assert all(model.get_parameter(name).grad is None for name in flags)
    assert all(parameter.grad is not None for parameter in trainable_parameters(model).values())
    detach(model)
    restore()
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == flags


def test_a_shared_weight_is_not_merged() -> None:
    model = nn.ModuleDict({"table": nn.Embedding(6, 4), "head": nn.Linear(4, 6, bias=False)})
    model["head"].weight = model["table"].weight
    before = model["table"].weight.detach().clone()
    attach(model, {"head": delta_for(model["head"])})
    with pytest.raises(AtomtuneError, match=r"head\.weight is also table\.weight, which would change with it"):
        merge(model)
    assert torch.equal(model["table"].weight, before)
