"""The decomposition of a base model, computed once for each base and spec and then read from the cache."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..core.decompose import Decomposition, Fit, UncodableError, decompose_all
from ..core.fingerprint import fingerprint
from ..core.layout import RowLayout
from ..errors import AtomtuneError, excerpt
from ..files.cache import cache_folder
from ..files.decomposition_file import load_decomposition, save_decomposition
from ..files.untrusted_json import parse_json
from ..methods.atoms import chosen_layers
from ..methods.select import group_of, weight_of
from ..methods.specs import AtomsSpec
from ..runtime.progress import Events
from .base_model import ModelSource


@dataclass
class GroupReport:
    """Figures of a decomposition for one group of layers.

    Attributes:
        group: block of the UNet, or "total".
        layers, rows: how many.
        coefficients, zeros: numbers in α, and how many of them are zero.
        energy, residual: sums of squares of W and of W − αD.
    """

    group: str
    layers: int = 0
    rows: int = 0
    coefficients: int = 0
    zeros: int = 0
    energy: float = 0.0
    residual: float = 0.0

    @property
    def relative_error(self) -> float:
        """‖W − αD‖ / ‖W‖ over all weights of the group."""
        return float((self.residual / self.energy) ** 0.5) if self.energy > 0 else 0.0

    @property
    def sparsity(self) -> float:
        """Share of the coefficients that are zero."""
        return self.zeros / max(1, self.coefficients)

    def add(self, part: Decomposition, fit: Fit) -> None:
        """Count one layer."""
        self.layers += 1
        self.rows += part.layout.count
        self.coefficients += part.layout.count * len(part.atoms)
        self.zeros += fit.zeros
        self.energy += fit.energy
        self.residual += fit.residual


@dataclass(frozen=True)
class DecompositionReport:
    """Where a decomposition came from, and its figures.

    Attributes:
        path: the cache file; bytes: its size.
        found: it was in the cache.
        seconds: to compute it, or to read it.
        groups: by block of the UNet, in its order; total: all together.
    """

    path: Path
    bytes: int
    found: bool
    seconds: float
    base: str
    base_fingerprint: str
    spec: AtomsSpec
    groups: list[GroupReport]
    total: GroupReport


def load_or_decompose(
    unet: nn.Module,
    source: ModelSource,
    spec: AtomsSpec,
    *,
    base_fingerprint: str | None = None,
    events: Events | None = None,
    overwrite: bool = False,
    device: torch.device | None = None,
) -> tuple[dict[str, Decomposition], DecompositionReport]:
    """The decomposition of this UNet under this spec, from the cache or computed now and put there.

    A cache file that is damaged, or of another model or spec, is reported through `events.warn` and computed again.

    Args:
        device: where to compute it, if it is a CUDA device; otherwise where the UNet is.

    Raises AtomtuneError where a weight cannot be decomposed.
    """
    events = events or Events()
    began = time.perf_counter()
    base_fingerprint = base_fingerprint or fingerprint(unet)
    path = cache_path(unet, base_fingerprint, spec)
    layers = chosen_layers(unet, spec)
    if path.is_file() and not overwrite:
        try:
            decomposition, header = load_decomposition(path)
            groups, total = _read_report(header)
            if header["base_fingerprint"] != base_fingerprint or not _fits(decomposition, layers, spec):
                raise AtomtuneError(f"{path} is of other layers")
            seconds = time.perf_counter() - began
            report = DecompositionReport(
                path, path.stat().st_size, True, seconds, source.name, base_fingerprint, spec, groups, total
            )
            return decomposition, report
        except AtomtuneError as problem:
            events.warn(f"{problem.message}; it is computed again")
    events.begin("decompose", len(layers))
    # in the order of the model, which is not that of the work
    by_group = {group_of(name): GroupReport(group_of(name)) for name in layers}
    total = GroupReport("total")

    def count(name: str, part: Decomposition, fit: Fit) -> None:
        for report in (by_group[group_of(name)], total):
            report.add(part, fit)
        events.advance(name)

    decomposition = _decompose(layers, spec, device, count)
    events.end()
    groups = list(by_group.values())
    stored = {"groups": [asdict(group) for group in groups], "total": asdict(total)}
    save_decomposition(path, decomposition, source.name, base_fingerprint, spec.to_dict(), stored)
    seconds = time.perf_counter() - began
    size = path.stat().st_size
    report = DecompositionReport(path, size, False, seconds, source.name, base_fingerprint, spec, groups, total)
    return decomposition, report


def _decompose(
    layers: Mapping[str, nn.Module],
    spec: AtomsSpec,
    device: torch.device | None,
    on_layer: Callable[[str, Decomposition, Fit], None],
) -> dict[str, Decomposition]:
    weights = {name: weight_of(layer) for name, layer in layers.items()}
    elsewhere = device if device is not None and device.type == "cuda" else None  # MPS lacks what it takes
    try:
        return decompose_all(weights, spec.atoms, spec.tile, spec.sparsity, device=elsewhere, on_layer=on_layer)
    except UncodableError as problem:
        raise AtomtuneError(
            f"cannot decompose {problem.layer}: {problem.reason}", "the base model's file may be damaged"
        ) from None


def cache_path(unet: nn.Module, base_fingerprint: str, spec: AtomsSpec) -> Path:
    """The cache file of a base model and a spec. The dtype counts too: rounded weights have other coefficients."""
    dtype = str(next(unet.parameters()).dtype).removeprefix("torch.")
    digest = hashlib.sha256(f"{spec.decomposition_key} {dtype}".encode()).hexdigest()[:8]
    stem = f"{base_fingerprint[:16]}-m{spec.atoms}-k{spec.tile}-l{spec.sparsity:g}-{digest}"
    return cache_folder() / "decompositions" / f"{stem}.safetensors"


def _fits(decomposition: Mapping[str, Decomposition], layers: Mapping[str, nn.Module], spec: AtomsSpec) -> bool:
    def expected(layer: Any) -> tuple[Any, ...]:
        return RowLayout.of(layer.weight.shape, spec.tile), spec.atoms, float(spec.sparsity)

    held = {name: (part.layout, part.atoms.shape[0], part.sparsity) for name, part in decomposition.items()}
    return held == {name: expected(layer) for name, layer in layers.items()}


def _read_report(header: Mapping[str, str]) -> tuple[list[GroupReport], GroupReport]:
    try:
        stored = parse_json(header["report"])
        groups, total = [GroupReport(**group) for group in stored["groups"]], GroupReport(**stored["total"])
    except (LookupError, TypeError, ValueError) as problem:
        raise AtomtuneError(f"the report of a cached decomposition is damaged ({excerpt(problem)})") from None
    if not all(_is_report(report) for report in (*groups, total)):
        raise AtomtuneError("the report of a cached decomposition is damaged")
    return groups, total


def _is_report(report: GroupReport) -> bool:
    group, *figures = (getattr(report, field.name) for field in fields(report))
    return isinstance(group, str) and all(
        isinstance(figure, int | float) and not isinstance(figure, bool) and 0 <= figure < 1e100 for figure in figures
    )
