"""A command of atomtune under torch's profiler: `python -m benchmarks.inside.traced FILE DEVICE train --concept …`."""

import sys
from pathlib import Path

from atomtune.commands.app import main as atomtune
from atomtune.models.base_model import pick_device

from . import clock


def main(arguments: list[str] | None = None) -> int:
    """Run the command and write its trace; its exit code."""
    file, device, *words = sys.argv[1:] if arguments is None else arguments
    codes: list[int] = []
    clock.trace(lambda: codes.append(atomtune(words)), pick_device(device), Path(file))
    return codes[0]


if __name__ == "__main__":
    raise SystemExit(main())
