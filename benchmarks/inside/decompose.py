"""Decomposition of a UNet in memory, the coefficients for given atoms, and one layer against the textbook's solver."""

from dataclasses import replace

import torch
from torch import Tensor

from atomtune.core.decompose import absolute_penalty, decompose, encode_weight
from atomtune.core.layout import RowLayout
from atomtune.methods.atoms import chosen_layers, decompose_model
from atomtune.methods.select import weight_of
from atomtune.methods.specs import PRESETS, AtomsSpec
from atomtune.models.base_model import load_unet, resolve

from . import clock, textbook

LAYER = (320, 320, 3, 3)
"""The layer for which the paper's authors state the cost of their solver."""
PATIENCE = 120.0  # seconds
PENALTY = 0.05
"""The paper's λ of 1e-3, in standard deviations of weights as they are."""


def filters(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """A weight whose filters have a spectrum that falls off, as trained ones have; random, seeded."""
    generator = torch.Generator().manual_seed(0)
    length = shape[2] * shape[3]
    fall = torch.diag(0.8 ** torch.arange(length))
    turn = torch.linalg.qr(torch.randn(length, length, generator=generator)).Q
    return (0.02 * torch.randn(*shape[:2], length, generator=generator) @ fall @ turn).view(shape).to(device)


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print it."""
    options = clock.parser("benchmarks.inside.decompose", __doc__)
    options.add_argument("--times", type=int, default=3)
    given = options.parse_args(arguments)
    device, spec = given.device, PRESETS["c2"]
    unet = load_unet(resolve(given.model)).to(device)
    weights = {name: weight_of(layer) for name, layer in chosen_layers(unet, spec).items()}
    sparse = replace(spec, sparsity=PENALTY, tile_atoms="same")
    held: dict[str, tuple[RowLayout, Tensor]] = {}

    def everything(spec: AtomsSpec) -> None:
        # as `load_or_decompose` calls it, which reports the errors; α is given back as in a program that keeps none
        found = decompose_model(unet, spec, measure=True)
        held.update({name: (part.layout, part.atoms) for name, part in found.items()})

    whole = clock.median(lambda: everything(spec), device, given.times)
    with_penalty = clock.median(lambda: everything(sparse), device, given.times)
    encoding = clock.median(
        lambda: [encode_weight(weights[name], *held[name], PENALTY) for name in weights], device, given.times
    )
    if given.profile is not None:
        part = replace(sparse, layers="mid_block.*")
        clock.trace(lambda: everything(part), device, given.profile / "decompose.json")
    weight = filters(LAYER, device)
    ours = decompose(weight, spec.atoms, spec.tile, PENALTY)
    one = clock.median(lambda: decompose(weight, spec.atoms, spec.tile, PENALTY), device, 5)
    rows, penalty = ours.layout.to_rows(weight), absolute_penalty(weight, PENALTY)
    goal = textbook.objective(rows, ours.atoms, ours.coded(weight), penalty)
    other = textbook.solve(rows, spec.atoms, penalty, goal, PATIENCE)
    how = "at our objective" if other.reached else f"still {other.objective / goal - 1.0:.1%} above our objective"
    rows_in_all = sum(layout.count for layout, _ in held.values())
    return clock.give(
        {
            "device": str(device),
            "threads": torch.get_num_threads(),
            "rows": [
                clock.row(
                    "decompose all layers, model in memory", whole, f"{len(weights)} layers, {rows_in_all:,} rows"
                ),
                clock.row("the same with the paper's λ", with_penalty, "α in float16 for every layer"),
                clock.row("coefficients of all layers for given atoms and λ", encoding),
                clock.row("decompose one 320×320 layer of 3×3 filters with λ", one, against=["textbook"]),
                clock.row(
                    "the same by the textbook's solver", other.seconds, f"{other.turns} turns, {how}", key="textbook"
                ),
            ],
        }
    )


if __name__ == "__main__":
    raise SystemExit(main())
