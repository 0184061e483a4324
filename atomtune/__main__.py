"""`python -m atomtune train …`, `accelerate launch -m atomtune train …`."""

import sys

from .commands.app import main

if __name__ == "__main__":
    sys.exit(main())
