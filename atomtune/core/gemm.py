"""Linear layers and convolutions as matrix products, in the fastest way for training: few rows against large matrices.

Both are seen as positions of the output, and columns of the input that answer for one. `Linear` and `Convolution` have
the same methods, so that what is computed with them need not know which it has.
"""

from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from . import thresholds

_ONEDNN = torch.ops.mkldnn


def gemm(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x·Wᵀ + b: (T, k) and (n, k) → (T, n). No gradient passes through.

    `weight` may be the transpose of a matrix. Large products of float32 on the CPU are oneDNN's, as `torch.compile`
    calls it: for 16 to 64 rows on two cores they take half to three quarters of the time of those behind `torch.mm`,
    which pack the large matrix anew at each call, and no more time for any number of rows.
    """
    large = x.shape[0] * weight.numel() >= thresholds.ONEDNN
    if large and x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and _has_onednn():
        found: Tensor = _ONEDNN._linear_pointwise(x, weight, bias, "none", [], "")
        return found
    return F.linear(x, weight, bias)


def _has_onednn() -> bool:
    # it is not in every build, and torch.backends.mkldnn can switch it off
    backend = torch.backends.mkldnn
    return bool(backend.is_available() and backend.enabled) and hasattr(_ONEDNN, "_linear_pointwise")


class Linear:
    """y = x·Wᵀ + b for x (…, c_in)."""

    has_columns = True
    """Whether `columns` and what goes with it are defined."""

    def positions(self, x: Tensor, weight: Tensor) -> int:
        """Positions T of the output: rows, all dimensions but the last taken together."""
        return x.numel() // weight.shape[1]

    def by_autograd(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(…, c_in) → (…, c_out), recorded for autograd."""
        return F.linear(x, weight, bias)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The same without gradients, in the fastest way."""
        return self.from_rows(gemm(self.rows(x), weight, bias), x, weight)

    def backward(self, grad_y: Tensor, x: Tensor, weight: Tensor, wants_x: bool) -> tuple[Tensor | None, Tensor]:
        """grad_x, where it is wanted, and grad_weight."""
        grad_x = gemm(self.rows(grad_y), weight.T).view(x.shape) if wants_x else None
        return grad_x, self.rows(grad_y).T @ self.rows(x)

    def columns(self, x: Tensor, _weight: Tensor) -> Tensor:
        """(T, what of x a position's output is made of)."""
        return x.reshape(-1, x.shape[-1])

    def from_columns(self, columns: Tensor, x: Tensor, _weight: Tensor) -> Tensor:
        """The adjoint of `columns`, with the shape of x."""
        return columns.view(x.shape)

    def matrix(self, weight: Tensor) -> Tensor:
        """W as it multiplies a position's column, (c_out, its length)."""
        return weight

    def rows(self, y: Tensor) -> Tensor:
        """y as (T, c_out)."""
        return y.reshape(-1, y.shape[-1])

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
    def has_columns(self) -> bool:
        """As `Linear.has_columns`."""
        return self.groups == 1

    def positions(self, x: Tensor, weight: Tensor) -> int:
        """Positions of the output, those of all examples together."""
        height, width = self._sides(x, weight)
        return x.shape[0] * height * width

    def by_autograd(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """As `Linear.by_autograd`."""
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """As `Linear.forward`."""
        if x.device.type == "cpu" and self.has_columns and self.positions(x, weight) <= thresholds.COLUMNS:
            return self.from_rows(gemm(self.columns(x, weight), self.matrix(weight), bias), x, weight)
        return self.by_autograd(x, weight, bias)

    def backward(self, grad_y: Tensor, x: Tensor, weight: Tensor, wants_x: bool) -> tuple[Tensor | None, Tensor]:
        """As `Linear.backward`."""
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward.default(
            grad_y,
            x,
            weight,
            None,
            self.stride,
            self.padding,
            self.dilation,
            False,
            (0, 0),
            self.groups,
            (wants_x, True, False),
        )
        return grad_x, grad_weight

    def columns(self, x: Tensor, weight: Tensor) -> Tensor:
        """As `Linear.columns`: tap by tap, the channels of a tap together."""
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
        """As `Linear.from_columns`."""
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
        """As `Linear.matrix`: a view where the weight is in channels_last."""
        return weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)

    def rows(self, y: Tensor) -> Tensor:
        """As `Linear.rows`."""
        return y.permute(0, 2, 3, 1).reshape(-1, y.shape[1])

    def from_rows(self, rows: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """As `Linear.from_rows`, in channels_last."""
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


Operation: TypeAlias = Linear | Convolution
"""What a layer does with its weight."""
