"""Captions of a concept's images, by a model, in text files beside them."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..data.concept import Concept
from ..data.image_files import find_images, read_whole
from ..data.text_files import text_beside
from ..errors import UsageError
from ..files.atomic import write_text
from ..files.manifest import Manifest
from ..files.output_folder import claim
from ..files.untrusted_json import read_json
from ..runtime.progress import Events

RECORD = ".atomtune-captions.json"
"""In the folder of the images: the captions that were written there, so that one that was changed is known."""

LEAST = 1024
"""Pixels of the short side of a photo that is read smaller than it is."""

Describe = Callable[[Image.Image], str]
"""Gives a sentence, or part of one, for an RGB image."""


@dataclass(frozen=True)
class MadeCaption:
    """The caption of one image.

    Attributes:
        caption: what the file holds.
        written: whether it was written now; else the file was there, and stays.
    """

    image: Path
    file: Path
    caption: str
    written: bool


def make_captions(
    folder: Path,
    concept: Concept,
    describer: Callable[[], Describe],
    *,
    overwrite: bool = False,
    events: Events | None = None,
) -> list[MadeCaption]:
    """Write NAME.txt beside every image of a folder that has no text file, with `{}` where the concept is.

    Args:
        describer: loads what describes; called where there is something to describe.
        overwrite: write captions that were made so before again, unless somebody has changed them.

    Raises AtomtuneError as `find_images`, where an image cannot be read, and where a file cannot be written; UsageError
    for two images that would share a file.
    """
    events = events or Events()
    found, _ = find_images(folder)
    if len({path.stem for path in found}) < len(found):
        raise UsageError(f"two images in {folder} differ in their ending alone", "rename one of them")
    ours = _recorded(folder)
    places = {path: text_beside(path) for path in found}
    may_replace = {
        path for path, file in places.items() if file is None or (overwrite and _is_untouched(file, folder, ours))
    }
    changed = [file.name for file in places.values() if file and file.name in ours and not _is_ours(file, ours)]
    if overwrite and changed:
        events.warn(f"changed since they were written, so they stay: {', '.join(changed)}")
    describe = describer() if may_replace else None
    made: list[MadeCaption] = []
    events.begin("caption", len(may_replace))
    for path in found:
        there = places[path]
        if path not in may_replace or describe is None:
            assert there is not None
            made.append(MadeCaption(path, there, there.read_text(encoding="utf-8", errors="replace").strip(), False))
            continue
        target = there or path.with_suffix(".txt")
        caption = with_concept(describe(read_whole(path, LEAST)), concept.class_noun)
        claim(folder, [target.name, RECORD])
        write_text(target, caption + "\n")
        ours[target.name] = _digest(target)
        write_text(folder / RECORD, json.dumps(ours, indent=2) + "\n")
        made.append(MadeCaption(path, target, caption, True))
        events.advance(path.name)
    events.end()
    return made


def with_concept(text: str, noun: str) -> str:
    """A description with `{}` in the place of the class noun, or in front where it does not name it.

    >>> with_concept("a dog on the beach.", "dog")
    'a {} on the beach'
    """
    plain = " ".join(re.sub(r"[{}<>]", " ", text).split()).rstrip(" .")  # what means something in captions
    named = re.sub(rf"(?<!\w){re.escape(noun)}(?!\w)", "{}", plain, count=1, flags=re.IGNORECASE)
    if "{}" in named:
        return named
    return f"{{}}, {plain}" if plain else "{}"


def _is_untouched(file: Path, folder: Path, ours: Mapping[str, str]) -> bool:
    return file in Manifest(folder) and _is_ours(file, ours)


def _is_ours(file: Path, ours: Mapping[str, str]) -> bool:
    return ours.get(file.name) == _digest(file)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _recorded(folder: Path) -> dict[str, str]:
    """Digests of the captions that were written into a folder, by file name; empty where the record is damaged."""
    try:
        record = read_json(folder / RECORD)
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict):
        return {}
    return {str(name): digest for name, digest in record.items() if isinstance(digest, str)}
