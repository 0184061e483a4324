"""Score images from anywhere: a folder of them, against a folder of the concept's."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from ..data.captions import read_caption
from ..data.image_files import load_whole_images
from ..data.png_text import without_long_texts
from ..data.text_files import problem_of, text_beside
from ..errors import AtomtuneError
from ..files.atomic import write_text
from ..files.output_folder import check_replaceable, claim
from ..runtime.progress import Events
from .encoders.base import Encoders, public_name
from .measure import Measures, measure, real_fidelity

SCORES = "scores.json"
LEAST = 512
"""Pixels that images keep when they are read: no encoder looks at more than half of them."""


def score_folder(
    encoders: Encoders, images: Path, references: Path, output: Path | None, events: Events | None = None
) -> tuple[dict[str, Any], Measures]:
    """The figures of a folder; written to `output`/scores.json where an output is named.

    Alignment is measured for images that have their prompt: in a text file beside them (01.txt), or in the
    chunk "parameters" of their PNG, as atomtune, A1111 and ComfyUI's savers leave it.

    Raises:
        UsageError: that would replace a file that atomtune did not write.
        AtomtuneError: a folder is missing or empty, or files cannot be decoded whole (all of them are named).
    """
    events = events or Events()
    if output is not None:
        check_replaceable(output, [SCORES])
    shown = load_whole_images(images, LEAST, events)
    known = load_whole_images(references, LEAST, events)
    events.phase("scoring")
    reference_images = [image for _, image in known]
    scored = measure(encoders, [image for _, image in shown], [prompt_of(path) for path, _ in shown], reference_images)
    each = [
        {
            "file": path.relative_to(images).as_posix(),
            "fidelity": fidelity,
            "alignment": None if alignment != alignment else alignment,
        }
        for (path, _), fidelity, alignment in zip(
            shown, scored.fidelity.tolist(), scored.alignment.tolist(), strict=True
        )
    ]
    figures = {
        **scored.measures.as_dict(),
        "real_fidelity": real_fidelity(encoders, reference_images),
        "encoders": {
            "fidelity": public_name(encoders.fidelity.name),
            "diversity": public_name(encoders.diversity.name),
            "alignment": public_name(encoders.alignment.name),
        },
        "preprocessing": encoders.fidelity.preprocessing,
        "images": each,
    }
    if output is not None:
        claim(output, [SCORES])
        write_text(output / SCORES, json.dumps(figures, indent=2) + "\n")
    return figures, scored.measures


def prompt_of(path: Path) -> str | None:
    """The prompt that an image was generated from; None where nothing says it."""
    beside = text_beside(path)
    if beside is not None:
        try:
            return read_caption(beside) or None
        except (OSError, ValueError) as problem:
            raise AtomtuneError(f"cannot read {beside}: {problem_of(problem)}", "prompts are UTF-8 text") from None
    with Image.open(without_long_texts(path)) as opened:
        parameters = opened.info.get("parameters")
    if not isinstance(parameters, str):
        return None
    # the prompt may take several lines; what follows begins with one of these
    lines = []
    for line in parameters.splitlines():
        if line.startswith(("Negative prompt:", "Steps:")):
            break
        lines.append(line)
    return " ".join(lines).strip() or None
