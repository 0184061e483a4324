"""The decomposition of a base model: made once for each base and spec, found in the cache after that."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..core.decompose import Decomposition
from ..core.fingerprint import fingerprint
from ..core.rows import RowLayout
from ..errors import AtomtuneError, excerpt
from ..files.cache import cache_folder
from ..files.decomposition_file import load_decomposition, save_decomposition
from ..files.plain_json import parse_json
from ..methods.atoms import chosen_layers, decompose_model
from ..methods.atoms_spec import AtomsSpec
from ..methods.base import group_of
from .events import Events
from .models import ModelSource


@dataclass
class GroupReport:
    """What a decomposition came to, for one group of layers.

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

    def add(self, weight: Tensor, part: Decomposition) -> None:
        """Count one layer."""
        self.layers += 1
        self.rows += part.layout.count
        self.coefficients += part.coefficients.numel()
        self.zeros += round(part.zero_fraction() * part.coefficients.numel())
        energy = float(weight.detach().double().square().sum())
        self.energy += energy
        self.residual += part.relative_error(weight) ** 2 * energy


@dataclass(frozen=True)
class DecompositionReport:
    """How a decomposition was had.

    Attributes:
        path: the cache file; bytes: its size.
        found: it was there already.
        seconds: to make it, or to find and read it.
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


def obtain(
    unet: nn.Module,
    source: ModelSource,
    spec: AtomsSpec,
    *,
    base_fingerprint: str | None = None,
    events: Events | None = None,
    overwrite: bool = False,
) -> tuple[dict[str, Decomposition], DecompositionReport]:
    """The decomposition of this UNet under this spec, from the cache or made now and put there.

    A cache file that is damaged, or of another model or spec, is reported through `events.warn` and made again.
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
            events.warn(f"{problem.message}; making it again")
    events.begin("decompose", len(layers))
    by_group: dict[str, GroupReport] = {}
    total = GroupReport("total")

    def count(name: str, part: Decomposition) -> None:
        weight: Any = layers[name].weight
        for report in (by_group.setdefault(group_of(name), GroupReport(group_of(name))), total):
            report.add(weight, part)
        events.advance(name)

    decomposition = decompose_model(unet, spec, count)
    events.end()
    groups = list(by_group.values())
    stored = {"groups": [asdict(group) for group in groups], "total": asdict(total)}
    save_decomposition(path, decomposition, source.name, base_fingerprint, spec.to_dict(), stored)
    seconds = time.perf_counter() - began
    size = path.stat().st_size
    report = DecompositionReport(path, size, False, seconds, source.name, base_fingerprint, spec, groups, total)
    return decomposition, report


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
