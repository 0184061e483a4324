"""The small world of `pocket`: things and scenes drawn by code, and captions in the words of DreamBooth's prompts."""

from .captions import caption
from .compose import FIRST_HELD_OUT_SEED, FIRST_TRAINING_SEED, THINGS, render, render_with_mask
from .scenes import SCENES
from .style import HUES, PATTERNS, Style

__all__ = [
    "FIRST_HELD_OUT_SEED",
    "FIRST_TRAINING_SEED",
    "HUES",
    "PATTERNS",
    "SCENES",
    "THINGS",
    "Style",
    "caption",
    "render",
    "render_with_mask",
]
