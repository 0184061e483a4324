"""Tuning methods, one file each (floor 1)."""

from .atoms import Atoms
from .base import Method

METHODS: dict[str, Method] = {method.name: method for method in (Atoms(),)}
"""Every method by the name it has on the command line and in files."""
