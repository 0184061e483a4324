"""Full fine-tuning: every parameter of the UNet, as DreamBooth trains it (Ruiz et al. 2023, arXiv 2208.12242)."""

from torch import nn

from .in_place import InPlaceMethod


def _is_any(_module: nn.Module, _name: str) -> bool:
    return True


FULL = InPlaceMethod("full", "every parameter", 5e-6, _is_any)
