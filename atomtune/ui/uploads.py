"""Images that come through the page: decoded as photos are, kept in concepts/NAME, none replaced.

Nothing that a request says is used as a path: a name loses its folders, and a concept's name is checked as everywhere.
"""

import shutil
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from ..data.concept import Concept
from ..data.decode import decode
from ..data.image_files import SUFFIXES
from ..data.text_files import text_beside
from ..demo.concept_folder import write_concept
from ..errors import AtomtuneError, UsageError, excerpt
from ..files.atomic import write_atomically, write_errors, write_text
from ..files.manifest import Manifest
from ..pocket.concept import TRAINING_SCENES, concept_images, new_thing
from .environment import FILES

CONCEPTS = Path("concepts")
LARGEST = 100_000_000
"""Bytes of one file."""
MOST = 50
"""Images of one concept through the page."""

_LEAST = 64  # pixels that a JPEG is decoded to for the check
_LONGEST_CAPTION = 10_000


@dataclass(frozen=True)
class Taken:
    """What became of an upload: names of images that were kept, and why others were not."""

    kept: tuple[str, ...]
    refused: tuple[str, ...]


def concept_folder(name: str) -> Path:
    """The folder of a concept's images. Raises UsageError where this is no name of a concept."""
    folder = CONCEPTS / Concept(name.strip()).name
    if folder.is_symlink() or CONCEPTS.is_symlink():
        raise UsageError(f"{folder} is a link", "put the images themselves into it")
    return folder


def take(files: Sequence[Path], name: str) -> Taken:
    """Copy uploaded files into the folder of a concept, each under its own name or the next free one.

    Every file is decoded first. Raises UsageError for a name that cannot be, AtomtuneError where the disk is full.
    """
    folder = concept_folder(name)
    kept: list[str] = []
    refused: list[str] = []
    with write_errors(folder):
        there = len([path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]) if folder.is_dir() else 0
        for file in files:
            shown = safe_name(file.name)
            if there + len(kept) >= MOST:
                refused.append(f"{shown}: {MOST} images are enough")
            elif reason := why_refused(file):
                refused.append(f"{shown}: {reason}")
            else:
                folder.mkdir(parents=True, exist_ok=True)
                kept.append(_copy(file, folder, shown))
    return Taken(tuple(kept), tuple(refused))


def uploaded(path: str) -> Path:
    """The file of an upload. Raises UsageError for any other, whether it exists or not.

    Gradio checks this too, of pages that were launched; what depends on that is checked here again.
    """
    if not Path(path).resolve().is_relative_to(FILES.resolve()):
        raise UsageError("a file that was not uploaded cannot be named", "gradio_client's handle_file uploads it")
    return Path(path)


def safe_name(text: str) -> str:
    """The last part of a name without what no file should be called; never empty, and never hidden."""
    last = PureWindowsPath(PurePosixPath(text).name).name
    plain = unicodedata.normalize("NFC", last)
    kept = "".join(letter if letter.isalnum() or letter in "-_. " else "_" for letter in plain).strip(". ")
    stem, suffix = Path(kept).stem[:80], Path(kept).suffix[:10]
    return f"{stem or 'image'}{suffix}"


def why_refused(file: Path) -> str:
    """Why a file is not taken; empty where it is an image that can be decoded."""
    if file.suffix.lower() not in SUFFIXES:
        return "not a kind of image that is known here"
    if file.is_symlink() or not file.is_file():
        return "not a file"
    if file.stat().st_size > LARGEST:
        return f"larger than {LARGEST // 1_000_000} MB"
    try:
        decode(file, _LEAST)
    except AtomtuneError as problem:
        return problem.message
    except Exception as problem:  # the decoders raise nearly anything for a broken file
        kind = type(problem).__name__
        return "more pixels than are safe" if "Bomb" in kind else f"cannot be decoded ({excerpt(kind, 40)})"
    return ""


def _copy(file: Path, folder: Path, name: str) -> str:
    number, target = 1, folder / name
    while target.exists() or target.is_symlink():
        number += 1
        target = folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
    Manifest(folder).add(target)
    write_atomically(target, lambda temporary: shutil.copyfile(file, temporary))
    return target.name


def render_thing(kind: str, instance: int, name: str) -> list[str]:
    """Images of a thing of pocket's world in the folder of a concept. Raises UsageError where it is not empty."""
    folder = concept_folder(name)
    images = concept_images(kind, new_thing(instance), TRAINING_SCENES)
    names = [file.image.name for file in write_concept(folder, images)]
    Manifest(folder).adopt(*(folder / image for image in names))
    return names


def image_of(name: str, image: str) -> Path:
    """An image of a concept by its file name. Raises UsageError where there is none such in its folder."""
    folder = concept_folder(name)
    path = folder / image
    if Path(image).name != image or image.startswith(".") or not path.is_file() or path.is_symlink():
        raise UsageError(f"there is no image {excerpt(image, 60)} in {folder}", "upload it first")
    return path


def write_caption(name: str, image: str, text: str) -> None:
    """Write the caption of an image beside it; an empty one takes the file away again. Raises as `image_of`."""
    path = image_of(name, image)
    beside = text_beside(path) or path.with_suffix(".txt")
    if beside.is_symlink() or len(text) > _LONGEST_CAPTION:
        raise UsageError(f"{beside} cannot be written", "a caption is a short text in a file of its own")
    lines = "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())
    if lines:
        if not beside.exists():
            Manifest(path.parent).add(beside)
        write_text(beside, lines + "\n")
    elif beside.exists():
        write_text(beside, "")  # an empty file is no caption, and a file of the user's stays


def remove_image(name: str, image: str) -> None:
    """Delete an image that came through the page, and the caption that did.

    Raises as `image_of`, and UsageError for an image that somebody else put there.
    """
    path = image_of(name, image)
    manifest = Manifest(path.parent)
    if path not in manifest:
        raise UsageError(f"{path} did not come through this page, so it is not deleted here", "delete it yourself")
    gone = {path, path.with_suffix(".txt")}
    manifest.clear(keep=[path.parent / file for file in manifest.names if path.parent / file not in gone])
