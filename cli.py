"""Launcher: `python cli.py train …`, `accelerate launch cli.py train …`."""

import sys

from atomtune.commands.app import main

if __name__ == "__main__":
    sys.exit(main())
