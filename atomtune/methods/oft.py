"""OFT: rotate the weights (Qiu et al. 2023, arXiv 2306.07280), and COFT, which bounds the rotation.

The rotation is block-diagonal over a layer's inputs. Blocks are made by the exact Cayley transform, so that they are
rotations also far from the start.
"""

from typing import Any

import torch
from torch import Tensor, nn

from .injected import PeftMethod
from .select import weight_of
from .specs import COFTSpec, OFTSpec, Spec

_ADAPTER = "default"


class OFTMethod(PeftMethod):
    """The method."""

    name = "oft"
    title = "a rotation of the inputs"
    spec: type[Spec] = OFTSpec
    takes_groups = False

    def config(self, spec: OFTSpec) -> Any:
        """See `PeftMethod.config`."""
        from peft import OFTConfig

        return OFTConfig(r=0, oft_block_size=spec.block_size, use_cayley_neumann=False)

    def prepare(self, layer: Any) -> None:
        """Have a k×k convolution rotate its weight.

        peft's own forward rotates the patches of the input and adds them up again where they overlap, which is neither
        the base model at the start nor what its merge gives (seen with peft 0.21).
        """
        from peft.tuners.oft.layer import Conv2d

        from .oft_conv import RotatedConv2d

        if isinstance(layer, Conv2d) and layer.get_base_layer().kernel_size != (1, 1):
            layer.__class__ = RotatedConv2d

    def change(self, layer: Any) -> Tensor:
        """See `PeftMethod.change`: R applied to W, less W, without the full matrix of R."""
        base: nn.Module = layer.get_base_layer()
        weight = weight_of(base).float()
        return rotated(weight, blocks(layer)) - weight


class COFTMethod(OFTMethod):
    """The method."""

    name = "coft"
    title = "a bounded rotation of the inputs"
    spec: type[Spec] = COFTSpec

    def config(self, spec: OFTSpec) -> Any:
        """See `PeftMethod.config`."""
        assert isinstance(spec, COFTSpec)
        config = super().config(spec)
        config.coft, config.eps = True, spec.eps
        return config


def blocks(layer: Any) -> Tensor:
    """The blocks of R, (number, b, b), of an injected layer: peft's own module, applied to unit vectors."""
    rotation = layer.oft_R[_ADAPTER]
    side, count = rotation.block_size, rotation.in_features // rotation.block_size
    units = torch.eye(side, device=rotation.weight.device).repeat(1, count)
    turned: Tensor = rotation(units)
    return turned.view(side, count, side).transpose(0, 1)


def rotated(weight: Tensor, turns: Tensor) -> Tensor:
    """W·Rᵀ for the blocks of R; the sides of W after the first are taken together."""
    count, side, _ = turns.shape
    parts = weight.reshape(weight.shape[0], count, side)
    return torch.einsum("rkc,orc->ork", turns, parts).reshape(weight.shape)


OFT = OFTMethod()
COFT = COFTMethod()
