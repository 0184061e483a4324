"""The scaling of ΔD by which one learning rate suits every layer, tile and number of atoms."""

import pytest
import torch
from torch import nn

from atomtune.core.deltas import AtomDelta
from atomtune.methods.atoms import STEP, Atoms, decompose_model
from atomtune.methods.specs import PRESETS, AtomsSpec


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(24, 32, 3)
        self.wide = nn.Linear(64, 96)
        self.patterned = nn.Linear(48, 32)
        with torch.no_grad():  # small, and one pattern again and again, as trained layers have some
            self.patterned.weight.copy_(0.1 * torch.kron(torch.randn(2, 3), torch.randn(16, 16)))


def relative_steps(spec: AtomsSpec) -> dict[str, float]:
    """Size of the change of each weight, in its standard deviations, that one random step of 1e-3 makes."""
    model = Model()
    deltas = Atoms().create(model, spec, decompose_model(model, spec))
    generator = torch.Generator().manual_seed(1)
    found = {}
    for name, delta in deltas.items():
        assert isinstance(delta, AtomDelta)
        weight = model.get_submodule(name).weight
        assert isinstance(weight, torch.Tensor)
        with torch.no_grad():
            delta.delta_atoms += 1e-3 * torch.randn(delta.delta_atoms.shape, generator=generator).sign()
            change = delta.delta_weight(weight)
        found[name] = float(change.square().mean().sqrt() / weight.detach().std(correction=0))
    return found


@pytest.mark.parametrize("spec", [PRESETS["c1"], PRESETS["c2"], AtomsSpec(atoms=3, tile=8)], ids=["c1", "c2", "few"])
def test_a_step_means_the_same_for_every_layer(spec: AtomsSpec) -> None:
    for name, size in relative_steps(spec).items():
        assert size == pytest.approx(STEP * 1e-3, rel=0.25), name


def test_the_papers_scaling_has_another_step_for_every_layer() -> None:
    steps = relative_steps(AtomsSpec(tile=16, paper_scaling=True))
    assert steps["conv"] == pytest.approx(STEP * 1e-3, rel=0.25)
    assert steps["patterned"] > 3.0 * steps["conv"]


def test_a_layer_of_zeros_is_left_unscaled() -> None:
    model = nn.ModuleDict({"linear": nn.Linear(8, 8)})
    with torch.no_grad():
        model["linear"].weight.zero_()  # type: ignore[union-attr,operator]
    spec = AtomsSpec(atoms=2, tile=4)
    delta = Atoms().create(model, spec, decompose_model(model, spec))["linear"]
    assert isinstance(delta, AtomDelta)
    assert delta.gain == 1.0
