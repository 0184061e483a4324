"""The decomposition of a base model, computed once for each base and spec and then read from the cache."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..core.decompose import ALGORITHM, FIRST_ALGORITHM, Decomposition
from ..core.fingerprint import fingerprint
from ..core.sparse_coding import sample_stride
from ..errors import AtomtuneError, excerpt
from ..files.cache import cache_folder
from ..files.decomposition_file import load_decomposition, save_decomposition
from ..files.untrusted_json import parse_json
from ..methods.atoms import chosen_layers, decompose_layer, decompose_model, dictionary_of
from ..methods.select import group_of, weight_of
from ..methods.specs import AtomsSpec
from ..runtime.progress import Events
from .base_model import ModelSource

_BUDGET = 3_000_000_000  # products, of less than a second on two cores
_CODING_STEPS = 50  # of sparse coding, more or less
_ROUNDING = 4e-3  # of atoms in float16


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

    def add(self, part: Decomposition) -> None:
        """Count one layer, whose fit was measured."""
        assert part.fit is not None
        self.layers += 1
        self.rows += part.layout.count
        self.coefficients += part.layout.count * len(part.atoms)
        self.zeros += part.fit.zeros
        self.energy += part.fit.energy
        self.residual += part.fit.residual


@dataclass(frozen=True)
class DecompositionReport:
    """Where a decomposition came from, and its figures.

    Attributes:
        path: the cache file; bytes: its size.
        found: it was in the cache.
        seconds: to compute it, or to read it.
        digest: SHA-256 of all atoms and coefficients; see `files.store.checksum`.
        groups: by block of the UNet, in its order; total: all together.
    """

    path: Path
    bytes: int
    found: bool
    seconds: float
    digest: str
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
    algorithm: int = ALGORITHM,
    digest: str | None = None,
) -> tuple[dict[str, Decomposition], DecompositionReport]:
    """The decomposition of this UNet under this spec, from the cache or computed now and put there.

    A cache file that is damaged, of another model or spec, or holds other atoms than these weights have, is reported
    through `events.warn` and computed again. What is cheap is verified: see `_check_atoms`.

    Args:
        device: where to compute it, if it is a CUDA device; otherwise where the UNet is.
        algorithm: that of a run that goes on; of an earlier one than today's the cache alone has atoms.

        digest: that of a run that goes on: the cache file with this digest is used as it is.

    Raises AtomtuneError where a weight cannot be decomposed, the cache lacks what an earlier algorithm found, or the
    decomposition has another digest than `digest`.
    """
    events = events or Events()
    began = time.perf_counter()
    base_fingerprint = base_fingerprint or fingerprint(unet)
    path = cache_path(unet, base_fingerprint, spec, algorithm)
    layers = chosen_layers(unet, spec)
    if path.is_file() and not overwrite:
        try:
            decomposition, header = load_decomposition(path)
            groups, total = _read_report(header)
            if header["base_fingerprint"] != base_fingerprint or not _fits(decomposition, layers, spec):
                raise AtomtuneError(f"{path} is of other layers")
            if digest is None and algorithm == ALGORITHM:
                _check_atoms(path, decomposition, layers, spec, header["sha256"])
            if digest is None or digest == header["sha256"]:
                facts = (time.perf_counter() - began, header["sha256"], source.name, base_fingerprint, spec)
                return decomposition, DecompositionReport(path, path.stat().st_size, True, *facts, groups, total)
        except AtomtuneError as problem:
            events.warn(f"{problem.message}; it is computed again")
    if algorithm != ALGORITHM:
        raise AtomtuneError(
            f"the run began with atoms of another version, and {path} is gone",
            "bring that file back, or start again with --overwrite",
        )
    events.begin("decompose", len(layers))
    by_group = {group_of(name): GroupReport(group_of(name)) for name in layers}
    total = GroupReport("total")

    def count(name: str, part: Decomposition) -> None:
        for report in (by_group[group_of(name)], total):
            report.add(part)
        events.advance(name)

    elsewhere = device if device is not None and device.type == "cuda" else None  # MPS has no float64
    decomposition = decompose_model(unet, spec, device=elsewhere, measure=True, on_layer=count)
    events.end()
    groups = list(by_group.values())
    stored = {"groups": [asdict(group) for group in groups], "total": asdict(total)}
    found = save_decomposition(path, decomposition, source.name, base_fingerprint, spec.to_dict(), stored)
    if digest is not None and found != digest:
        raise AtomtuneError(
            f"the run began with other atoms ({digest[:12]}) than the base model's weights give now ({found[:12]})",
            "go on where it was begun, or start again with --overwrite",
        )
    facts = (time.perf_counter() - began, found, source.name, base_fingerprint, spec)
    return decomposition, DecompositionReport(path, path.stat().st_size, False, *facts, groups, total)


def cache_path(unet: nn.Module, base_fingerprint: str, spec: AtomsSpec, algorithm: int = ALGORITHM) -> Path:
    """The cache file of a base model and a spec.

    The dtype counts too, as rounded weights have other coefficients, and so does the algorithm: another one may find
    other atoms.
    """
    dtype = str(next(unet.parameters()).dtype).removeprefix("torch.")
    key = f"{spec.decomposition_key} {dtype}" + (f" {algorithm}" if algorithm != FIRST_ALGORITHM else "")
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    stem = f"{base_fingerprint[:16]}-m{spec.atoms}-k{spec.tile}-l{spec.sparsity:g}-{digest}"
    return cache_folder() / "decompositions" / f"{stem}.safetensors"


def _check_atoms(
    path: Path,
    decomposition: Mapping[str, Decomposition],
    layers: Mapping[str, nn.Module],
    spec: AtomsSpec,
    digest: str,
) -> None:
    """Raise AtomtuneError where a cached decomposition is not that of these weights.

    Layers are decomposed again and compared, the cheapest first, for less than a second in all (every layer of a small
    model, the filters of a large one), and three others that the digest chooses. The atoms of all layers must be of
    unit norm, and orthogonal where λ is 0.
    """
    for name, part in decomposition.items():
        products = part.atoms @ part.atoms.T
        wrong = products - torch.eye(len(products)) if spec.sparsity == 0.0 else products.diagonal() - 1.0
        count = min(part.atoms.shape)  # of more atoms than a row has numbers the rest is free
        if float(wrong[:count].abs().max() if wrong.ndim == 1 else wrong[:count, :count].abs().max()) > _ROUNDING:
            raise AtomtuneError(f"{path} holds other atoms than {name} has")

    def cost(name: str) -> int:
        count, length = decomposition[name].layout.count, decomposition[name].layout.length
        learning = -(-count // sample_stride(count, length)) * length**2 + 10 * length**3
        atoms = len(decomposition[name].atoms)
        return learning + (count * length * atoms * _CODING_STEPS if spec.sparsity else 0)

    ordered, spent = sorted(layers, key=cost), 0
    chosen = [name for name in ordered if (spent := spent + cost(name)) <= _BUDGET]
    others = ordered[len(chosen) :]
    chosen += [others[int(digest[8 * i : 8 * i + 8], 16) % len(others)] for i in range(3) if others]
    for name in dict.fromkeys(chosen):
        part, weight = decomposition[name], weight_of(layers[name])
        again = decompose_layer(weight, spec)
        if not _same(part.atoms, again.atoms) or not _same(part.coefficients, again.coefficients):
            raise AtomtuneError(f"{path} holds other atoms than {name} has")


def _same(held: torch.Tensor | None, computed: torch.Tensor | None) -> bool:
    """Equal up to rounding, which is another one on another device."""
    if held is None or computed is None:
        return held is computed
    return torch.allclose(held.float(), computed.float().to(held.device), rtol=_ROUNDING, atol=_ROUNDING)


def _fits(decomposition: Mapping[str, Decomposition], layers: Mapping[str, nn.Module], spec: AtomsSpec) -> bool:
    def expected(layer: Any) -> tuple[Any, ...]:
        return *dictionary_of(layer.weight.shape, spec), float(spec.sparsity)

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
