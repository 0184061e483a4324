"""The rank of a LoRA: as asked for, or the smallest whose images are near enough to those of the atoms."""

from collections.abc import Mapping

from torch import Tensor

from ..errors import AtomtuneError
from .change import TotalChange
from .factors import Factors, Layer, factorize, rungs
from .job import Job, with_changes

_FIRST = 32
"""Factors are made for this rank first: they hold those of all lower ranks. Then for four times as much, and so on."""


def chosen_factors(
    job: Job, total: TotalChange, layers: list[Layer], roots: Mapping[Layer, Tensor]
) -> dict[Layer, Factors]:
    """The factors of every layer that changes, in the type of the file."""
    rank, target = job.options.rank, job.options.target_psnr
    if rank is not None or target is None:
        rank = rank or _highest(job, layers)
        return _cut(job, factorize(total, layers, rank, roots, job.device, job.events), rank)
    job.reference()
    ladder, made = list(rungs(_highest(job, layers))), 0
    found: dict[Layer, Factors] = {}

    def reached(rank: int) -> float:
        cut = _cut(job, found, rank)
        job.events.phase(f"generating with rank {rank}")
        with with_changes(job.pipeline, list(cut), lambda layer: cut[layer].change()):
            return job.psnr_of(job.pipeline)

    low = 0  # ladder[:low] is known to be too little
    while True:
        made = min(max(_FIRST, 4 * made), ladder[-1])
        found = factorize(total, layers, made, roots, job.device, job.events)
        high = max(i for i, rank in enumerate(ladder) if rank <= made)
        if reached(ladder[high]) >= target:
            break
        if made == ladder[-1]:
            return _cut(job, found, made)  # the caller says that it is too little
        low = high + 1
    while low < high:  # the PSNR grows with the rank, but for little
        middle = (low + high) // 2
        if reached(ladder[middle]) >= target:
            high = middle
        else:
            low = middle + 1
    return _cut(job, found, ladder[high])


def _highest(job: Job, layers: list[Layer]) -> int:
    """The largest rank that a layer can have."""
    shapes = [getattr(job.pipeline, part).get_submodule(name).weight.flatten(1).shape for part, name in layers]
    return max((min(shape) for shape in shapes), default=1)


def _cut(job: Job, factors: Mapping[Layer, Factors], rank: int) -> dict[Layer, Factors]:
    """Every layer of this rank, or of its own where that is less.

    Under kohya's names all have the same alpha: of alphas that differ diffusers loses some. Its own form says nothing
    of alpha, which then is the rank of each layer.
    """
    alpha = min(rank, max(item.rank for item in factors.values()))
    cut = {}
    for layer, item in factors.items():
        own = min(rank, item.rank)
        try:
            cut[layer] = item.cut(rank, own if job.options.to == "lora-diffusers" else alpha, job.dtype)
        except AtomtuneError as problem:
            raise AtomtuneError(f"{'.'.join(layer)}: {problem}", problem.hint) from None
    return cut


def largest_rank(factors: Mapping[Layer, Factors]) -> int | None:
    """The largest rank of all layers; None where there are none."""
    return max((item.rank for item in factors.values()), default=None)
