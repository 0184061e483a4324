"""Images of classes: a folder for each class, read one at a time."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..data.decode import decode
from ..data.image_files import find_images
from ..errors import AtomtuneError, UsageError, excerpt
from ..runtime.progress import Events
from ..runtime.units import counted

_SHOWN = 10


@dataclass(frozen=True)
class LabelledImages:
    """The images of some classes; their pixels stay on disk.

    Attributes:
        classes: names, in the order of their numbers.
        paths, labels: of every image: its file, and the number of its class.
    """

    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def counts(self) -> list[int]:
        """How many images each class has."""
        found = [0] * len(self.classes)
        for label in self.labels:
            found[label] += 1
        return found


def read_classes(folder: Path, events: Events, known: Sequence[str] | None = None) -> LabelledImages:
    """The images of a folder of folders, classes and files sorted by name.

    Args:
        known: the classes of a trained classifier, whose numbers count; without it they are those of the folder.

    Raises AtomtuneError where the folder or a class has no images, there are fewer than two classes, or one is unknown.
    """
    hint = f"put the images of each class into a folder of its own, as {folder}/daisy/01.jpg"
    if not folder.is_dir():
        raise AtomtuneError(f"there is no folder {folder}", hint)
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(inside) < (1 if known else 2):
        raise AtomtuneError(f"{folder} has {counted(len(inside), 'folder')} of classes", hint)
    classes = tuple(known or (path.name for path in inside))
    if foreign := [path.name for path in inside if path.name not in classes]:
        raise AtomtuneError(
            f"the classifier knows no class {excerpt(foreign[0])}"
            + (f" and {len(foreign) - 1} more of {folder}" if len(foreign) > 1 else ""),
            f"its classes are {excerpt(', '.join(classes), 200)}",
        )
    paths: list[Path] = []
    labels: list[int] = []
    for place in inside:
        found, others = find_images(place)
        if others:
            events.warn(f"skipped in {place}: {', '.join(others[:_SHOWN])}")
        paths += found
        labels += [classes.index(place.name)] * len(found)
    if lacking := [name for name in classes if name not in {path.name for path in inside}]:
        events.warn(f"no images of {', '.join(lacking[:_SHOWN])} in {folder}")
    return LabelledImages(classes, tuple(paths), tuple(labels))


def find_all(places: Sequence[Path]) -> list[Path]:
    """Image files, and those in folders, in order. Raises AtomtuneError where there are none."""
    if not places:
        raise UsageError("there are no images to classify", "atomtune classify predict --name flowers a.jpg images/")
    found: list[Path] = []
    for place in places:
        if not place.exists():
            raise AtomtuneError(f"there is no image {place}", "name files, or folders of images")
        found += find_images(place)[0] if place.is_dir() else [place]
    return found


def read_image(path: Path, least: int) -> Image.Image:
    """One image, upright and RGB; see `decode`. Raises AtomtuneError where it cannot be read."""
    try:
        return decode(path, least)[0]
    except AtomtuneError:
        raise
    except Exception as problem:  # the decoders raise nearly anything for a broken file
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise AtomtuneError(f"cannot read {path} ({excerpt(reason)})", "remove or replace it") from problem


def digests(images: LabelledImages) -> dict[str, dict[str, object]]:
    """What a run remembers of its images, by class: how many, and a digest of their names and bytes."""
    hashes = [hashlib.blake2b(digest_size=16) for _ in images.classes]
    for path, label in zip(images.paths, images.labels, strict=True):
        hashes[label].update(f"{path.name}/{path.stat().st_size}/".encode())
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                hashes[label].update(block)
    counts = images.counts()
    return {
        name: {"images": count, "digest": digest.hexdigest()}
        for name, count, digest in zip(images.classes, counts, hashes, strict=True)
    }


def check_same(stored: object, now: Mapping[str, Mapping[str, object]]) -> None:
    """Raise UsageError that names the classes whose images are not those that a run was begun with."""
    again = "start again with --overwrite"
    if not isinstance(stored, Mapping):
        raise AtomtuneError("run.json does not say which images the run was begun with", again)
    if list(stored) != list(now):
        raise UsageError("the run was begun with other classes", f"put them back, or {again}")
    if changed := [name for name in now if stored[name] != now[name]]:
        listed = ", ".join(changed[:_SHOWN])
        raise UsageError(f"the run was begun with other images of {excerpt(listed)}", f"put them back, or {again}")
