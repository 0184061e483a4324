"""Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391): where in an image a network looks for a class."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import AtomtuneError, UsageError, excerpt
from .network import Network, logits_of

ACTIVE = 0.5
"""Share of the highest value from which on a pixel counts as active."""


def grad_cam(model: nn.Module, layer: nn.Module, image: Tensor, number: int, prefix: int = 0) -> Tensor:
    """The map of one class: ReLU of the layer's channels, each weighted by the mean of its gradient.

    Args:
        layer: of `model`, with an output (1, channels, height, width) or (1, height, width, channels) of ConvNeXt's and
            Swin's kind, or tokens (1, n, channels).
        image: (1, 3, height, width); number: of the class.
        prefix: tokens that stand for no place, as the class token.

    Returns (height, width) of the image, from 0 to 1; all 0 where nothing speaks for the class.
    """
    kept: dict[str, Tensor] = {}

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        kept["output"] = output.detach().requires_grad_(True)
        return kept["output"]

    handle = layer.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            score = logits_of(model, image)[0, number]
            (gradient,) = torch.autograd.grad(score, kept["output"])
    finally:
        handle.remove()
    channels, gradients = (as_map(value, prefix) for value in (kept["output"].detach(), gradient))
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    found = F.relu((weights * channels).sum(1, keepdim=True))
    found = F.interpolate(found, size=image.shape[2:], mode="bilinear", align_corners=False)[0, 0]
    low, high = float(found.min()), float(found.max())
    return ((found - low) / (high - low) if high > low else torch.zeros_like(found)).cpu()


def as_map(output: Tensor, prefix: int = 0) -> Tensor:
    """(1, channels, h, w) of an output that `grad_cam` takes."""
    if output.dim() == 3:
        tokens = output[:, prefix:]
        side = round(tokens.shape[1] ** 0.5)
        if side * side != tokens.shape[1]:
            raise UsageError(f"{tokens.shape[1]} tokens are no square of places", "--layer names another layer")
        return tokens.transpose(1, 2).reshape(1, tokens.shape[2], side, side)
    if output.dim() == 4 and output.shape[1] == output.shape[2] != output.shape[3]:
        return output.permute(0, 3, 1, 2)
    return output


def active_share(found: Tensor) -> float:
    """The share of a map's pixels that are active, see `ACTIVE`."""
    return float((found >= ACTIVE).float().mean()) if bool(found.any()) else 0.0


def default_layer(network: Network, image: Tensor) -> tuple[str, nn.Module]:
    """The layer to look at, by name: of a transformer the first norm of its last block, as its own gradient reaches all
    places; otherwise the last module whose output is a map of more than one place.

    Raises AtomtuneError where there is none.
    """
    model: Any = network.model
    blocks = getattr(model, "blocks", None)
    if (
        isinstance(blocks, nn.Sequential | nn.ModuleList)
        and hasattr(blocks[-1], "norm1")
        and hasattr(model, "patch_embed")
    ):
        name = f"blocks.{len(blocks) - 1}.norm1"
        return name, model.get_submodule(name)
    last: list[str] = []

    def noted(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.dim() == 4 and min(as_map(output).shape[2:]) > 1:
                last.append(name)

        return note

    hooks = [module.register_forward_hook(noted(name)) for name, module in model.named_modules() if name]
    try:
        with torch.no_grad():
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    if not last:
        raise AtomtuneError(f"{network.name} has no layer with a map of places", "--layer names one")
    return last[-1], model.get_submodule(last[-1])


def named_layer(network: Network, name: str) -> nn.Module:
    """A layer by its name. Raises UsageError where there is none."""
    try:
        return network.model.get_submodule(name)
    except AttributeError:
        known = ", ".join(child for child, _ in network.model.named_children())
        raise UsageError(
            f"{network.name} has no layer {excerpt(name)}", f"it has {known} and those inside of them"
        ) from None


def prefix_tokens(network: Network) -> int:
    """How many of a transformer's tokens stand for no place."""
    return int(getattr(network.model, "num_prefix_tokens", 0))
