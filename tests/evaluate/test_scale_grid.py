"""The sheet of steps and scales."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from atomtune.core.decompose import Decomposition
from atomtune.core.fingerprint import fingerprint
from atomtune.evaluation.scale_grid import scale_grid
from atomtune.methods import atoms as method
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.models.conditioning import embed
from atomtune.runtime.progress import Events
from atomtune.sampling.apply import applied, applied_at
from atomtune.sampling.changes import LoadedAtoms, read_atoms_file
from atomtune.sampling.options import Settings
from made import made_atoms

SCALES = (0.5, 1.0, 1.5)


@pytest.fixture(scope="module")
def steps(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, LoadedAtoms]]:
    """Two sets of atoms of one concept."""
    folder = tmp_path_factory.mktemp("steps")
    files = [made_atoms(folder / f"{seed}.safetensors", tiny_model, strength=0.1, seed=seed) for seed in (1, 2)]
    return list(enumerate(map(read_atoms_file, files), start=1))


@pytest.fixture
def pipeline(tiny_model: Path) -> Any:
    return load_pipeline(resolve(str(tiny_model)))


def predicted(pipeline: Any) -> torch.Tensor:
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return pipeline.unet(latents, 10, **embed(pipeline, ["a sks castle"]).for_unet(32)).sample


def test_each_scale_is_that_of_atoms_applied_at_it(pipeline: Any, steps: list[tuple[int, LoadedAtoms]]) -> None:
    _, item = steps[0]
    before, modules = fingerprint(pipeline.unet), [type(module) for module in pipeline.unet.modules()]
    expected = []
    for scale in SCALES:
        with applied(pipeline, [replace(item, scale=scale)], Events()):
            expected.append(predicted(pipeline))
    assert not torch.allclose(expected[0], expected[1], atol=1e-3), "the scale changes nothing, so nothing is shown"
    with applied_at(pipeline, item, Events()) as at:
        for scale, wanted in zip(SCALES, expected, strict=True):
            with at(scale):
                assert torch.equal(predicted(pipeline), wanted)
    assert fingerprint(pipeline.unet) == before
    assert [type(module) for module in pipeline.unet.modules()] == modules


def test_an_error_leaves_the_base_model(pipeline: Any, steps: list[tuple[int, LoadedAtoms]]) -> None:
    plain = predicted(pipeline)
    with pytest.raises(KeyError), applied_at(pipeline, steps[0][1], Events()) as at, at(1.0):
        raise KeyError("it broke")
    assert torch.equal(predicted(pipeline), plain)


def test_coefficients_are_encoded_once_a_step(
    pipeline: Any, steps: list[tuple[int, LoadedAtoms]], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    ready = method._ready

    def counted(name: str, *others: Any) -> Decomposition:
        encoded.append(name)
        return ready(name, *others)

    monkeypatch.setattr(method, "_ready", counted)
    with applied(pipeline, [steps[0][1]], Events()):
        layers = len(encoded)
    assert layers > 1
    encoded.clear()
    sheet = scale_grid(pipeline, steps, SCALES, "a {}", 0, Settings(steps=2))
    assert len(encoded) == layers * len(steps)
    one = scale_grid(pipeline, steps[:1], SCALES[:1], "a {}", 0, Settings(steps=2))
    assert sheet.height > one.height
    assert sheet.width > one.width
    assert len(np.unique(np.asarray(sheet))) > 2
