"""Tuning methods, one file each (floor 1)."""

from .atoms import Atoms
from .base import Method
from .bitfit import BITFIT
from .difffit import DiffFit
from .full import FULL
from .loha import LoHa
from .lokr import LoKr
from .loldu import LoLDU
from .lora import LoRA
from .oft import COFT, OFT
from .textual_inversion import TextualInversion

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Atoms(),
        LoRA(),
        LoHa(),
        LoKr(),
        OFT(),
        COFT(),
        BITFIT,
        DiffFit(),
        LoLDU(),
        FULL,
        TextualInversion(),
    )
}
"""Every method by the name it has on the command line and in files."""
