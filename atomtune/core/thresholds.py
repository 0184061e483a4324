"""From which size on one way of computing is faster than another. All give the same numbers but for rounding.

Pairs are for the way forward and the way back. Figures by kind of device: those of the CPU are measured on two cores,
those of CUDA follow from the bytes that are moved (docs/performance.md).
"""

SMALL_WEIGHT = 2**16
"""Numbers of a weight below which autograd alone is faster, and keeps little."""

ATOMS = {"cpu": (64, 128), "cuda": (1024, 1024)}
"""Up to how many positions of the output a layer with changed atoms computes without making its weight."""

ATOMS_WIDE = {"cpu": (96, 512), "cuda": (1024, 1024)}
"""The same for tiles of layers with at least four times as many outputs as inputs, and for the way back of filters:
what the coefficients mix there is small beside the weight."""

MATRIX = {"cpu": (512, 1 << 30), "cuda": (1024, 1024)}
"""The same for filters that all meet one small matrix."""

MATRIX_BY_CHANNEL = (1, 2)
"""The same by output channel where every input channel has a matrix of its own. These cost by position what they do by
output channel of a weight, and many times what one matrix for all does."""

COLUMNS = 512
"""Positions of the output up to which a convolution on the CPU is a product of columns: its own way, which brings the
weight into another order at each call, takes up to three times as long."""

ONEDNN = 4_000_000
"""Multiplications from which oneDNN's product pays for the 20 µs of its call."""
