"""Images of a new thing of `pocket`'s world as a concept's folder of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..files.png import save_png
from ..pocket.concept import ConceptImage


@dataclass(frozen=True)
class ConceptFile:
    """One image on disk.

    Attributes:
        image, mask: the files; no mask where none was asked for.
        scene: the words of its scene, empty for a plain background.
    """

    image: Path
    mask: Path | None
    scene: str


def write_concept(folder: Path, images: Sequence[ConceptImage], *, masks: bool = False) -> list[ConceptFile]:
    """Write the images as 01.png, 02.png, … and with `masks` a mask beside each, as 01.mask.png.

    Raises UsageError where the folder is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", "name another folder, or move what is in it away")
    files = [
        ConceptFile(folder / f"{n:02d}.png", folder / f"{n:02d}.mask.png" if masks else None, image.scene)
        for n, image in enumerate(images, start=1)
    ]
    for file, image in zip(files, images, strict=True):
        save_png(file.image, image.image)
        if file.mask is not None:
            save_png(file.mask, image.mask)
    return files
