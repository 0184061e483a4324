"""The rank of a LoRA: as asked for, or the smallest whose images are near enough to those of the atoms."""

from collections.abc import Mapping

from torch import Tensor

from ..errors import AtomtuneError
from .change import TotalChange
from .factors import Factors, Layer, factorize, rungs
from .job import Job, with_changes

_FIRST = 32
"""Factors are made for this rank first: they hold those of all lower ranks. Then for four times as much, and so on."""

_SPREAD = 4
"""Times the rank that is asked for, at most, a layer may get where ranks are shared out."""


def chosen_factors(
    job: Job, total: TotalChange, layers: list[Layer], roots: Mapping[Layer, Tensor]
) -> tuple[dict[Layer, Factors], int]:
    """The factors of every layer that changes, in the type of the file, and the rank for which they are."""
    rank, target = job.options.rank, job.options.target_psnr
    found: dict[Layer, Factors]
    if rank is not None or target is None:
        rank = rank or _highest(job, layers)
        found = factorize(total, layers, (_SPREAD if roots else 1) * rank, roots, job.device, job.events)
        return _cut(job, found, rank), min(rank, max(item.rank for item in found.values()))
    job.reference()
    ladder, made = list(rungs(_highest(job, layers))), 0
    found = {}

    def reached(rank: int) -> float:
        cut = _cut(job, found, rank)
        job.events.phase(f"generating with rank {rank}")
        with with_changes(job.pipeline, list(cut), lambda layer: cut[layer].change()):
            return job.psnr_of(job.pipeline)

    low = 0  # ladder[:low] is known to be too little
    while True:
        made = min(max(_FIRST, 4 * made), ladder[-1])
        found = factorize(total, layers, made, roots, job.device, job.events)
        high = max(i for i, rank in enumerate(ladder) if i == 0 or _SPREAD * rank <= made or made == ladder[-1])
        if reached(ladder[high]) >= target:
            break
        if made == ladder[-1]:
            return _cut(job, found, made), made  # the caller says that it is too little
        low = high + 1
    while low < high:  # the PSNR grows with the rank, but for little
        middle = (low + high) // 2
        if reached(ladder[middle]) >= target:
            high = middle
        else:
            low = middle + 1
    return _cut(job, found, ladder[high]), ladder[high]


def _highest(job: Job, layers: list[Layer]) -> int:
    """The largest rank that a layer can have."""
    shapes = [getattr(job.pipeline, part).get_submodule(name).weight.flatten(1).shape for part, name in layers]
    return max((min(shape) for shape in shapes), default=1)


def _cut(job: Job, factors: Mapping[Layer, Factors], rank: int) -> dict[Layer, Factors]:
    """The factors of all layers for this rank: see `shared_out`.

    Under kohya's names all have the same alpha: of alphas that differ diffusers loses some. Its own form says nothing
    of alpha, which then is the rank of each layer.
    """
    alpha = min(rank, max(item.rank for item in factors.values()))
    ranks = shared_out(factors, rank)
    cut = {}
    for layer, item in factors.items():
        own = ranks[layer]
        if not own:
            continue
        try:
            cut[layer] = item.cut(own, own if job.options.to == "lora-diffusers" else alpha, job.dtype)
        except AtomtuneError as problem:
            raise AtomtuneError(f"{'.'.join(layer)}: {problem}", problem.hint) from None
    return cut


def shared_out(factors: Mapping[Layer, Factors], rank: int) -> dict[Layer, int]:
    """The rank of each layer, so that all take no more than if each had `rank`, or its own where that is less.

    Where `Factors.gains` are known, a layer of which more is lost gets more of them, up to `_SPREAD` times the rank.
    """
    same = {layer: min(rank, item.rank) for layer, item in factors.items()}
    if any(item.gains is None for item in factors.values()):
        return same
    budget = sum(own * factors[layer].cost for layer, own in same.items())
    ranks = dict.fromkeys(factors, 0)
    directions = [
        (gain, layer, place)
        for layer, item in factors.items()
        for place, gain in enumerate((item.gains if item.gains is not None else item.up[:0]).tolist()[: _SPREAD * rank])
    ]
    for _, layer, place in sorted(directions, key=lambda entry: -entry[0]):
        cost = factors[layer].cost
        if ranks[layer] == place and cost <= budget:
            ranks[layer] += 1
            budget -= cost
    return ranks
