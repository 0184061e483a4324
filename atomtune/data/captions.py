"""Captions: one for all images, or one for each from the text file beside it (01.txt beside 01.jpg)."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import AtomtuneError, UsageError
from ..runtime.progress import Events
from .concept import Concept, expand, foreign_tag, names
from .text_files import problem_of, read_text, text_beside

_LONGEST = 10_000  # characters used; a text encoder sees some 300


def captions_of(images: Sequence[Path], prompt: str, concept: Concept, events: Events | None = None) -> list[str]:
    """The caption of each image, as the text encoder gets it.

    `{}` and `<name>` stand for the concept's words, in `prompt` as in files. A file without `{}`, `<name>` or the token
    gets the words in front ("sks castle, on a hill"): without them the caption would not train the token.
    An image without a file, or with an empty one, gets `prompt`.

    Raises AtomtuneError that names every file that cannot be read or names another concept.
    """
    common = expand(prompt, [concept])
    captions, nameless, problems = [], [], []
    for image in images:
        path = text_beside(image) or image.with_suffix(".txt")
        try:
            own = read_caption(path)
            filled = expand(own, [concept])
        except UsageError:
            tag = foreign_tag(own)
            what = f"the tag {tag} of another program" if tag else f"another concept than <{concept.name}>"
            problems.append(f"{path.name} (it names {what})")
        except (OSError, ValueError) as problem:
            problems.append(f"{path.name} ({problem_of(problem)})")
        else:
            if filled and not names(filled, concept):
                nameless.append(path.name)
                filled = f"{concept.words}, {filled}"
            captions.append(filled or common)
    if problems:
        raise AtomtuneError(
            f"cannot use {len(problems)} captions in {images[0].parent}: {', '.join(problems)}",
            f"captions are UTF-8 text; {{}} or <{concept.name}> stands for the concept",
        )
    if nameless and events is not None:
        shown = ", ".join(nameless[:10]) + (f" and {len(nameless) - 10} more" if len(nameless) > 10 else "")
        events.warn(f'captions that do not name the concept get "{concept.words}, " in front: {shown}')
    return captions


def read_caption(path: Path) -> str:
    """The text of a file on one line; "" where there is none."""
    if not path.is_file():
        return ""
    return " ".join(read_text(path)[:_LONGEST].split())
