"""Pictures to be scored: drawn once for their settings, and found again when the work is taken up later."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from ..diffusion.events import Events
from ..diffusion.sampling.generate import Settings
from ..diffusion.sampling.sample import draw
from ..diffusion.training.preview import save_png
from ..files.atomic import write_text


@dataclass(frozen=True)
class Picture:
    """One picture on disk, with what it was drawn for."""

    path: Path
    prompt: str
    seed: int

    def load(self) -> Image.Image:
        """The picture, RGB."""
        with Image.open(self.path) as opened:
            return opened.convert("RGB")


@dataclass(frozen=True)
class PictureSet:
    """Prompts × seeds, in a folder of their own.

    Attributes:
        folder: holds NNN-SEED.png, NNN the prompt's number, and key.json, which says what decides the pictures.
        seeds: of the pictures of each prompt.
    """

    folder: Path
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]

    @classmethod
    def under(cls, root: Path, key: dict[str, Any], prompts: Sequence[str], seeds: Sequence[int]) -> "PictureSet":
        """The set that these settings decide, in a folder named after them; other settings, another folder."""
        text = json.dumps({**key, "prompts": list(prompts)}, sort_keys=True)
        folder = root / hashlib.sha256(text.encode()).hexdigest()[:12]
        found = cls(folder, tuple(prompts), tuple(seeds))
        if not (folder / "key.json").is_file():
            write_text(folder / "key.json", text + "\n")
        return found

    @property
    def pictures(self) -> list[Picture]:
        """All of them, prompt by prompt, drawn or not."""
        return [
            Picture(self.folder / f"{number:03d}-{seed}.png", prompt, seed)
            for number, prompt in enumerate(self.prompts)
            for seed in self.seeds
        ]

    def load(self) -> list[Image.Image]:
        """All of them, in that order."""
        return [picture.load() for picture in self.pictures]

    def missing(self) -> list[Picture]:
        """Those that are not there, or are there in part."""
        return [picture for picture in self.pictures if not _is_whole(picture.path)]

    def draw(self, pipeline: Any, settings: Settings, batch_size: int, advance: Callable[[], object]) -> None:
        """Draw what is missing. Each batch of pictures is kept as it is drawn."""
        missing = self.missing()
        for first in range(0, len(missing), batch_size):
            part = missing[first : first + batch_size]
            for picture, image in zip(part, draw(pipeline, part, settings, batch_size, lambda: None), strict=True):
                save_png(picture.path, image)
                advance()


Dressed = Callable[[], AbstractContextManager[Any]]
"""Gives a pipeline for as long as a context lasts."""


def draw_all(
    work: Sequence[tuple[Sequence[PictureSet], Dressed]], settings: Settings, batch_size: int, events: Events
) -> None:
    """Draw what is missing in several sets, in their order; a pipeline is asked for only where something is."""
    sets = [pictures for group, _ in work for pictures in group]
    total, missing = sum(len(s.pictures) for s in sets), sum(len(s.missing()) for s in sets)
    if not missing:
        return
    events.begin("evaluate", total, total - missing)
    for group, dressed in work:
        if any(pictures.missing() for pictures in group):
            with dressed() as pipeline:
                for pictures in group:
                    pictures.draw(pipeline, settings, batch_size, events.advance)
    events.end()


def _is_whole(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            picture.load()
            return True
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return False
