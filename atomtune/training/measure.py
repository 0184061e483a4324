"""The time and the memory of a training step, by taking some of a run's own steps on images of noise."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from ..data.concept import expand
from ..data.images import Cut, TrainingImage, pixel_digest
from ..data.likeness import fingerprint
from ..models.base_model import ModelSource
from ..runtime.malloc import keep_freed_memory
from ..runtime.peak_memory import gpu_peak, peak_memory
from ..runtime.progress import Events
from .accelerator import own_accelerate_state
from .cuda_graph import WARM_UP
from .loaded_base import LoadedBase
from .material import Material
from .optimizers import require_package
from .options import TrainOptions
from .preservation import prompts_for
from .prior_preservation import ClassImage
from .resources import explained_memory
from .run_folder import RunFolder
from .setup import make_accelerator, make_loop
from .tunings import make_tunings

_MEASURED = 4  # steps of each kind


def measured_step(options: TrainOptions, source: ModelSource, events: Events) -> tuple[float, int | None]:
    """Seconds of a step, the mean over some, and the most memory in bytes: on a GPU that of its tensors.

    The model is loaded and decomposed as for the run; the decomposition stays in the cache. Nothing else is kept.

    Args:
        options: with model, resolution and precision resolved.

    Raises AtomtuneError where the model cannot be loaded or memory runs out, and otherwise as `train`.
    """
    keep_freed_memory()
    require_package("optimizer", options.optimizer)
    every = options.preserve_every
    options = replace(options, masked=False, tracker=None, preserve_every=min(2, every))
    with TemporaryDirectory() as empty, explained_memory(options, Path(empty)), own_accelerate_state():
        seconds = _seconds_of_steps(options, source, RunFolder(Path(empty), options.concept.name), events)
    if not options.preserve or every == 1:
        return sum(seconds) / len(seconds), _most_memory()
    # with the extra rows, and without them
    due, others = seconds[::2], seconds[1::2]
    mean = sum(due) / len(due) / every + sum(others) / len(others) * (1 - 1 / every)
    return mean, _most_memory()


def _most_memory() -> int | None:
    return gpu_peak() or peak_memory()


def _seconds_of_steps(options: TrainOptions, source: ModelSource, folder: RunFolder, events: Events) -> list[float]:
    """Of an even number of steps after those that warm up."""
    accelerator = make_accelerator(options, None, folder)
    events.phase(f"loading {source.name}")
    base = LoadedBase(keep=False).load(source)
    concepts, side = options.concepts, options.resolution or 0
    tunings = make_tunings(
        base.pipeline, source, options, base.fingerprint, accelerator, events, concepts=concepts, seed=options.seed
    )
    noise = Image.effect_noise((side, side), 64).convert("RGB")
    looks, digest = fingerprint(noise), pixel_digest(noise)
    image = TrainingImage(Path("noise.png"), noise.size, noise.size, digest, looks, side, kept=Cut(noise, None))
    class_images = [ClassImage(noise, image.conditioning())] if options.prior_preservation else []
    preserved = prompts_for(options, concepts, source.name, options.seed, None)
    caption = expand(options.prompt, concepts, own=options.concept)
    seen = Material(options.taught, [image], [caption], [0])
    loop = make_loop(
        base.pipeline, tunings, seen, seen.chosen([]), class_images, preserved, options, accelerator, events
    )
    # a CUDA graph is recorded after some steps of each kind
    warm = 2 * (WARM_UP + 1) if accelerator.device.type == "cuda" else 2
    ends: list[float] = []

    def after_step(_loss: float) -> bool:
        ends.append(loop.seconds)
        return True

    events.phase("taking some steps")
    loop.run(warm + 2 * _MEASURED if options.preserve else warm + _MEASURED, after_step)
    accelerator.end_training()
    return [end - begin for begin, end in zip(ends[warm - 1 :], ends[warm:], strict=False)]
