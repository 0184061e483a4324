"""Score one learned concept, or each of its checkpoints, against the base model."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..data.concept import Concept
from ..runtime.progress import Events
from ..sampling.changes import LoadedAtoms
from ..sampling.generate import GeneratedImage
from ..training.run_lock import run_lock
from .checkpoint_selection import Candidate, Selection, select
from .encoders.base import Encoders
from .image_sets import EvaluationImages, ScoredSets
from .inputs import Inputs, read_inputs
from .measure import Measured, measure, real_fidelity
from .options import EvaluateOptions


@dataclass(frozen=True)
class Step:
    """One scored set of atoms: its images and what they score."""

    step: int
    atoms: LoadedAtoms
    images: list[GeneratedImage]
    drift: list[GeneratedImage]
    scored: Measured


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation came to.

    Attributes:
        base_images, base_drift: the base model's, of the prompts and of prompts without the concept.
        real: mean cosine between different images of the concept; None where there is one only.
        final: the run's result; base: the base model on the same prompts and seeds.
        steps: every checkpoint scored, in order, the final one last.
        selected: the checkpoint to keep; scale_grid: sheet of steps × scales. None where only one was scored.
        losses: of the run, step by step; held_out: of images that it kept out, by step.
    """

    concept: Concept
    references: list[Image.Image]
    encoders: Encoders
    real: float | None
    base: Measured
    base_images: list[GeneratedImage]
    base_drift: list[GeneratedImage]
    final: Step
    steps: list[Step]
    selected: Selection | None
    scale_grid: Path | None
    losses: list[float]
    held_out: dict[int, float]


def evaluate_concept(
    options: EvaluateOptions, encoders: Callable[[str], Encoders], output: Path, events: Events | None = None
) -> Evaluation:
    """Generate what is missing, and score it all.

    Args:
        encoders: gives the encoders for a base model of this name.
        output: images are kept in its folder `images`, by their settings. One process at a time generates there.

    Raises:
        UsageError: no such run, no prompts, or no checkpoints to choose from.
        AtomtuneError: a file, the model or an encoder cannot be loaded, the concept's images cannot be read, or another
            process works in `output`.
    """
    events = events or Events()
    inputs = read_inputs(options)
    # before anything is generated: what cannot be scored need not be
    scorers = encoders(inputs.source.name)
    images = EvaluationImages(inputs, options, output / "images", events)
    with run_lock(output, "evaluate"):
        plain, tuned = images.generate()
        sheet = images.scale_grid() if len(tuned) > 1 else None
    events.phase("scoring")
    base, *found = scored(scorers, inputs, plain, tuned)
    real = real_fidelity(scorers, inputs.references)
    steps = [
        Step(step, atoms, sets.prompts.images, sets.drift.images, one)
        for (step, atoms), sets, one in zip(inputs.atoms, tuned, found, strict=True)
    ]
    selected = None
    if len(steps) > 1:
        candidates = [Candidate(step.step, step.scored.measures) for step in steps]
        selected = select(candidates, base.measures, 1.0 if real is None else real)
    return Evaluation(
        concept=inputs.concept,
        references=inputs.references,
        encoders=scorers,
        real=real,
        base=base,
        base_images=plain.prompts.images,
        base_drift=plain.drift.images,
        final=steps[-1],
        steps=steps,
        selected=selected,
        scale_grid=sheet,
        losses=inputs.losses,
        held_out=inputs.held_out,
    )


def scored(encoders: Encoders, inputs: Inputs, plain: ScoredSets, tuned: Sequence[ScoredSets]) -> list[Measured]:
    """What the base model's images score, and those of every set of atoms."""
    texts = [_without_token(image.prompt, inputs.concept) for image in plain.prompts.images]
    undrifted = plain.drift.load()
    return [
        measure(encoders, sets.prompts.load(), texts, inputs.references, (sets.drift.load(), undrifted), inputs.others)
        for sets in (plain, *tuned)
    ]


def _without_token(prompt: str, concept: Concept) -> str:
    """A prompt with the class noun alone: the token means nothing to an encoder."""
    return prompt.replace(concept.words, concept.class_noun)


def scored_rows(step: Step, folder: Path) -> list[dict[str, Any]]:
    """A row for each image, for a CSV file in `folder`: images are named from there."""
    triples: Sequence[tuple[GeneratedImage, float, float]] = list(
        zip(step.images, step.scored.fidelity.tolist(), step.scored.alignment.tolist(), strict=True)
    )
    return [
        {
            "step": step.step,
            "file": Path(os.path.relpath(image.path, folder)).as_posix(),
            "prompt": image.prompt,
            "seed": image.seed,
            "fidelity": round(fidelity, 6),
            "alignment": "" if alignment != alignment else round(alignment, 6),
        }
        for image, fidelity, alignment in triples
    ]
