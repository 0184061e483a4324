"""safetensors files with a kind, a format version and a checksum; everything is validated when one is read."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..core.precision import all_finite
from ..errors import AtomtuneError, excerpt
from . import untrusted_json
from .atomic import write_atomically
from .kinds import refuse_other_kinds

FORMAT_VERSION = 1

MAX_HEADER = untrusted_json.LONGEST
"""Bytes; far above what an atomtune file needs, whose header grows with the layers and the captions."""

_DTYPES = frozenset({"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"})
"""The dtypes of tensors in atomtune files. For some of the others torch lacks the test for NaN."""

_MAX_SIDES = 8

_DECISIVE = ("method", "spec", "layers")
"""Metadata that decides what the tensors mean; other metadata may be edited (titles are, by other tools)."""


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (64 hex digits) over names, dtypes, shapes and bytes of the tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # reshape first: a tensor without dimensions has no byte view
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save(path: Path, kind: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Write tensors with metadata, atomically; returns the checksum.

    Raises AtomtuneError where the file cannot be written, or its header would be longer than `load` takes.
    """
    digest = checksum(tensors)
    header = {
        "format": f"atomtune.{kind}",
        "format_version": str(FORMAT_VERSION),
        "sha256": digest,
        "metadata_sha256": _signature(metadata),
        **metadata,
    }
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

    def write(temporary: Path) -> None:
        try:
            save_file(contiguous, temporary, metadata=header)
        except SafetensorError as problem:  # how safetensors reports a full disk
            raise OSError(str(problem)) from problem
        try:
            _check_header_length(temporary)
        except ValueError as problem:
            raise AtomtuneError(f"cannot write {path}: {problem}", "fewer --layers or shorter captions") from None

    write_atomically(path, write)
    return digest


def read_header(path: Path) -> dict[str, str]:
    """The metadata of an atomtune file, whatever its kind, without reading its tensors.

    Raises AtomtuneError where it is missing, damaged, foreign or of a newer format.
    """
    refuse_other_kinds(path)
    if not path.is_file():
        raise AtomtuneError(f"there is no file {path}", "atomtune train writes runs/NAME/NAME.safetensors")
    try:
        _check_header_length(path)
        with safe_open(path, framework="pt") as handle:
            header = handle.metadata() or {}
    except (SafetensorError, OSError, ValueError) as problem:
        raise AtomtuneError(
            f"{path} is truncated or not a safetensors file ({excerpt(problem, 200)})", "fetch or train it again"
        ) from None
    if not header.get("format", "").startswith("atomtune."):
        raise AtomtuneError(f"{path} was not written by atomtune", "LoRA and other adapter files do not load here")
    version = header.get("format_version", "")
    if not (version.isascii() and version.isdecimal()):
        raise AtomtuneError(f"{path} names no format version", "fetch or train it again")
    if len(version) > 9 or int(version) > FORMAT_VERSION:
        raise AtomtuneError(
            f"{path} has format version {excerpt(version, 12)}, this atomtune reads up to {FORMAT_VERSION}",
            "update atomtune",
        )
    return header


def load(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file of this kind, checked: kind, types and shapes, checksum, every value finite.

    Needs memory of the order of the file's size. Raises AtomtuneError that says which check failed.
    """
    header = read_header(path)
    if header["format"] != f"atomtune.{kind}":
        raise AtomtuneError(
            f"{path} is of kind {excerpt(header['format'][9:])}, not {kind}", "atomtune inspect shows what it is"
        )
    try:
        with safe_open(path, framework="pt") as handle:
            names, size = list(handle.keys()), path.stat().st_size
            for name in names:
                _check_tensor(name, handle.get_slice(name), size)
            tensors = {name: handle.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as problem:
        raise AtomtuneError(f"{path} cannot be read ({excerpt(problem, 200)})", "fetch or train it again") from None
    if checksum(tensors) != header.get("sha256") or _signature(header) != header.get("metadata_sha256"):
        raise AtomtuneError(f"{path} was altered or damaged: its checksum does not match", "fetch or train it again")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not all_finite(tensor):
            raise AtomtuneError(
                f"{path} holds NaN or infinite values in {excerpt(name)}", "train it again with a lower --lr"
            )
    return tensors, header


def _check_header_length(path: Path) -> None:
    """Raise ValueError where the header is too long to be parsed in little memory, or the file says it is."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
    if length > MAX_HEADER:
        raise ValueError(f"its header of {length:,} bytes is over {MAX_HEADER:,}")


def _check_tensor(name: str, part: Any, size: int) -> None:
    """Raise ValueError for a tensor that torch cannot hold or check; `size` is the file's, in bytes."""
    shape, dtype = part.get_shape(), part.get_dtype()
    if dtype not in _DTYPES:
        raise ValueError(f"{excerpt(name)} is of the type {excerpt(dtype)}")
    # the format bounds the product of the sides, but not the other sides of a tensor without numbers
    if len(shape) > _MAX_SIDES or math.prod(max(1, side) for side in shape) > size:
        raise ValueError(f"{excerpt(name)} has an impossible shape")


def _signature(metadata: Mapping[str, str]) -> str:
    text = "\n".join(f"{name}={metadata[name]}" for name in _DECISIVE if name in metadata)
    return hashlib.sha256(text.encode()).hexdigest()
