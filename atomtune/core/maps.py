"""What linear layers and convolutions share: positions of the output, and columns of the input that answer for one."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .products import product

FEW = 512
"""Positions of the output up to which a convolution on the CPU is a product of columns: its own way, which brings the
weight into another order at each call, takes up to three times as long."""


class Product:
    """y = x·Wᵀ + b for x (…, c_in)."""

    mixes = True
    """Whether `columns` and its kin are defined."""

    def positions(self, x: Tensor, weight: Tensor) -> int:
        """Positions T of the output: rows, all dimensions but the last taken together."""
        return x.numel() // weight.shape[1]

    def recorded(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(…, c_in) → (…, c_out), for autograd."""
        return F.linear(x, weight, bias)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The same without gradients, in the fastest way."""
        return self.from_rows(product(self.rows(x), weight, bias), x, weight)

    def backward(
        self, out: Tensor, x: Tensor, weight: Tensor, wants_x: bool, wants_weight: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """The gradients of x and W for `out`, that of y; None where not wanted."""
        of_x = product(self.rows(out), weight.T).view(x.shape) if wants_x else None
        return of_x, self.rows(out).T @ self.rows(x) if wants_weight else None

    def columns(self, x: Tensor, _weight: Tensor) -> Tensor:
        """(T, what of x a position's output is made of)."""
        return x.reshape(-1, x.shape[-1])

    def from_columns(self, columns: Tensor, x: Tensor, _weight: Tensor) -> Tensor:
        """The adjoint of `columns`, with the shape of x."""
        return columns.view(x.shape)

    def matrix(self, weight: Tensor) -> Tensor:
        """W as it multiplies a position's column, (c_out, its length)."""
        return weight

    def rows(self, out: Tensor) -> Tensor:
        """y as (T, c_out)."""
        return out.reshape(-1, out.shape[-1])

    def from_rows(self, rows: Tensor, x: Tensor, _weight: Tensor) -> Tensor:
        """The way back from `rows`."""
        return rows.view(*x.shape[:-1], -1)


@dataclass(frozen=True)
class Convolution:
    """A 2-D convolution, its input padded with zeros: (n, c_in, h, w) → (n, c_out, h', w')."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def mixes(self) -> bool:
        """As `Product.mixes`."""
        return self.groups == 1

    def positions(self, x: Tensor, weight: Tensor) -> int:
        """Positions of the output, those of all examples together."""
        height, width = self._sides(x, weight)
        return x.shape[0] * height * width

    def recorded(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """As `Product.recorded`."""
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """As `Product.forward`."""
        if x.device.type == "cpu" and self.mixes and self.positions(x, weight) <= FEW:
            return self.from_rows(product(self.columns(x, weight), self.matrix(weight), bias), x, weight)
        return self.recorded(x, weight, bias)

    def backward(
        self, out: Tensor, x: Tensor, weight: Tensor, wants_x: bool, wants_weight: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """As `Product.backward`."""
        of_x, of_weight, _ = torch.ops.aten.convolution_backward.default(
            out,
            x,
            weight,
            None,
            self.stride,
            self.padding,
            self.dilation,
            False,
            (0, 0),
            self.groups,
            (wants_x, wants_weight, False),
        )
        return of_x, of_weight

    def columns(self, x: Tensor, weight: Tensor) -> Tensor:
        """As `Product.columns`: tap by tap, the channels of a tap together."""
        images = x.permute(0, 2, 3, 1)
        taps = weight.shape[2:]
        if self._is_product(weight):
            return images.reshape(-1, x.shape[1])
        (above, left), (down, along) = self.padding, self.stride
        padded = F.pad(images, (0, 0, left, left, above, above)).contiguous()
        of_image, of_row, of_pixel, _ = padded.stride()
        shape = (x.shape[0], *self._sides(x, weight), *taps, x.shape[1])
        steps = (of_row * down, of_pixel * along, of_row * self.dilation[0], of_pixel * self.dilation[1])
        return padded.as_strided(shape, (of_image, *steps, 1)).reshape(-1, taps.numel() * x.shape[1])

    def from_columns(self, columns: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """As `Product.from_columns`."""
        count, channels, height, width = x.shape
        taps = weight.shape[2:]
        if self._is_product(weight):
            return columns.view(count, height, width, channels).permute(0, 3, 1, 2)
        (above, left), (down, along) = self.padding, self.stride
        rows, places = self._sides(x, weight)
        parts = columns.view(count, rows, places, *taps, channels)
        padded = columns.new_zeros(count, height + 2 * above, width + 2 * left, channels)
        for i in range(taps[0]):
            for j in range(taps[1]):
                top, first = i * self.dilation[0], j * self.dilation[1]
                seen = padded[:, top : top + rows * down : down, first : first + places * along : along]
                seen += parts[:, :, :, i, j]
        inside = padded[:, above : above + height, left : left + width]
        return inside.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def matrix(self, weight: Tensor) -> Tensor:
        """As `Product.matrix`: a view where the weight is in channels_last."""
        return weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)

    def rows(self, out: Tensor) -> Tensor:
        """As `Product.rows`."""
        return out.permute(0, 2, 3, 1).reshape(-1, out.shape[1])

    def from_rows(self, rows: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """As `Product.from_rows`, in channels_last."""
        return rows.view(x.shape[0], *self._sides(x, weight), -1).permute(0, 3, 1, 2)

    def _is_product(self, weight: Tensor) -> bool:
        """Whether an output is made of a single position of the input, each in turn."""
        return weight.shape[2:].numel() == 1 and self.stride == (1, 1) and self.padding == (0, 0)

    def _sides(self, x: Tensor, weight: Tensor) -> tuple[int, int]:
        """h' and w'."""
        height, width = (
            (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for side, kernel, stride, padding, dilation in zip(
                x.shape[2:], weight.shape[2:], self.stride, self.padding, self.dilation, strict=True
            )
        )
        return height, width
