"""Whether pocket's grader names the scene of a picture that was asked for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image

from .world import SCENES

if TYPE_CHECKING:
    from ..evaluate.grader import Grader


def scenes_named(grader: "Grader", thing: str, asked: Sequence[str], pictures: Sequence[Image.Image]) -> list[bool]:
    """For each picture of a thing whether the grader names the scene asked for, out of all scenes.

    Pictures for which no scene of the world was asked are left out.
    """
    scenes = [scene for scene in SCENES if scene]
    known = [(picture, scene) for picture, scene in zip(pictures, asked, strict=True) if scene in scenes]
    if not known:
        return []
    named = grader.classify([picture for picture, _ in known], [f"a {thing} {scene}" for scene in scenes]).tolist()
    return [scenes[answer] == scene for answer, (_, scene) in zip(named, known, strict=True)]
