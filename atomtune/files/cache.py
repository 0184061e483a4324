"""The cache folder, whose files can all be computed again."""

import os
from pathlib import Path

CACHE_VARIABLE = "ATOMTUNE_CACHE"


def cache_folder() -> Path:
    """$ATOMTUNE_CACHE, else $XDG_CACHE_HOME/atomtune, else ~/.cache/atomtune."""
    if folder := os.environ.get(CACHE_VARIABLE):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atomtune"
