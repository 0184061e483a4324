"""What a comparison is asked to do, and the runs that this comes to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..data.concept import Concept, read_prompts
from ..errors import UsageError, excerpt
from ..evaluation.options import EvaluateOptions
from ..models.architecture import native_resolution
from ..models.base_model import resolve
from ..runtime.option import UNSET
from ..training.options import TrainOptions
from .variants import Variant, rate_of


@dataclass(frozen=True)
class Subject:
    """A concept that every variant learns, and the prompts that its images are generated for.

    Attributes:
        images: folder of its images.
        prompts: file with one prompt a line, {} for the concept.
    """

    concept: Concept
    images: Path
    prompts: Path


@dataclass(frozen=True)
class CompareOptions:
    """A comparison: concepts × variants × seeds.

    Attributes:
        seeds: of the training runs. The images of all of them are generated from the same seeds.
        training: what the runs have in common; its concept, images, method, spec, learning rate and seed are ignored,
            and of others what a variant has of its own.
        scoring: how images are generated; its run and prompts are ignored.
        output: folder of the runs, with a folder for each concept; image_folder: of their images, `output` where None.
        rates: learning rates by the variants' names, in place of the methods' own.
        encoder_paths: see `encoders.encoders_for`.
        scales: that every run is scored at besides 0 and 1, for its curve; none for no curves. See `curves`.
    """

    subjects: tuple[Subject, ...]
    variants: tuple[Variant, ...]
    training: TrainOptions
    scoring: EvaluateOptions
    output: Path
    seeds: tuple[int, ...] = (0,)
    rates: Mapping[str, float] = field(default_factory=dict)
    encoder_paths: Mapping[str, str] = field(default_factory=dict)
    image_folder: Path | None = None
    scales: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        compared: dict[str, list[Any]] = {
            "concept": [subject.concept.name for subject in self.subjects],
            "seed": list(self.seeds),
            "variant": [variant.name for variant in self.variants],
        }
        for what, values in compared.items():
            if not values:
                raise UsageError(f"there is no {what} to compare on", "see atomtune compare --help")
            if twice := [value for value in dict.fromkeys(values) if values.count(value) > 1]:
                raise UsageError(f"the {what} {excerpt(twice[0])} is given twice", "each is trained once")


@dataclass(frozen=True)
class Job:
    """One run: a concept, a seed, a variant.

    Attributes:
        options: of its training, base model and resolution resolved.
        folder: of the run.
        image_folder: folder in which the images of all runs of the concept are kept by their settings.
    """

    subject: Subject
    seed: int
    variant: Variant
    options: TrainOptions
    folder: Path
    image_folder: Path

    @property
    def place(self) -> str:
        """Where it is in the comparison's folder, as castle/seed-0/lora."""
        return "/".join(self.folder.parts[-3:])

    @property
    def title(self) -> str:
        """In words, for messages."""
        return f"{self.subject.concept.name}, seed {self.seed}, {self.variant.name}"


def jobs_of(options: CompareOptions) -> list[Job]:
    """All runs, seed by seed and concept by concept, so that a first seed is whole before the next begins.

    Raises AtomtuneError where the base model is not there, UsageError for impossible options or prompts that cannot be
    read.
    """
    source = resolve(options.training.model)
    resolution = options.training.resolution or native_resolution(source)
    for subject in options.subjects:
        read_prompts(subject.prompts, [subject.concept])
    return [
        Job(
            subject,
            seed,
            variant,
            replace(
                options.training,
                concept=subject.concept,
                images=subject.images,
                model=source.name,
                resolution=resolution,
                square=True,
                validate=0,  # as the paper has its images
                method=variant.method,
                spec=variant.spec,
                train_token=variant.train_token,
                lr=rate_of(variant, options.rates),
                seed=seed,
                **variant.options(options.training.preserve),
            ),
            options.output / subject.concept.name / f"seed-{seed}" / variant.folder,
            (options.image_folder or options.output) / subject.concept.name,
        )
        for seed in options.seeds
        for subject in options.subjects
        for variant in options.variants
    ]


def parse_concept(text: str, token: str | None) -> Concept:
    """NAME or NAME=NOUN, with the token that follows from the name where none is given.

    Raises UsageError where a name or noun cannot be one.
    """
    name, equals, noun = text.strip().partition("=")
    return Concept(name, noun if equals else name, UNSET if token is None else token)


def parse_seeds(text: str) -> tuple[int, ...]:
    """ "0,1,2". Raises UsageError for anything but whole numbers from 0."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) < 19 for part in parts):
        raise UsageError(f"--seeds takes whole numbers, not {excerpt(text)!r}", "as in --seeds 0,1")
    return tuple(map(int, parts))


def listed(text: str) -> Sequence[str]:
    """The parts of a text between commas, empty ones left out."""
    return [part.strip() for part in text.split(",") if part.strip()]
