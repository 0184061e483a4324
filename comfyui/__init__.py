"""Atoms files in ComfyUI: read by its own Load LoRA, and by a node of this package. See docs/comfyui.md."""

try:
    import atomtune.files.stored_layers  # noqa: F401
except ModuleNotFoundError as problem:
    raise ModuleNotFoundError(
        f"{problem}. Install atomtune into the Python that runs ComfyUI: python -m pip install --no-deps atomtune"
    ) from problem

from .adapter import install
from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]

install()
