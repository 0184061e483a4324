"""Score one learned concept, or each of its checkpoints, against the base model."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from PIL import Image

from ..core.fingerprint import fingerprint
from ..diffusion.concept import Concept, read_prompts
from ..diffusion.events import Events
from ..diffusion.models import native_resolution, resolve
from ..diffusion.photos.reading import load_images
from ..diffusion.sampling.combine import LoadedAtoms, read_atoms, wearing
from ..diffusion.sampling.generate import Settings
from ..diffusion.sampling.sample import load_sampler
from ..diffusion.training.options import TrainOptions
from ..diffusion.training.preview import save_png
from ..diffusion.training.run_folder import RunFolder
from ..errors import UsageError
from .encoders import Encoders
from .measure import Measured, likeness_among, measure
from .picking import Candidate, Pick, pick
from .pictures import Dressed, Picture, PictureSet, draw_all
from .strip import strip

WITHOUT_CONCEPT = (
    "a dog in the snow",
    "a car on a cobblestone street",
    "a boat floating on top of water",
    "a teapot on top of a wooden floor",
    "a clock on top of a white rug",
    "a robot in the jungle",
    "a house with a mountain in the background",
    "a backpack on top of a dirt road",
    "a fish in the snow",
    "a cup on top of pink fabric",
)
"""What drift is measured on: plain prompts that any base model of this project can draw."""


@dataclass(frozen=True)
class EvaluateOptions:
    """What to score and how to draw it.

    Attributes:
        run: folder of the training run.
        prompts: file with one prompt a line, {} for the concept.
        per_prompt: pictures of each prompt; picture k has the seed `seed` + k.
        checkpoints: score every kept checkpoint too, and choose one; `strengths` of them are drawn on a strip.
        model: another base than the one the atoms were trained on.
    """

    run: Path
    prompts: Path
    per_prompt: int = 4
    seed: int = 0
    settings: Settings = field(default_factory=Settings)
    scheduler: str | None = None
    checkpoints: bool = False
    scale: float = 1.0
    strengths: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25)
    model: str | None = None
    device: str | None = None
    precision: str = "fp32"
    batch_size: int = 8


@dataclass(frozen=True)
class Step:
    """One scored set of atoms: its pictures and what they score."""

    step: int
    atoms: LoadedAtoms
    pictures: list[Picture]
    drift: list[Picture]
    scored: Measured


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation came to.

    Attributes:
        still_pictures: the base model's, of the prompts without the concept.
        real: mean cosine between different pictures of the concept; None where there is one only.
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
    base_pictures: list[Picture]
    still_pictures: list[Picture]
    final: Step
    steps: list[Step]
    pick: Pick | None
    strip: Path | None
    losses: list[float]
    record: dict[str, Any]


def evaluate_concept(
    options: EvaluateOptions, encoders: Callable[[str], Encoders], output: Path, events: Events | None = None
) -> Evaluation:
    """Draw what is missing, and score it all.

    Args:
        encoders: gives the encoders for a base model of this name.
        output: pictures are kept in its folder `pictures`, by their settings.

    Raises:
        UsageError: no such run, no prompts, or no checkpoints to score.
        AtomtuneError: a file, the model or an encoder cannot be loaded, or the concept's pictures cannot be read.
    """
    events = events or Events()
    folder = RunFolder(options.run)
    files = _atoms_files(folder, options.checkpoints)
    record = folder.read_record()
    trained = TrainOptions.from_dict(record.get("options", {}))
    loaded = read_atoms([(path, options.scale) for _, path in files])
    concept = loaded[-1].concept
    prompts = read_prompts(options.prompts, [concept])
    source = resolve(options.model or loaded[-1].info.base)
    side = trained.resolution or native_resolution(source)
    references = [item.image for item in load_images(trained.images, side, crop=trained.crop, seed=trained.seed)]
    # before anything is drawn: what cannot be scored need not be drawn
    scorers = encoders(source.name)

    @cache
    def base() -> Any:
        events.phase(f"loading {source.name}")
        return load_sampler(source, options.scheduler, options.device, options.precision)

    def dressed(atoms: Sequence[LoadedAtoms]) -> AbstractContextManager[Any]:
        return wearing(base(), atoms, events)

    key = {
        "base": loaded[-1].info.base_fingerprint if options.model is None else fingerprint(base().unet),
        "settings": [str(options.settings), options.scheduler, options.precision],
    }
    root = output / "pictures"
    seeds = [options.seed + k for k in range(options.per_prompt)]
    plain = _Sets.under(root, {**key, "atoms": ""}, prompts, seeds)
    tuned = [_Sets.under(root, {**key, "atoms": a.sha256, "scale": options.scale}, prompts, seeds) for a in loaded]
    work: list[tuple[Sequence[PictureSet], Dressed]] = [(plain.both, partial(dressed, ()))]
    for atoms, sets in zip(loaded, tuned, strict=True):
        work.append((sets.both, partial(dressed, (atoms,))))
    draw_all(work, options.settings, options.batch_size, events)

    events.phase("scoring")
    texts = [_without_token(picture.prompt, concept) for picture in plain.prompts.pictures]
    scored = [
        measure(scorers, sets.prompts.load(), texts, references, (sets.without.load(), plain.without.load()))
        for sets in (plain, *tuned)
    ]
    real = likeness_among(scorers, references)
    steps = [
        Step(step, atoms, sets.prompts.pictures, sets.without.pictures, one)
        for (step, _), atoms, sets, one in zip(files, loaded, tuned, scored[1:], strict=True)
    ]
    choice = sheet = None
    if len(steps) > 1:
        candidates = [Candidate(step.step, step.scored.measures) for step in steps]
        choice = pick(candidates, scored[0].measures, 1.0 if real is None else real)
        sheet = _strip(root, key, steps, prompts[0], base, options, events)
    return Evaluation(
        concept=concept,
        references=references,
        encoders=scorers,
        real=real,
        base=scored[0],
        base_pictures=plain.prompts.pictures,
        still_pictures=plain.without.pictures,
        final=steps[-1],
        steps=steps,
        pick=choice,
        strip=sheet,
        losses=folder.losses(),
        record=record,
    )


@dataclass(frozen=True)
class _Sets:
    """Pictures of the prompts, and of those without the concept, by one set of atoms or by none."""

    prompts: PictureSet
    without: PictureSet

    @classmethod
    def under(cls, root: Path, key: dict[str, Any], prompts: Sequence[str], seeds: Sequence[int]) -> "_Sets":
        return cls(PictureSet.under(root, key, prompts, seeds), PictureSet.under(root, key, WITHOUT_CONCEPT, seeds[:1]))

    @property
    def both(self) -> tuple[PictureSet, PictureSet]:
        return self.prompts, self.without


def _atoms_files(folder: RunFolder, with_checkpoints: bool) -> list[tuple[int, Path]]:
    """Steps and atoms files to score, the final one last."""
    if not folder.atoms.is_file():
        raise UsageError(
            f"there is no {folder.atoms}", "atomtune train makes it; atomtune concepts lists what is there"
        )
    final = read_atoms([(folder.atoms, 1.0)])[0].info.steps
    if not with_checkpoints:
        return [(final, folder.atoms)]
    kept = folder.kept_steps()
    if not kept:
        raise UsageError(
            f"{folder.path} keeps no checkpoints", "train with --checkpoint-every N, which keeps the atoms of every one"
        )
    return [(step, path) for step, path in kept.items() if step < final] + [(final, folder.atoms)]


def _strip(
    root: Path,
    key: dict[str, Any],
    steps: Sequence[Step],
    prompt: str,
    base: Callable[[], Any],
    options: EvaluateOptions,
    events: Events,
) -> Path:
    """The sheet of steps × strengths, drawn once for its settings."""
    own = {
        **key,
        "atoms": [step.atoms.sha256 for step in steps],
        "strengths": options.strengths,
        "seed": options.seed,
    }
    path = PictureSet.under(root, own, [prompt], []).folder / "strip.png"
    if not path.is_file():
        several = [(step.step, step.atoms) for step in steps]
        save_png(path, strip(base(), several, options.strengths, prompt, options.seed, options.settings, events))
    return path


def _without_token(prompt: str, concept: Concept) -> str:
    """A prompt as a reader who knows only the class would put it: the token means nothing to an encoder."""
    return prompt.replace(concept.words, concept.class_noun)


def scored_rows(step: Step) -> list[dict[str, Any]]:
    """A row for each picture, for the CSV file."""
    triples: Sequence[tuple[Picture, float, float]] = list(
        zip(step.pictures, step.scored.fidelity.tolist(), step.scored.alignment.tolist(), strict=True)
    )
    return [
        {
            "step": step.step,
            "file": str(picture.path),
            "prompt": picture.prompt,
            "seed": picture.seed,
            "fidelity": round(fidelity, 6),
            "alignment": "" if alignment != alignment else round(alignment, 6),
        }
        for picture, fidelity, alignment in triples
    ]
