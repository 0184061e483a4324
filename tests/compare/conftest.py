"""A comparison on the tiny model: one concept, two variants, two seeds, three steps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from atomtune.compare.compare import Comparison, compare
from atomtune.compare.options import CompareOptions, Subject
from atomtune.compare.report import write_comparison
from atomtune.compare.subprocess_training import train_here
from atomtune.compare.variants import parse_variants
from atomtune.data.concept import Concept
from atomtune.evaluation.options import EvaluateOptions
from atomtune.sampling.options import Settings
from atomtune.training.options import TrainOptions
from small_encoders import small_clip, small_dinov2


@pytest.fixture(scope="session")
def encoder_paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("encoders")
    return {"dinov2": str(small_dinov2(root / "dinov2")), "clip": str(small_clip(root / "clip"))}


@pytest.fixture(scope="session")
def made(tiny_model: Path, encoder_paths: dict[str, str]) -> Callable[..., CompareOptions]:
    """Options of a comparison with images and runs below a folder; keyword arguments change them."""

    def make(folder: Path, *, steps: int = 3, **changes: Any) -> CompareOptions:
        images = folder / "concepts" / "castle"
        if not images.is_dir():
            images.mkdir(parents=True)
            for i in range(4):
                Image.linear_gradient("L").rotate(30 * i).resize((40, 30)).convert("RGB").save(images / f"{i}.png")
            (folder / "prompts.txt").write_text("a {} in the snow\na {} on the beach\n", encoding="utf-8")
        concept = Concept("castle", "castle")
        options = CompareOptions(
            subjects=(Subject(concept, images, folder / "prompts.txt"),),
            variants=parse_variants(["atoms:c1", "bitfit"]),
            training=TrainOptions(
                concept=concept, images=images, model=str(tiny_model), steps=steps, checkpoint_every=2, device="cpu"
            ),
            scoring=EvaluateOptions(
                run=folder, prompts=folder / "prompts.txt", per_prompt=2, settings=Settings(steps=1), device="cpu"
            ),
            output=folder / "comparison",
            seeds=(0, 1),
            encoder_paths=encoder_paths,
        )
        return replace(options, **changes)

    return make


@dataclass(frozen=True)
class Compared:
    """A comparison that was made, and what its JSON holds."""

    result: Comparison
    figures: dict[str, Any]

    @property
    def options(self) -> CompareOptions:
        return self.result.options


@pytest.fixture(scope="session")
def compared(made: Callable[..., CompareOptions], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compared]:
    folder = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ATOMTUNE_CACHE", str(folder / "cache"))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in every test; another number rounds differently
        result = compare(made(folder), trainer=train_here)
        torch.set_num_threads(threads)
        yield Compared(result, write_comparison(result))
