"""BitFit: train the biases alone (Ben Zaken et al. 2022, arXiv 2106.10199)."""

from torch import nn

from .in_place import InPlaceMethod


def _is_bias(_module: nn.Module, name: str) -> bool:
    return name == "bias"


BITFIT = InPlaceMethod("bitfit", "the biases of all layers, norms included", 1e-3, _is_bias)
