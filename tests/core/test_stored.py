"""ΔW of a layer from what an atoms file holds of it, with no model at hand."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from atomtune.core.stored import stored_delta, stored_layout
from atomtune.methods.atoms import Atoms, decompose_model
from atomtune.methods.specs import PRESETS, AtomsSpec

SPECS = {
    **PRESETS,
    "lambda": AtomsSpec(sparsity=0.05),
    "lambda-c4": replace(PRESETS["c4"], sparsity=0.05),
    "many": AtomsSpec(atoms=12, tile=4),
    "blocks": AtomsSpec(atoms=9, tile=4, pointwise="atoms", filter_block=4),
    "blocks, lambda": AtomsSpec(atoms=4, tile=4, pointwise="atoms", filter_block=2, sparsity=0.05),
    "filters of one tap": AtomsSpec(atoms=9, tile=4, pointwise="atoms"),
    "coefficients alone": AtomsSpec(tile=4, train_coefficients=True, train_atoms=False),
    "random mix": AtomsSpec(atoms=6, tile=4, overcomplete=2, pointwise="atoms", mix_start="random"),
}


class Layers(nn.Module):
    """One layer of each kind, of sides that tiles of several sizes divide."""

    def __init__(self) -> None:
        super().__init__()
        self.down_blocks = nn.ModuleDict(
            {
                "conv": nn.Conv2d(8, 12, 3),
                "grouped": nn.Conv2d(8, 8, 3, groups=2),
                "pointwise": nn.Conv2d(8, 24, 1),
                "linear": nn.Linear(48, 20),
            }
        )


@pytest.mark.parametrize("name", SPECS)
def test_a_layer_changes_as_the_whole_method_changes_it(name: str) -> None:
    torch.manual_seed(0)
    model, spec, method = Layers(), SPECS[name], Atoms()
    deltas = method.create(model, spec, decompose_model(model, spec))
    with torch.no_grad():
        for delta in deltas.values():
            for parameter in delta.parameters():
                parameter.copy_(0.05 * torch.randn(parameter.shape))
    tensors = method.export(deltas)
    changes = method.changes(model, spec, tensors)
    for layer in deltas:
        own = {key.rpartition(".")[2]: tensor for key, tensor in tensors.items() if key.startswith(f"{layer}.")}
        with torch.inference_mode():
            delta = stored_delta(model.get_submodule(layer).weight, own, spec.sparsity)  # type: ignore[arg-type]
        expected = changes[f"{layer}.weight"]
        assert delta.dtype == torch.float32
        assert float((delta - expected).norm() / expected.norm()) < 1e-3, layer  # the rounding of α to float16


@pytest.mark.parametrize(
    ("shape", "tensors"),
    [
        ((8, 8, 3, 3), {"atoms": (6, 4), "delta_atoms": (6, 4)}),
        ((8, 8), {"atoms": (6, 9), "delta_atoms": (6, 9)}),
        ((8, 8), {"atoms": (6, 4096), "delta_atoms": (6, 4096)}),
        ((8, 8), {"atoms": (6, 4), "delta_atoms": (5, 4)}),
        ((8, 8, 3, 3), {"atoms": (6, 9), "delta_atoms": (6, 3, 9), "delta_mixing": (4, 6, 3)}),
        ((8, 8, 3, 3), {"atoms": (36, 72), "delta_atoms": (36, 72)}),
        ((8, 8, 3, 3), {"atoms": (6, 9), "delta_atoms": (6, 3, 9), "mixing": (4, 6, 3)}),
        ((8, 8), {"atoms": (6, 4), "delta_atoms": (6, 4), "delta_coefficients": (15, 6)}),
    ],
)
def test_tensors_of_another_weight_are_refused(shape: tuple[int, ...], tensors: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="a weight of shape"):
        stored_layout(shape, {name: torch.zeros(size) for name, size in tensors.items()})


def test_a_weight_that_is_not_finite_is_refused() -> None:
    own = {"atoms": torch.eye(4), "delta_atoms": torch.eye(4)}
    with pytest.raises(ValueError, match="not finite"):
        stored_delta(torch.full((8, 8), torch.nan), own, 0.0)


def test_reading_a_file_and_a_change_needs_torch_and_safetensors_alone() -> None:
    heavy = "diffusers transformers peft accelerate open_clip huggingface_hub filelock rich typer jinja2 PIL"
    block = f"import sys; sys.modules.update(dict.fromkeys({heavy.split()}))"
    code = f"{block}; import atomtune.files.stored_layers, atomtune.export.lora_keys"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
