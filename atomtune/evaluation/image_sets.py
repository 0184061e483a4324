"""Image sets: prompts × seeds, generated once for their settings, and found again when an evaluation goes on."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from ..core.fingerprint import fingerprint
from ..files.atomic import write_text
from ..files.png import save_png
from ..models.base_model import pick_device, pick_precision
from ..runtime.progress import Events
from ..sampling.apply import applied, applied_at
from ..sampling.changes import LoadedAtoms
from ..sampling.generate import GeneratedImage, generate_images, load_sampler
from ..sampling.options import Settings
from .inputs import Inputs
from .options import EvaluateOptions
from .scale_grid import scale_grid

DRIFT_PROMPTS = (
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
"""What drift is measured on: prompts without the concept that any base model of this project can follow."""


@dataclass(frozen=True)
class ImageSet:
    """Prompts × seeds, in a folder of their own.

    Attributes:
        folder: holds NNN-SEED.png, NNN the prompt's number, and key.json, which says what decides the images.
        seeds: of the images of each prompt.
    """

    folder: Path
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]

    @classmethod
    def under(cls, root: Path, key: dict[str, Any], prompts: Sequence[str], seeds: Sequence[int]) -> "ImageSet":
        """The set that these settings decide, in a folder named after them; other settings, another folder."""
        text = json.dumps({**key, "prompts": list(prompts)}, sort_keys=True)
        folder = root / hashlib.sha256(text.encode()).hexdigest()[:12]
        if not (folder / "key.json").is_file():
            write_text(folder / "key.json", text + "\n")
        return cls(folder, tuple(prompts), tuple(seeds))

    @property
    def images(self) -> list[GeneratedImage]:
        """All of them, prompt by prompt, whether they are there or not."""
        return [
            GeneratedImage(self.folder / f"{number:03d}-{seed}.png", prompt, seed)
            for number, prompt in enumerate(self.prompts)
            for seed in self.seeds
        ]

    def load(self) -> list[Image.Image]:
        """All of them, in that order."""
        return [image.load() for image in self.images]

    def missing(self) -> list[GeneratedImage]:
        """Those that are not there, or are there in part."""
        return [image for image in self.images if not _is_whole(image.path)]

    def generate(self, pipeline: Any, settings: Settings, batch_size: int, advance: Callable[[], object]) -> None:
        """Generate what is missing. Each image is written as soon as its batch is done."""
        missing = self.missing()
        wanted = [(item.prompt, item.seed) for item in missing]
        for item, image in zip(missing, generate_images(pipeline, wanted, settings, batch_size), strict=True):
            save_png(item.path, image)
            advance()


PipelineContext = Callable[[], AbstractContextManager[Any]]
"""Gives a pipeline, with atoms or without, for as long as a context lasts."""


def generate_missing(
    work: Sequence[tuple[Sequence[ImageSet], PipelineContext]], settings: Settings, batch_size: int, events: Events
) -> None:
    """Generate what is missing in several sets, in their order; a pipeline is asked for only where something is."""
    sets = [one for group, _ in work for one in group]
    total, missing = sum(len(one.images) for one in sets), sum(len(one.missing()) for one in sets)
    if not missing:
        return
    events.begin("evaluate", total, total - missing)
    for group, context in work:
        if any(one.missing() for one in group):
            with context() as pipeline:
                for one in group:
                    one.generate(pipeline, settings, batch_size, events.advance)
    events.end()


@dataclass(frozen=True)
class ScoredSets:
    """The image sets that one set of atoms, or the base model, is scored by.

    Attributes:
        prompts: of the evaluation's prompts; drift: of prompts without the concept.
    """

    prompts: ImageSet
    drift: ImageSet

    @property
    def both(self) -> tuple[ImageSet, ImageSet]:
        """The two."""
        return self.prompts, self.drift


class EvaluationImages:
    """All images of an evaluation, in folders below `root`: what is missing is generated, the rest is found.

    The base model is loaded when the first image is missing, and once.
    """

    def __init__(self, inputs: Inputs, options: EvaluateOptions, root: Path, events: Events) -> None:
        self.inputs = inputs
        self.options = options
        self.root = root
        self.events = events

    @cached_property
    def pipeline(self) -> Any:
        """The base model's pipeline."""
        source, options = self.inputs.source, self.options
        self.events.phase(f"loading {source.name}")
        return load_sampler(source, options.scheduler, options.device, options.precision)

    @cached_property
    def key(self) -> dict[str, Any]:
        """What decides every image, whatever the atoms."""
        options = self.options
        own = self.inputs.atoms[-1][1].info.base_fingerprint
        precision = pick_precision(options.precision, pick_device(options.device))
        return {
            "base": own if options.model is None else fingerprint(self.pipeline.unet),
            "settings": [str(options.settings), options.scheduler, precision],
            **({} if options.vae is None else {"vae": fingerprint(self.pipeline.vae)}),
        }

    def generate(self) -> tuple[ScoredSets, list[ScoredSets]]:
        """The base model's images, and those of every set of atoms, all there."""
        atoms = [atoms for _, atoms in self.inputs.atoms]
        base = self._sets({"atoms": ""})
        tuned = [self._sets({"atoms": item.sha256, "scale": self.options.scale}) for item in atoms]
        work: list[tuple[Sequence[ImageSet], PipelineContext]] = [(base.both, partial(self._with, ()))]
        work += [(sets.both, partial(self._with, (item,))) for item, sets in zip(atoms, tuned, strict=True)]
        generate_missing(work, self.options.settings, self.options.batch_size, self.events)
        return base, tuned

    def generate_at(self, scales: Sequence[float]) -> tuple[ScoredSets, list[ScoredSets]]:
        """The base model's images, and those of the last set of atoms at each of these scales, all there."""
        atoms = self.inputs.atoms[-1][1]
        base = self._sets({"atoms": ""})
        tuned = [self._sets({"atoms": atoms.sha256, "scale": scale}) for scale in scales]
        rest = (self.options.settings, self.options.batch_size, self.events)
        generate_missing([(base.both, partial(self._with, ()))], *rest)
        if any(one.missing() for sets in tuned for one in sets.both):
            with applied_at(self.pipeline, atoms, self.events) as at:
                generate_missing(
                    [(sets.both, partial(at, scale)) for scale, sets in zip(scales, tuned, strict=True)], *rest
                )
        return base, tuned

    def scale_grid(self) -> Path:
        """The sheet of steps × scales, generated once for its settings."""
        options, inputs = self.options, self.inputs
        own = {
            **self.key,
            "atoms": [atoms.sha256 for _, atoms in inputs.atoms],
            "scales": options.scales,
            "seed": options.seed,
        }
        prompt = inputs.prompts[0]
        path = ImageSet.under(self.root, own, [prompt], []).folder / "scale-grid.png"
        if not path.is_file():
            sheet = scale_grid(
                self.pipeline, inputs.atoms, options.scales, prompt, options.seed, options.settings, self.events
            )
            save_png(path, sheet)
        return path

    def _sets(self, of: dict[str, Any]) -> ScoredSets:
        key, seeds = {**self.key, **of}, [self.options.seed + k for k in range(self.options.per_prompt)]
        return ScoredSets(
            ImageSet.under(self.root, key, self.inputs.prompts, seeds),
            ImageSet.under(self.root, key, DRIFT_PROMPTS, seeds[:1]),
        )

    def _with(self, atoms: Sequence[LoadedAtoms]) -> AbstractContextManager[Any]:
        return applied(self.pipeline, atoms, self.events)


def _is_whole(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.load()
            return True
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return False
