"""Score one learned concept, or each of its checkpoints, against the base model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..data.concept import Concept
from ..runtime.progress import Events
from ..sampling.apply import LoadedAtoms
from .checkpoint_selection import Candidate, Pick, pick
from .encoders.base import Encoders
from .image_sets import GeneratedImage, Sets, Studio
from .inputs import EvaluateOptions, Subject, read_subject
from .measure import Measured, likeness_among, measure


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
        still_images: the base model's, of the prompts without the concept.
        real: mean cosine between different images of the concept; None where there is one only.
        final: the run's result; base: the base model on the same prompts and seeds.
        steps: every checkpoint scored, in order, the final one last.
        pick: the checkpoint to keep; strip: steps × strengths. None where only one was scored.
        losses: of the run, step by step.
    """

    concept: Concept
    references: list[Image.Image]
    encoders: Encoders
    real: float | None
    base: Measured
    base_images: list[GeneratedImage]
    still_images: list[GeneratedImage]
    final: Step
    steps: list[Step]
    pick: Pick | None
    strip: Path | None
    losses: list[float]


def evaluate_concept(
    options: EvaluateOptions, encoders: Callable[[str], Encoders], output: Path, events: Events | None = None
) -> Evaluation:
    """Draw what is missing, and score it all.

    Args:
        encoders: gives the encoders for a base model of this name.
        output: images are kept in its folder `images`, by their settings.

    Raises:
        UsageError: no such run, no prompts, or no checkpoints to choose from.
        AtomtuneError: a file, the model or an encoder cannot be loaded, or the concept's images cannot be read.
    """
    events = events or Events()
    subject = read_subject(options)
    # before anything is drawn: what cannot be scored need not be drawn
    scorers = encoders(subject.source.name)
    studio = Studio(subject, options, output / "images", events)
    plain, tuned = studio.draw()
    events.phase("scoring")
    base, *scored = _scored(scorers, subject, plain, tuned)
    real = likeness_among(scorers, subject.references)
    steps = [
        Step(step, atoms, sets.prompts.images, sets.without.images, one)
        for (step, atoms), sets, one in zip(subject.atoms, tuned, scored, strict=True)
    ]
    choice = sheet = None
    if len(steps) > 1:
        candidates = [Candidate(step.step, step.scored.measures) for step in steps]
        choice = pick(candidates, base.measures, 1.0 if real is None else real)
        sheet = studio.strip()
    return Evaluation(
        concept=subject.concept,
        references=subject.references,
        encoders=scorers,
        real=real,
        base=base,
        base_images=plain.prompts.images,
        still_images=plain.without.images,
        final=steps[-1],
        steps=steps,
        pick=choice,
        strip=sheet,
        losses=subject.losses,
    )


def _scored(encoders: Encoders, subject: Subject, plain: Sets, tuned: Sequence[Sets]) -> list[Measured]:
    """What the base model's images score, and those of every set of atoms."""
    texts = [_without_token(image.prompt, subject.concept) for image in plain.prompts.images]
    still = plain.without.load()
    return [
        measure(encoders, sets.prompts.load(), texts, subject.references, (sets.without.load(), still))
        for sets in (plain, *tuned)
    ]


def _without_token(prompt: str, concept: Concept) -> str:
    """A prompt as a reader who knows only the class would put it: the token means nothing to an encoder."""
    return prompt.replace(concept.words, concept.class_noun)


def scored_rows(step: Step) -> list[dict[str, Any]]:
    """A row for each image, for the CSV file."""
    triples: Sequence[tuple[GeneratedImage, float, float]] = list(
        zip(step.images, step.scored.fidelity.tolist(), step.scored.alignment.tolist(), strict=True)
    )
    return [
        {
            "step": step.step,
            "file": str(image.path),
            "prompt": image.prompt,
            "seed": image.seed,
            "fidelity": round(fidelity, 6),
            "alignment": "" if alignment != alignment else round(alignment, 6),
        }
        for image, fidelity, alignment in triples
    ]
