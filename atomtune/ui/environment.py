"""What Gradio must be told before it is imported: no telemetry, and where it keeps its files."""

import os
from importlib.util import find_spec
from pathlib import Path

from ..errors import AtomtuneError
from ..sampling.options import RUNS
from . import texts

FILES = RUNS / ".page"
"""Uploads before they are taken, and copies of the images that the page shows; inside the working folder."""


def prepare() -> None:
    """Set Gradio up for this working folder. Raises AtomtuneError where it is not installed."""
    if find_spec("gradio") is None:
        raise AtomtuneError(texts.NO_GRADIO, texts.NO_GRADIO_HINT)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(FILES.absolute())
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    Path(FILES).mkdir(parents=True, exist_ok=True)
