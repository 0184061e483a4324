"""OFT's layer for k×k convolutions. Apart, as it needs peft to be imported."""

from peft.tuners.oft.layer import Conv2d
from torch import Tensor, nn

from .oft import blocks, rotated


class RotatedConv2d(Conv2d):
    """peft's layer, but for the forward pass: one convolution with the rotated weight."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, c_in, h, w) → (n, c_out, h', w')."""
        base = self.get_base_layer()
        assert isinstance(base, nn.Conv2d)
        if self.disable_adapters:
            return base._conv_forward(x, base.weight, base.bias)
        weight = rotated(base.weight.float(), blocks(self)).to(base.weight.dtype)
        return base._conv_forward(x, weight, base.bias)
