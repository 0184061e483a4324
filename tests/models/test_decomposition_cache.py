"""A decomposition in the cache never changes a result: what is there is verified, or known by its digest."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from atomtune.core.decompose import Decomposition
from atomtune.errors import AtomtuneError
from atomtune.files import store
from atomtune.methods.specs import AtomsSpec
from atomtune.models.base_model import ModelSource
from atomtune.models.decomposition import DecompositionReport, load_or_decompose
from photo_files import Heard

SOURCE = ModelSource("small", "small")
Change = Callable[[dict[str, Tensor]], None]


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(4, 16, 3), nn.Conv2d(16, 8, 1), nn.Linear(32, 16)).requires_grad_(False)


def rewrite(path: Path, change: Change) -> None:
    """Change the tensors of a file, and give it the checksum that fits them."""
    tensors, header = store.load(path, "decomposition")
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    change(tensors)
    kept = {key: value for key, value in header.items() if key not in ("format", "format_version", "sha256")}
    store.save(path, "decomposition", tensors, kept)


def turn_a_sign(tensors: dict[str, Tensor]) -> None:
    tensors["0.atoms"][0] *= -1


def swap_two_atoms(tensors: dict[str, Tensor]) -> None:
    tensors["2.atoms"][[0, 1]] = tensors["2.atoms"][[1, 0]]


def stretch_an_atom(tensors: dict[str, Tensor]) -> None:
    tensors["0.atoms"][1] *= 1.1


def rotate_two_atoms(tensors: dict[str, Tensor]) -> None:
    first, second = tensors["2.atoms"][0].clone(), tensors["2.atoms"][1].clone()
    tensors["2.atoms"][0], tensors["2.atoms"][1] = (first + second) / 2**0.5, (first - second) / 2**0.5


def take_other_directions(tensors: dict[str, Tensor]) -> None:
    shape = tensors["0.atoms"].shape
    tensors["0.atoms"] = torch.linalg.qr(torch.rand(shape[1], shape[1]))[0][: shape[0]].half()


def change_coefficients(tensors: dict[str, Tensor]) -> None:
    tensors["2.coefficients"] *= 1.05


def drop_a_coefficient(tensors: dict[str, Tensor]) -> None:
    tensors["2.coefficients"].view(-1)[tensors["2.coefficients"].view(-1).abs().argmax()] = 0


CHANGES: list[Change] = [turn_a_sign, swap_two_atoms, stretch_an_atom, rotate_two_atoms, take_other_directions]


def same(ours: dict[str, Decomposition], theirs: dict[str, Decomposition]) -> bool:
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name].atoms, part.atoms)
        and (part.coefficients is None or torch.equal(ours[name].coefficients, part.coefficients))
        for name, part in theirs.items()
    )


@pytest.mark.parametrize(
    ("sparsity", "change"),
    [
        *((0.0, change) for change in CHANGES),
        *((0.05, change) for change in (*CHANGES, change_coefficients, drop_a_coefficient)),
    ],
)
def test_altered_atoms_with_a_right_checksum_are_computed_again(
    sparsity: float, change: Change, model: nn.Module
) -> None:
    spec = AtomsSpec(atoms=4, tile=4, sparsity=sparsity)
    expected, report = load_or_decompose(model, SOURCE, spec)
    rewrite(report.path, change)
    events = Heard()
    held, again = load_or_decompose(model, SOURCE, spec, events=events)
    assert not again.found
    assert same(held, expected)
    assert again.digest == report.digest
    assert any("holds other atoms than" in text and "computed again" in text for text in events.warnings)


@pytest.mark.parametrize("sparsity", [0.0, 0.05])
def test_what_is_right_is_read_without_a_warning(sparsity: float, model: nn.Module) -> None:
    spec = AtomsSpec(atoms=4, tile=4, sparsity=sparsity)
    expected, first = load_or_decompose(model, SOURCE, spec)
    events = Heard()
    held, second = load_or_decompose(model, SOURCE, spec, events=events)
    assert (first.found, second.found) == (False, True)
    assert events.warnings == []
    assert same(held, expected)
    assert first.digest == second.digest == store.read_header(first.path)["sha256"]


def test_a_run_goes_on_with_the_atoms_it_began_with(model: nn.Module) -> None:
    """Whatever they are: its digest tells them from others."""
    spec = AtomsSpec(atoms=4, tile=4)
    report: DecompositionReport = load_or_decompose(model, SOURCE, spec)[1]
    rewrite(report.path, turn_a_sign)
    other = store.read_header(report.path)["sha256"]
    found = load_or_decompose(model, SOURCE, spec, digest=other)[1]
    assert found.found
    assert found.digest == other
    assert load_or_decompose(model, SOURCE, spec, digest=report.digest)[1].digest == report.digest
    with pytest.raises(
        AtomtuneError, match=r"the run began with other atoms .*than the base model's weights"
    ) as problem:
        load_or_decompose(model, SOURCE, spec, digest=other)
    assert problem.value.hint
