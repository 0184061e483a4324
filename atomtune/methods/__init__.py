"""Tuning methods, one file each, and a way to add others: see docs/write-a-method.md.

Importing this package does not import torch; its names that need it are looked up when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .registry import METHODS, method_names, register
from .specs import Spec

if TYPE_CHECKING:
    from ..core.deltas import WeightDelta
    from .base import LayerPlan, Method, Tuning
    from .delta_method import DeltaMethod

__all__ = [
    "METHODS",
    "DeltaMethod",
    "LayerPlan",
    "Method",
    "Spec",
    "Tuning",
    "WeightDelta",
    "method_names",
    "register",
]

_LAZY = {
    "WeightDelta": "..core.deltas",
    "LayerPlan": ".base",
    "Method": ".base",
    "Tuning": ".base",
    "DeltaMethod": ".delta_method",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)
