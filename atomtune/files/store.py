"""safetensors files with a kind, a version and a checksum, read with suspicion."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import AtomtuneError
from .atomic import write_atomically

FORMAT_VERSION = 1

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

    Raises AtomtuneError where the file cannot be written.
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

    write_atomically(path, write)
    return digest


def read_header(path: Path) -> dict[str, str]:
    """The metadata of an atomtune file, whatever its kind, without reading its tensors.

    Raises AtomtuneError where it is missing, damaged, foreign or of a newer format.
    """
    if not path.is_file():
        raise AtomtuneError(f"there is no file {path}", "atomtune train writes runs/CONCEPT/atoms.safetensors")
    try:
        with safe_open(path, framework="pt") as handle:
            header = handle.metadata() or {}
    except (SafetensorError, OSError, UnicodeDecodeError) as problem:
        raise AtomtuneError(
            f"{path} is truncated or not a safetensors file ({_one_line(problem)})", "fetch or train it again"
        ) from None
    if not header.get("format", "").startswith("atomtune."):
        raise AtomtuneError(f"{path} was not written by atomtune", "LoRA and other adapter files do not load here")
    if not header.get("format_version", "").isdecimal():
        raise AtomtuneError(f"{path} names no format version", "fetch or train it again")
    if int(header["format_version"]) > FORMAT_VERSION:
        raise AtomtuneError(
            f"{path} has format version {header['format_version']}, this atomtune reads up to {FORMAT_VERSION}",
            "update atomtune",
        )
    return header


def load(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file of this kind, checked: kind, checksum, every value finite.

    Raises AtomtuneError that says which check failed.
    """
    header = read_header(path)
    if header["format"] != f"atomtune.{kind}":
        raise AtomtuneError(
            f"{path} is of kind {header['format'][9:]}, not {kind}", "atomtune inspect shows what it is"
        )
    try:
        with safe_open(path, framework="pt") as handle:
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as problem:
        raise AtomtuneError(f"{path} cannot be read ({_one_line(problem)})", "fetch or train it again") from None
    if checksum(tensors) != header.get("sha256") or _signature(header) != header.get("metadata_sha256"):
        raise AtomtuneError(f"{path} was altered or damaged: its checksum does not match", "fetch or train it again")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise AtomtuneError(f"{path} holds NaN or infinite values in {name}", "train it again with a lower --lr")
    return tensors, header


def _signature(metadata: Mapping[str, str]) -> str:
    text = "\n".join(f"{name}={metadata[name]}" for name in _DECISIVE if name in metadata)
    return hashlib.sha256(text.encode()).hexdigest()


def _one_line(problem: BaseException) -> str:
    return " ".join(str(problem).split())[:200]
