"""Adapted layers: attach weight deltas to a model, scale, swap and detach them.

An adapted layer is a subclass of the layer it stands for. It shares the original parameters and keeps their state-dict
keys, and holds the deltas as children. Without gradients it computes its output with one convolution (or matrix
product) of the adapted weight. Where gradients are recorded and a single delta has a form of `core.updates`,
`core.functional` computes the same but for rounding, faster and with less memory.

    restore = freeze(unet)                    # gradients for the deltas alone
    attach(unet, {"conv_in": delta, ...})     # the output is still the base model's, bit for bit
    set_scale(unet, 0.8)
    detach(unet)                              # puts the original modules back
    restore()
"""

from .attach import (
    DEFAULT,
    adapted_layers,
    attach,
    cached_weights,
    detach,
    freeze,
    set_scale,
    swap,
    trainable_parameters,
)
from .layers import AdaptedConv2d, AdaptedLayer, AdaptedLinear
from .select import adaptable_layers, skipped_layers

__all__ = [
    "DEFAULT",
    "AdaptedConv2d",
    "AdaptedLayer",
    "AdaptedLinear",
    "adaptable_layers",
    "adapted_layers",
    "attach",
    "cached_weights",
    "detach",
    "freeze",
    "set_scale",
    "skipped_layers",
    "swap",
    "trainable_parameters",
]
