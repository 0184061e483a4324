"""Captions: one for all images, or one for each from the text file beside it (01.txt beside 01.jpg)."""

import random
from collections.abc import Sequence
from pathlib import Path

from ..errors import AtomtuneError, UsageError
from ..runtime.progress import Events
from ..runtime.units import counted
from .concept import Concept, expand, foreign_tag, names
from .text_files import problem_of, read_text, texts_beside

_LONGEST = 10_000  # characters used; a text encoder sees some 300


def captions_of(
    images: Sequence[Path],
    prompt: str,
    concept: Concept,
    events: Events | None = None,
    *,
    among: Sequence[Concept] = (),
    lines: bool = False,
) -> list[str]:
    """The caption of each image, as the text encoder gets it.

    `{}` and `<name>` stand for the concept's words, in `prompt` as in files. A file without `{}`, `<name>` or the token
    gets the words in front ("choa castle, on a hill"): without them the caption would not train the token.
    An image without a file, or with an empty one, gets `prompt`.

    Args:
        among: the concepts that captions may name, beside the image's own.
        lines: every line of a file is a caption of its own; the result has them on lines, too.

    Raises AtomtuneError that names every file that cannot be read or names another concept.
    """
    known = among or [concept]
    common = " ".join(expand(prompt, known, own=concept).splitlines())
    captions, nameless, problems = [], [], []
    texts = texts_beside(images)
    for image in images:
        path = texts.get(image, image.with_suffix(".txt"))
        try:
            own = read_caption(path, lines)
            filled = expand(own, known, own=concept)
        except UsageError:
            tag = foreign_tag(own)
            taught = " and ".join(f"<{one.name}>" for one in known)
            what = f"the tag {tag} of another program" if tag else f"another concept than {taught}"
            problems.append(f"{path.name} (it names {what})")
        except (OSError, ValueError) as problem:
            problems.append(f"{path.name} ({problem_of(problem)})")
        else:
            named = [line if names(line, concept) else f"{concept.words}, {line}" for line in filled.splitlines()]
            if named != filled.splitlines():
                nameless.append(path.name)
            captions.append("\n".join(named) or common)
    if problems:
        raise AtomtuneError(
            f"cannot use {counted(len(problems), 'caption')} in {images[0].parent}: {', '.join(problems)}",
            f"captions are UTF-8 text; {{}} or <{concept.name}> stands for the concept",
        )
    if nameless and events is not None:
        shown = ", ".join(nameless[:10]) + (f" and {len(nameless) - 10} more" if len(nameless) > 10 else "")
        events.warn(f'captions that do not name the concept get "{concept.words}, " in front: {shown}')
    return captions


def read_caption(path: Path, lines: bool = False) -> str:
    """The text of a file on one line, or with `lines` its lines that are not empty; "" where there is none."""
    if not path.is_file():
        return ""
    text = read_text(path)[:_LONGEST]
    if not lines:
        return " ".join(text.split())
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))


SHUFFLES = 16
"""Orders of its tags that a caption is shown in, at most."""


def caption_variants(caption: str, shuffle: bool, keep: int, seed: int) -> tuple[str, ...]:
    """The texts that an image is shown with, each as likely as the others: one for a caption on one line.

    Args:
        caption: as `captions_of` gives it.
        shuffle: the parts between commas change their order, but for the first `keep` of every line.
        seed: of the orders.
    """
    found = []
    for line in caption.splitlines():
        tags = [tag.strip() for tag in line.split(",")]
        fixed, rest = tags[:keep], tags[keep:]
        rng = random.Random(f"{seed} {line}")
        count = SHUFFLES if shuffle and len(rest) > 1 else 1
        orders = [rng.sample(rest, len(rest)) if count > 1 else rest for _ in range(count)]
        found += [", ".join([*fixed, *order]) for order in orders] if count > 1 else [line]
    return tuple(found)
