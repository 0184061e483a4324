"""A small image of a concept for the fleet's page: one that it was learned from, and beside it the last preview."""

import io
from pathlib import Path

from PIL import Image, ImageOps

from ..data.decode import decode
from ..data.image_files import find_images
from ..files.atomic import write_atomically
from ..training.run_folder import RunFolder

NAME = "thumbnail.jpg"
_SIDE = 128  # pixels
_QUALITY = 85  # of JPEG


def write_thumbnail(run: RunFolder, images: Path) -> None:
    """Write the thumbnail into the folder of a run that is complete; none where a file of others has its name.

    Args:
        images: folder of the images that were learned from.

    Raises AtomtuneError where it cannot be written.
    """
    path = run.path / NAME
    if path.exists() or path.is_symlink():
        return
    found, _ = find_images(images) if images.is_dir() else ([], [])
    parts = [decode(found[0], _SIDE)[0]] if found else []
    if steps := run.preview_steps(1):
        with Image.open(run.preview(steps[-1], 0)) as preview:
            parts.append(preview.convert("RGB"))
    if not parts:
        return
    whole = Image.new("RGB", (_SIDE * len(parts), _SIDE))
    for number, part in enumerate(parts):
        whole.paste(ImageOps.fit(part, (_SIDE, _SIDE), Image.Resampling.LANCZOS), (_SIDE * number, 0))
    stream = io.BytesIO()
    whole.save(stream, format="JPEG", quality=_QUALITY)
    run.manifest.add(path)
    write_atomically(path, lambda temporary: temporary.write_bytes(stream.getvalue()))
