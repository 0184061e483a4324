"""The table of what ranks keep."""

from pathlib import Path

from atomtune.evaluation.measure import Measures
from atomtune.export.lora import ExportResult
from benchmarks.export import Row, table


def made(error: float, size: int) -> ExportResult:
    return ExportResult(
        output=Path("a.safetensors"),
        bytes=size,
        format="diffusers",
        precision="fp16",
        rank=8,
        layers=3,
        relative_error=error,
        worst_layer="unet.conv_in",
        worst_error=2 * error,
        base="pocket",
        base_fingerprint="",
        atoms=[],
        sha256="",
        seconds=1.0,
    )


def test_figures_are_means_over_the_things() -> None:
    def scored(fidelity: float) -> Measures:
        return Measures(4, 5, fidelity=fidelity, diversity=2.0, alignment=0.5, drift=0.0)

    things = [
        [Row("base model", scored(0.2)), Row("8", scored(0.5), made(0.1, 1000))],
        [Row("base model", scored(0.4)), Row("8", scored(0.7), made(0.3, 3000))],
    ]
    *_, base, low = table(things).splitlines()
    assert base == "| base model |  |  |  | 0.300 | 2.000 | 0.500 | 0.000 |"
    assert low == "| 8 | 2.0 kB | 0.200 | 0.400 | 0.600 | 2.000 | 0.500 | 0.000 |"
