"""Images of one new thing, as somebody would take photos of it to teach it."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from ..errors import UsageError, did_you_mean, excerpt
from .world import FIRST_HELD_OUT_SEED, SCENES, THINGS, Style, render_with_mask

TRAINING_SCENES = (
    "",
    "on a cobblestone street",
    "with a mountain in the background",
    "on top of a dirt road",
    "with a city in the background",
)
"""Where a new thing is seen unless other scenes are asked for."""
LARGEST = 256
"""The largest side of an image in pixels; above it the renderer has no more detail."""


@dataclass(frozen=True)
class ConceptImage:
    """One image of a thing.

    Attributes:
        image: RGB, a square.
        mask: how far each pixel shows the thing, L, 0 to 255, of the same size.
        scene: the words of the scene it is seen in; empty for a plain background.
    """

    image: Image.Image
    mask: Image.Image
    scene: str


def new_thing(instance: int) -> Style:
    """The style of a thing that no training of `pocket` saw; each number from 0 on is another one."""
    return Style(FIRST_HELD_OUT_SEED + instance)


def concept_images(
    class_name: str, style: Style, scenes: Sequence[str] = TRAINING_SCENES, count: int | None = None, size: int = 64
) -> list[ConceptImage]:
    """Images of one thing, each from another point of view, in the given scenes by turns.

    Args:
        class_name: a class of things, a key of `THINGS`.
        style: which thing of the class, see `new_thing`.
        scenes: keys of `SCENES`.
        count: how many images; without it one for every scene.
        size: side of the images in pixels, at most `LARGEST`.

    Raises UsageError for a class or a scene that does not exist, for no scenes, and for a size out of range.
    """
    if class_name not in THINGS:
        close = did_you_mean(class_name, THINGS)
        raise UsageError(f"pocket has no class {excerpt(class_name)!r}{close}", f"classes: {', '.join(THINGS)}")
    unknown = [scene for scene in scenes if scene not in SCENES]
    if unknown:
        raise UsageError(
            f"pocket has no scene {excerpt(unknown[0])!r}{did_you_mean(unknown[0], SCENES)}",
            "atomtune pocket list shows all scenes",
        )
    if not scenes:
        raise UsageError("no scenes are given", "atomtune pocket list shows all scenes")
    if not 8 <= size <= LARGEST:
        raise UsageError(f"{size} is no size of pocket's images", f"from 8 to {LARGEST} pixels")
    chosen = [scenes[i % len(scenes)] for i in range(len(scenes) if count is None else count)]
    return [
        ConceptImage(*render_with_mask(class_name, style, scene, FIRST_HELD_OUT_SEED + i, size), scene)
        for i, scene in enumerate(chosen)
    ]
