"""What is trained, as one module: the UNet, and the text encoders where they are trained too."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..adapt import AdaptedConv2d, AdaptedLayer, AdaptedLinear, adapted_layers
from ..core.deltas import WeightDelta
from ..core.precision import DTYPES
from ..models.conditioning import Embeddings, Tokens, encode
from .options import SpeedOptions


class Tuned(nn.Module):
    """UNet and text encoders in one, so that several processes exchange all their gradients together.

    Args:
        unet: with its deltas.
        encoders: the text encoders with theirs; none where captions come embedded.
        side: of the training images, in pixels.
    """

    def __init__(self, unet: nn.Module, encoders: Sequence[nn.Module], side: int) -> None:
        super().__init__()
        self.unet = unet
        self.encoders = nn.ModuleList(encoders)
        self.side = side

    def forward(
        self, noisy: Tensor, timesteps: Tensor, condition: Embeddings | Tokens, sizes: Tensor | None = None
    ) -> Tensor:
        """The prediction, (b, c, h, w), for noisy latents of that shape, (b,) timesteps and b captions.

        Args:
            sizes: SDXL's six numbers of each image, (b, 6); None for whole squares.
        """
        if isinstance(condition, Tokens):
            condition = encode(list(self.encoders), condition)
        told = condition.for_unet(self.side, sizes)
        prediction: Tensor = self.unet(noisy, timesteps, **told, return_dict=False)[0]
        return prediction


@contextmanager
def computing_in(module: nn.Module, precision: str) -> Iterator[None]:
    """Within the context one module computes in the dtype of `precision`, by autocast; what is around it does not.

    The VAE of some models overflows in smaller dtypes than float32.
    """
    if precision == "fp32":
        yield
        return
    device = next(module.parameters()).device.type
    entered: list[torch.autocast] = []

    def enter(*_: object) -> None:
        entered.append(torch.autocast(device, dtype=DTYPES[precision]))
        entered[-1].__enter__()

    def leave(*_: object) -> None:
        entered.pop().__exit__(None, None, None)

    hooks = module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def place(unet: Any, encoders: Sequence[Any], options: SpeedOptions, precision: str, device: torch.device) -> None:
    """Bring a UNet that is ready for training to its device, and treat text encoders that are trained in the same way.

    On CUDA frozen weights are held in the compute dtype, to which they would be rounded at each step anyway. With
    `low_memory` those of adapted layers are on every device, in float16 where float32 is computed in, and activations
    are recomputed in the backward pass.
    """
    parts = [unet, *encoders]
    smaller = None if precision == "fp32" else DTYPES[precision]
    for part in parts:
        if device.type == "cuda" and smaller is not None:
            _hold(part, smaller, (nn.Conv2d, nn.Linear, AdaptedConv2d, AdaptedLinear))
        if options.low_memory:
            _hold(part, smaller or torch.float16, (AdaptedConv2d, AdaptedLinear))
        if options.low_memory or device.type == "cuda":
            for layer in adapted_layers(part).values():
                _compact(layer)
    if options.gradient_checkpointing or options.low_memory:
        # no dropout in these models, so the random state, which a CUDA graph could not read, need not be kept
        again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
        unet.enable_gradient_checkpointing(gradient_checkpointing_func=again)
        for encoder in encoders:
            encoder.gradient_checkpointing_enable()
    if device.type == "cuda" or adapted_layers(unet):
        # the memory format of cuDNN's tensor cores, and of the filters' weight deltas here
        unet.to(memory_format=torch.channels_last)
    unet.to(device)


def _hold(part: nn.Module, kind: torch.dtype, layers: tuple[type[nn.Module], ...]) -> None:
    """Round the frozen weights of these layers, in place. A wrapped layer's weight belongs to the one that wraps it."""
    for name, layer in part.named_modules():
        if type(layer) in layers and not name.endswith(".base_layer"):
            weight = layer.weight
            assert isinstance(weight, nn.Parameter)
            if not weight.requires_grad:
                weight.data = weight.data.to(kind)


def _compact(layer: AdaptedLayer) -> None:
    for delta in layer.deltas.values():
        assert isinstance(delta, WeightDelta)
        delta.compact()
