"""All scenes of the small world, by the words that name them in a caption; the empty words are a plain studio."""

from .scenery import Scene
from .scenes_nature import NATURE
from .scenes_places import PLACES
from .scenes_surfaces import SURFACES

__all__ = ["SCENES", "Scene"]

SCENES: dict[str, Scene] = {scene.words: scene for scene in (*NATURE, *PLACES, *SURFACES)}
