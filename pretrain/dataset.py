"""The training images: rendered once, kept as uint8 arrays; what each shows follows from its number."""

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

from .names import NAMES, named_class, named_style
from .recipe import Recipe

log = logging.getLogger(__name__)

CHUNK = 1000  # images per file
FIRST_NAMED_VIEW = 500_000  # view seeds of the named things' images, apart from all others for training


@dataclass(frozen=True)
class Subject:
    """What one image shows; `name` is the thing's own, if it has one."""

    thing: str
    scene: str
    style: Style
    view: int
    name: str = ""

    def render(self, size: int) -> npt.NDArray[np.uint8]:
        """The image: (size, size, 3)."""
        return np.asarray(render(self.thing, self.style, self.scene, self.view, size))


@dataclass(frozen=True)
class Said:
    """What a caption says of a image; None where it is silent."""

    thing: str
    scene: str | None
    color: str | None
    text: str

    def holds_for(self, subject: Subject) -> bool:
        """Whether all that is said is true of the image of `subject`."""
        return (
            self.thing == subject.thing
            and self.scene in (None, subject.scene)
            and self.color in (None, subject.style.main_name)
        )


def subject(number: int, held_out: bool = False) -> Subject:
    """The subject of a image: every class meets every scene equally often, each time as another instance."""
    things, scenes = list(THINGS), list(SCENES)
    seed = number + (FIRST_HELD_OUT_SEED if held_out else FIRST_TRAINING_SEED)
    thing = things[number % len(things)]
    scene = scenes[number // len(things) % len(scenes)]
    return Subject(thing, scene, Style(seed), seed)


def named(number: int) -> Subject:
    """The subject of a image of a named thing: every name meets every scene equally often."""
    name, scenes = NAMES[number % len(NAMES)], list(SCENES)
    scene = scenes[number // len(NAMES) % len(scenes)]
    return Subject(named_class(name), scene, named_style(name), FIRST_NAMED_VIEW + number, name)


def describe(shown: Subject, rng: random.Random, recipe: Recipe, rare_words: list[str], share: float) -> Said:
    """A random caption that is true of the image.

    Some captions leave the scene out, some name the thing's colour, most call a thing by its name if it has one, and a
    `share` of the others hold a rare word that means nothing.
    """
    scene: str | None = shown.scene if rng.random() >= recipe.unsaid_scenes else None
    words = scene or ""
    if scene == "":
        if rng.random() < 0.5:
            words = PLAIN_WORDS
        else:
            scene = None
    color = shown.style.main_name if rng.random() < recipe.said_colors else None
    if shown.name and rng.random() < recipe.said_names:
        word = shown.name
    else:
        word = rng.choice(rare_words) if rng.random() < share else ""
    return Said(shown.thing, scene, color, caption(shown.thing, words, color=color or "", word=word, rng=rng))


def elsewhere(number: int) -> Subject:
    """The thing of a image in another scene, seen anew: what the grader learns to know it again by."""
    known, rng = subject(number), random.Random(f"elsewhere {number}")
    scene = rng.choice([scene for scene in SCENES if scene != known.scene])
    return Subject(known.thing, scene, known.style, rng.randrange(2**31))


def render_images(work: Path, recipe: Recipe) -> None:
    """Render all training images into work/images; parts that exist are kept."""
    _render_missing(work / "images", recipe.images, recipe.image_size, subject)


def render_partners(work: Path, recipe: Recipe) -> None:
    """Render the things of the first images elsewhere, into work/partners; parts that exist are kept."""
    _render_missing(work / "partners", recipe.partners, recipe.image_size, elsewhere)


def render_named(work: Path, recipe: Recipe) -> None:
    """Render the named things into work/named; parts that exist are kept."""
    _render_missing(work / "named", named_images(recipe), recipe.image_size, named)


def named_images(recipe: Recipe) -> int:
    """How many images of named things there are."""
    return recipe.named_views * len(NAMES)


def _render_missing(folder: Path, count: int, size: int, shown: Callable[[int], Subject]) -> None:
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
        for done, _ in enumerate(pool.imap(_render_chunk, missing), 1):
            log.info("render: %d of %d chunks, %.0f s", done, len(missing), time.monotonic() - started)


def load_images(work: Path, recipe: Recipe) -> npt.NDArray[np.uint8]:
    """All training images: (n, side, side, 3)."""
    return _load(work / "images", recipe.images)


def load_partners(work: Path, recipe: Recipe) -> npt.NDArray[np.uint8]:
    """The first images' things elsewhere: (n, side, side, 3)."""
    return _load(work / "partners", recipe.partners)


def load_named(work: Path, recipe: Recipe) -> npt.NDArray[np.uint8]:
    """The images of named things: (n, side, side, 3)."""
    return _load(work / "named", named_images(recipe))


def _load(folder: Path, count: int) -> npt.NDArray[np.uint8]:
    return np.concatenate([np.load(folder / f"{first:06d}.npy") for first in range(0, count, CHUNK)])


def _render_chunk(task: tuple[Path, int, int, int, Callable[[int], Subject]]) -> None:
    path, first, count, size, shown = task
    images = np.stack([shown(number).render(size) for number in range(first, first + count)])
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, images)
    os.replace(partial, path)
