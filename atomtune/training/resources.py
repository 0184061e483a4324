"""What a run needs of disk and memory, and what to say where there is too little."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from torch import nn

from ..data.shapes import Size
from ..errors import AtomtuneError
from ..files import store
from ..files.cache import CACHE_VARIABLE, cache_folder
from ..methods.base import LayerPlan
from ..methods.specs import AtomsSpec
from ..models.decomposition import cache_path
from ..runtime.disk_space import DiskNeed, check_disk_space
from ..runtime.out_of_memory import as_out_of_memory_error, in_order, training_memory_hints
from .options import TrainOptions
from .overwrite import active
from .prior_preservation import ClassImages, shares
from .run_folder import RunFolder

LEAST_FREE = 64_000_000
"""Bytes: log, curve, sample images and a tracker's files, whose size nobody knows beforehand, and some air."""

MOST_KEPT = 20_000_000
"""Trained numbers up to which the atoms of every checkpoint are kept; those of C4 would fill a disk."""

_MOMENTS = {"prodigy": 4}  # numbers that an optimiser keeps for each parameter; two for the kinds of Adam


def check_disk(
    options: TrainOptions, folder: RunFolder, layers: Sequence[LayerPlan], shapes: Sequence[Mapping[Size, int]]
) -> None:
    """Raise AtomtuneError where the run's folder or the cache cannot be written or lacks room. Loads no weights.

    Args:
        layers: what is trained, see `plan`.
        shapes: of each concept's images, and how many have each.
    """
    held = sum(path.stat().st_size for path in (folder.checkpoint, folder.atoms) if path.is_file())
    checkpoints = options.steps // options.checkpoint_every
    needed = run_bytes(sum(layer.parameters for layer in layers), checkpoints, options.optimizer, options.ema)
    places = [DiskNeed(folder.path, max(0, needed - held), "--output names another folder")]
    missing = 0
    spec = options.spec
    # the model's fingerprint, which its weights alone can tell, is left open; they are loaded in float32
    if isinstance(spec, AtomsSpec) and not _is_there(cache_path(nn.Linear(1, 1, device="meta"), "*", spec)):
        # atoms in float16, and coefficients, which are kept where there is a penalty
        missing += sum(2 * layer.atoms * (layer.row_length + (layer.rows if spec.sparsity else 0)) for layer in layers)
    for number, (taught, counts) in enumerate(zip(options.taught, shapes, strict=True)):
        if not options.prior_preservation or taught.prior_dir is not None:
            continue
        for size, count in shares(options.prior_images, counts).items():
            if not _is_there(ClassImages.of(options, size, count, number).folder("*")):
                missing += 3 * size[0] * size[1] * count
    if missing:  # a cache that holds everything may be read-only
        places.append(DiskNeed(cache_folder(), missing, f"{CACHE_VARIABLE}=DIR names another folder"))
    check_disk_space(places, LEAST_FREE)


def run_bytes(parameters: int, checkpoints: int, optimizer: str, ema: bool) -> int:
    """Bytes that a run's files come to at most.

    Float32 state twice, since the old checkpoint stays until the new one is complete; atoms and deltas in float16, of
    the end and of every checkpoint.
    """
    state = 4 * parameters * (1 + _MOMENTS.get(optimizer, 2) + ema)
    atoms = 4 * parameters * (1 + checkpoints if parameters <= MOST_KEPT else 1)
    return 2 * state + atoms


def explained_memory(options: TrainOptions, output: Path) -> AbstractContextManager[None]:
    """Within the context, running out of memory is an AtomtuneError that says what needs less and what is kept."""
    return as_out_of_memory_error("training", lambda: memory_hint(options, output))


def memory_hint(asked: TrainOptions, output: Path) -> str:
    """What to try, and how to go on from the last checkpoint. A run that was begun counts as it was begun."""
    folder = active(output)
    try:
        options = TrainOptions.from_dict(folder.read_record()["options"])
        step = int(store.read_header(folder.checkpoint)["step"]) if folder.checkpoint.is_file() else 0
    except (AtomtuneError, LookupError, ValueError, TypeError, AttributeError):
        options, step = asked, 0
    remedies = training_memory_hints(
        options.batch_size,
        options.grad_accum,
        options.gradient_checkpointing,
        options.low_memory,
        options.precision,
        options.resolution or 0,
    )
    hint = f"{in_order(remedies)}; with other options the run starts again (--overwrite)"
    if step:
        hint += (
            f". The state after step {step} is kept: with more memory free, go on with "
            f"atomtune train --concept {options.concept.name} --output {output} --resume"
        )
    return hint


def _is_there(pattern: Path) -> bool:
    return any(pattern.parent.glob(pattern.name))
