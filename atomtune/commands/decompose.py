"""atomtune decompose: split a base model's weights into atoms and coefficients, once per model and spec."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..models.options import DecomposeOptions
from ..runtime.units import size
from .console import Console, duration, table
from .options.groups import OutputOptions

if TYPE_CHECKING:
    from ..models.decomposition import DecompositionReport, GroupReport


def decompose(console: Console, options: DecomposeOptions, place: OutputOptions) -> None:
    """Decompose a base model into filter atoms and coefficients.

    The result is kept in the cache folder ($ATOMTUNE_CACHE or ~/.cache/atomtune). train finds it there, and makes it
    where it is missing; atoms files do not need it.

    Examples:
        atomtune decompose
        atomtune decompose --model pocket --preset c1
    """
    from ..models.base_model import load_unet, pick_device, resolve
    from ..models.decomposition import load_or_decompose

    source, where = resolve(options.model), pick_device(options.device)
    console.events.phase(f"loading {source.name}")
    unet = load_unet(source)
    _, report = load_or_decompose(
        unet, source, options.spec, events=console.events, overwrite=place.overwrite, device=where
    )
    if report.found:
        console.info(f"Found in the cache, nothing to do (--overwrite makes it again): {report.path}")
    console.result(_data(report), _text(report))


def _data(report: "DecompositionReport") -> dict[str, Any]:
    from ..methods.specs import preset_name

    return {
        **_figures(report.total),
        "seconds": report.seconds,
        "path": report.path,
        "bytes": report.bytes,
        "found": report.found,
        "base": report.base,
        "base_fingerprint": report.base_fingerprint,
        "preset": preset_name(report.spec),
        "spec": asdict(report.spec),
        "groups": [{"group": group.group, **_figures(group)} for group in report.groups],
    }


def _figures(group: "GroupReport") -> dict[str, Any]:
    return {
        "layers": group.layers,
        "rows": group.rows,
        "relative_error": group.relative_error,
        "sparsity": group.sparsity,
    }


def _text(report: "DecompositionReport") -> str:
    rows = [
        [
            group.group,
            f"{group.layers:,}",
            f"{group.rows:,}",
            str(report.spec.atoms),
            f"{group.relative_error:.2%}",
            f"{group.sparsity:.1%}",
        ]
        for group in [*report.groups, report.total]
    ]
    overview = table(["group", "layers", "rows", "m", "relative error", "zeros"], rows)
    verb = "found" if report.found else "made"
    return f"{overview}\n\n{report.path}: {size(report.bytes)}, {verb} in {duration(report.seconds)}"
