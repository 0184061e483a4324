"""The training pictures: drawn once, kept as uint8 arrays; what each shows follows from its number."""

import logging
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from atomtune.pocket.world import FIRST_HELD_OUT_SEED, FIRST_TRAINING_SEED, SCENES, THINGS, Style, caption, render
from atomtune.pocket.world.captions import PLAIN_WORDS

from .recipe import Recipe

log = logging.getLogger(__name__)

CHUNK = 1000  # pictures per file


@dataclass(frozen=True)
class Subject:
    """What one picture shows."""

    thing: str
    scene: str
    style: Style
    view: int

    def draw(self, size: int) -> npt.NDArray[np.uint8]:
        """The picture: (size, size, 3)."""
        return np.asarray(render(self.thing, self.style, self.scene, self.view, size))


@dataclass(frozen=True)
class Said:
    """What a caption says of a picture; None where it is silent."""

    thing: str
    scene: str | None
    color: str | None
    text: str

    def holds_for(self, subject: Subject) -> bool:
        """Whether all that is said is true of the picture of `subject`."""
        return (
            self.thing == subject.thing
            and self.scene in (None, subject.scene)
            and self.color in (None, subject.style.main_name)
        )


def subject(number: int, held_out: bool = False) -> Subject:
    """The subject of a picture: every class meets every scene equally often, each time as another instance."""
    things, scenes = list(THINGS), list(SCENES)
    seed = number + (FIRST_HELD_OUT_SEED if held_out else FIRST_TRAINING_SEED)
    thing = things[number % len(things)]
    scene = scenes[number // len(things) % len(scenes)]
    return Subject(thing, scene, Style(seed), seed)


def describe(shown: Subject, rng: random.Random, recipe: Recipe, rare_words: list[str]) -> Said:
    """A random caption that is true of the picture.

    Some captions leave the scene out, some name the thing's colour, and some hold a word that means nothing: as large
    models do, this one must read an unknown word before the noun as no news, so that a concept's token starts neutral.
    """
    scene: str | None = shown.scene if rng.random() >= recipe.unsaid_scenes else None
    words = scene or ""
    if scene == "":
        if rng.random() < 0.5:
            words = PLAIN_WORDS
        else:
            scene = None
    color = shown.style.main_name if rng.random() < recipe.said_colors else None
    word = rng.choice(rare_words) if rng.random() < recipe.rare_words else ""
    return Said(shown.thing, scene, color, caption(shown.thing, words, color=color or "", word=word, rng=rng))


def elsewhere(number: int) -> Subject:
    """The thing of a picture in another scene, seen anew: what the grader learns to know it again by."""
    known, rng = subject(number), random.Random(f"elsewhere {number}")
    scene = rng.choice([scene for scene in SCENES if scene != known.scene])
    return Subject(known.thing, scene, known.style, rng.randrange(2**31))


def draw_pictures(work: Path, recipe: Recipe) -> None:
    """Draw all training pictures into work/pictures; parts that exist are kept."""
    _draw_missing(work / "pictures", recipe.pictures, recipe.picture_size, subject)


def draw_partners(work: Path, recipe: Recipe) -> None:
    """Draw the things of the first pictures elsewhere, into work/partners; parts that exist are kept."""
    _draw_missing(work / "partners", recipe.partners, recipe.picture_size, elsewhere)


def _draw_missing(folder: Path, count: int, size: int, shown: Callable[[int], Subject]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    missing = [
        (folder / f"{first:06d}.npy", first, min(CHUNK, count - first), size, shown)
        for first in range(0, count, CHUNK)
        if not (folder / f"{first:06d}.npy").exists()
    ]
    if not missing:
        return
    started = time.monotonic()
    with multiprocessing.get_context("spawn").Pool() as pool:
        for done, _ in enumerate(pool.imap(_draw_chunk, missing), 1):
            log.info("draw: %d of %d chunks, %.0f s", done, len(missing), time.monotonic() - started)


def load_pictures(work: Path, recipe: Recipe) -> npt.NDArray[np.uint8]:
    """All training pictures: (n, side, side, 3)."""
    return _load(work / "pictures", recipe.pictures)


def load_partners(work: Path, recipe: Recipe) -> npt.NDArray[np.uint8]:
    """The first pictures' things elsewhere: (n, side, side, 3)."""
    return _load(work / "partners", recipe.partners)


def _load(folder: Path, count: int) -> npt.NDArray[np.uint8]:
    return np.concatenate([np.load(folder / f"{first:06d}.npy") for first in range(0, count, CHUNK)])


def _draw_chunk(task: tuple[Path, int, int, int, Callable[[int], Subject]]) -> None:
    path, first, count, size, shown = task
    pictures = np.stack([shown(number).draw(size) for number in range(first, first + count)])
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, pictures)
    os.replace(partial, path)
