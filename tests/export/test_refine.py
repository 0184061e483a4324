"""A LoRA whose factors are trained to predict what the atoms predict."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from atomtune.errors import UsageError
from atomtune.export.export import export
from atomtune.export.options import ExportOptions
from atomtune.export.result import ExportResult
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.runtime.progress import Events
from atomtune.sampling.apply import applied
from atomtune.sampling.changes import read_atoms
from atomtune.sampling.options import Settings
from atomtune.training.options import TrainOptions
from atomtune.training.train import train
from made import made_atoms
from photo_files import Heard
from tiny import tiny_xl

Export = Callable[..., ExportResult]


class Told(Heard):
    """Keeps the phases too."""

    def __init__(self) -> None:
        super().__init__()
        self.phases: list[str] = []

    def phase(self, text: str) -> None:
        self.phases.append(text)


def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atomtune.export.image_difference.SETTINGS", Settings(steps=2))
    monkeypatch.setattr("atomtune.export.refine._BATCHES", 1)


@pytest.fixture(params=["v1", "xl"])
def model(request: pytest.FixtureRequest, tiny_model: Path, tmp_path: Path) -> Path:
    return tiny_model if request.param == "v1" else tiny_xl(tmp_path / "xl")


@pytest.fixture
def made(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    """Exports of one atoms file with few images of two steps."""
    short(monkeypatch)
    atoms = made_atoms(tmp_path / "castle.safetensors", model)

    def make(name: str, events: Events | None = None, **options: Any) -> ExportResult:
        chosen = ExportOptions(rank=1, preview=False, model=str(model), **options)
        return export([(atoms, 1.0)], tmp_path / f"{name}.safetensors", chosen, events=events)

    return make


def predicted(model: Path, result: ExportResult | None, atoms: Path) -> torch.Tensor:
    """The noise that a model predicts with a LoRA or with the atoms, from latents and prompts of nobody's."""
    pipeline = load_pipeline(resolve(str(model)))
    seed = torch.Generator().manual_seed(3)
    unet = pipeline.unet
    sample = torch.randn(4, unet.config.in_channels, 8, 8, generator=seed)
    states = torch.randn(4, 5, unet.config.cross_attention_dim, generator=seed)
    added = None
    if unet.config.addition_embed_type == "text_time":
        width = unet.add_embedding.linear_1.in_features - 6 * unet.config.addition_time_embed_dim
        added = {"text_embeds": torch.randn(4, width, generator=seed), "time_ids": torch.ones(4, 6)}

    @torch.no_grad()
    def call() -> torch.Tensor:
        return unet(sample, torch.tensor([100, 300, 500, 700]), states, added_cond_kwargs=added).sample

    if result is None:
        with applied(pipeline, read_atoms([(atoms, 1.0)]), Events()):
            return call()
    pipeline.load_lora_weights(str(result.output.parent), weight_name=result.output.name)
    return call()


def test_refined_factors_have_the_same_size_and_predict_what_the_atoms_do_better(
    made: Export, model: Path, tmp_path: Path
) -> None:
    events = Told()
    before, after = made("before"), made("after", events, refine=12)
    plain, refined = load_file(before.output), load_file(after.output)
    assert {name: t.shape for name, t in plain.items()} == {name: t.shape for name, t in refined.items()}
    assert after.sha256 != before.sha256
    if model.name != "xl":
        assert made("again", refine=12).sha256 == after.sha256, "the same each time"
    goal = predicted(model, None, tmp_path / "castle.safetensors")
    errors = [(predicted(model, item, tmp_path) - goal).square().mean() for item in (before, after)]
    assert errors[1] < 1.02 * errors[0], "no worse at places that no image passes by"
    (said,) = (phase for phase in events.phases if phase.startswith("refined: the mean square"))
    first, last = map(float, re.findall(r"from (\S+) to (\S+)", said)[0])
    assert last < 0.98 * first, "on images that it was not refined on"


@pytest.mark.parametrize("model", ["v1"], indirect=True)
def test_what_refining_makes_worse_is_not_taken(made: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atomtune.export.refine.RATE", 3.0)
    events = Heard()
    assert made("worse", events, refine=2).sha256 == made("before").sha256
    assert "refining made predictions worse" in " ".join(events.warnings)


def test_other_forms_are_not_refined() -> None:
    with pytest.raises(UsageError, match="refine is of LoRA files, not of --to diff"):
        ExportOptions(to="diff", refine=10)


def test_factors_of_text_encoders_stay_as_they_are(
    options: Callable[..., TrainOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short(monkeypatch)
    trained = train(options(steps=2, train_text_encoder=True, lr=1e-2), tmp_path / "run").atoms_file

    def factors(name: str, refine: int) -> dict[str, torch.Tensor]:
        chosen = ExportOptions(rank=1, refine=refine, preview=False)
        return load_file(export([(trained, 1.0)], tmp_path / f"{name}.safetensors", chosen).output)

    before, after = factors("before", 0), factors("after", 6)
    changed = {name.partition("_")[2][:4] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"unet"}
    assert any(name.startswith("lora_te") for name in before)
