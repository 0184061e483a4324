"""Images to be scored: drawn once for their settings, and found again when the work is taken up later."""

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
from ..runtime.progress import Events
from ..sampling.apply import LoadedAtoms, wearing
from ..sampling.generate import Settings
from ..sampling.sample import draw, load_sampler
from .inputs import EvaluateOptions, Subject
from .scale_grid import strip


@dataclass(frozen=True)
class GeneratedImage:
    """One image on disk, with what it was drawn for."""

    path: Path
    prompt: str
    seed: int

    def load(self) -> Image.Image:
        """The image, RGB."""
        with Image.open(self.path) as opened:
            return opened.convert("RGB")


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
        found = cls(folder, tuple(prompts), tuple(seeds))
        if not (folder / "key.json").is_file():
            write_text(folder / "key.json", text + "\n")
        return found

    @property
    def images(self) -> list[GeneratedImage]:
        """All of them, prompt by prompt, drawn or not."""
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

    def draw(self, pipeline: Any, settings: Settings, batch_size: int, advance: Callable[[], object]) -> None:
        """Draw what is missing. Each batch of images is kept as it is drawn."""
        missing = self.missing()
        for first in range(0, len(missing), batch_size):
            part = missing[first : first + batch_size]
            for item, image in zip(part, draw(pipeline, part, settings, batch_size, lambda: None), strict=True):
                save_png(item.path, image)
                advance()


Dressed = Callable[[], AbstractContextManager[Any]]
"""Gives a pipeline for as long as a context lasts."""


def draw_all(
    work: Sequence[tuple[Sequence[ImageSet], Dressed]], settings: Settings, batch_size: int, events: Events
) -> None:
    """Draw what is missing in several sets, in their order; a pipeline is asked for only where something is."""
    sets = [images for group, _ in work for images in group]
    total, missing = sum(len(s.images) for s in sets), sum(len(s.missing()) for s in sets)
    if not missing:
        return
    events.begin("evaluate", total, total - missing)
    for group, dressed in work:
        if any(images.missing() for images in group):
            with dressed() as pipeline:
                for images in group:
                    images.draw(pipeline, settings, batch_size, events.advance)
    events.end()


def _is_whole(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.load()
            return True
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return False


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
class Sets:
    """Images of the prompts, and of those without the concept, by one set of atoms or by none."""

    prompts: ImageSet
    without: ImageSet

    @property
    def both(self) -> tuple[ImageSet, ImageSet]:
        """The two."""
        return self.prompts, self.without


class Studio:
    """Draws what is missing of an evaluation's images, and finds the others by their settings below `root`.

    The base model is loaded when the first image is missing, and once.
    """

    def __init__(self, subject: Subject, options: EvaluateOptions, root: Path, events: Events) -> None:
        self.subject = subject
        self.options = options
        self.root = root
        self.events = events

    @cached_property
    def base(self) -> Any:
        """The base model's pipeline, ready to draw."""
        source, options = self.subject.source, self.options
        self.events.phase(f"loading {source.name}")
        return load_sampler(source, options.scheduler, options.device, options.precision)

    @cached_property
    def key(self) -> dict[str, Any]:
        """What decides every image, whatever the atoms."""
        options = self.options
        own = self.subject.atoms[-1][1].info.base_fingerprint
        return {
            "base": own if options.model is None else fingerprint(self.base.unet),
            "settings": [str(options.settings), options.scheduler, options.precision],
        }

    def draw(self) -> tuple[Sets, list[Sets]]:
        """The base model's images, and those of every set of atoms, all there."""
        atoms = [atoms for _, atoms in self.subject.atoms]
        plain = self._sets({"atoms": ""})
        tuned = [self._sets({"atoms": item.sha256, "scale": self.options.scale}) for item in atoms]
        work: list[tuple[Sequence[ImageSet], Dressed]] = [(plain.both, partial(self._dressed, ()))]
        work += [(sets.both, partial(self._dressed, (item,))) for item, sets in zip(atoms, tuned, strict=True)]
        draw_all(work, self.options.settings, self.options.batch_size, self.events)
        return plain, tuned

    def strip(self) -> Path:
        """The sheet of steps × strengths, drawn once for its settings."""
        options, subject = self.options, self.subject
        own = {
            **self.key,
            "atoms": [atoms.sha256 for _, atoms in subject.atoms],
            "strengths": options.strengths,
            "seed": options.seed,
        }
        prompt = subject.prompts[0]
        path = ImageSet.under(self.root, own, [prompt], []).folder / "strip.png"
        if not path.is_file():
            sheet = strip(
                self.base, subject.atoms, options.strengths, prompt, options.seed, options.settings, self.events
            )
            save_png(path, sheet)
        return path

    def _sets(self, of: dict[str, Any]) -> Sets:
        key, seeds = {**self.key, **of}, [self.options.seed + k for k in range(self.options.per_prompt)]
        return Sets(
            ImageSet.under(self.root, key, self.subject.prompts, seeds),
            ImageSet.under(self.root, key, WITHOUT_CONCEPT, seeds[:1]),
        )

    def _dressed(self, atoms: Sequence[LoadedAtoms]) -> AbstractContextManager[Any]:
        return wearing(self.base, atoms, self.events)
