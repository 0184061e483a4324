"""Self-contained HTML pages: templates filled in, images inside, no request ever leaves them."""

import base64
import io
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from PIL import Image

from ..runtime.units import counted, size

_TEMPLATES = Path(__file__).parent / "templates"

QUALITY = 88
"""Of WebP: the files beside the report are the images themselves."""


def render_page(template: str, **values: Any) -> str:
    """Fill a template of `evaluate/templates`; values are escaped, a missing one is an error."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    environment.filters["bytes"] = size
    environment.filters["counted"] = counted
    return environment.get_template(template).render(**values)


def data_uri(image: Image.Image, least: int = 256, most: int = 1024) -> str:
    """An image as WebP in a data: address, by which a report of hundreds of them can still be sent.

    Small ones are enlarged to `least` pixels, as viewers would blur them; sheets may be wider than `most`.
    """
    factor = max(1, -(-least // image.width))
    if factor > 1:
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)
    elif image.width == image.height > most:
        image = image.resize((most, most), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.convert("RGB").save(stream, format="WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
