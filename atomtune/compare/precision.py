"""The precision of a comparison: the same for all of its runs, on whatever device it goes on."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from ..files.run_result import RECORD
from ..files.untrusted_json import read_json
from ..models.base_model import pick_device, pick_precision
from ..models.options import AUTO, PRECISIONS


def shared_precision(asked: str, device: str | None, folders: Iterable[Path]) -> str:
    """The precision asked for; where that is left open ("auto"), the one of the runs in these folders, if there are.

    Raises AtomtuneError for a device that is not there.
    """
    recorded = (_recorded(folder) for folder in folders) if asked == AUTO else ()
    return next(filter(None, recorded), None) or pick_precision(asked, pick_device(device))


def _recorded(folder: Path) -> str | None:
    """What a run's record says; None where there is none that can be read, as is told where the run is looked at."""
    try:
        options = read_json(folder / RECORD)["options"]
        groups = [options, *(group for group in options.values() if isinstance(group, Mapping))]
        found = next(group["precision"] for group in groups if "precision" in group)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration):
        return None
    return found if found in PRECISIONS and found != AUTO else None
