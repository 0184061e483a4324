"""Teach a base model a concept: the recipe, from top to bottom."""

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..core.decompose import ALGORITHM, FIRST_ALGORITHM
from ..core.fingerprint import fingerprint
from ..data.captions import captions_of
from ..data.concept import check_prompts, expand
from ..data.images import load_images
from ..errors import AtomtuneError, Interrupted, UsageError, excerpt
from ..files.atomic import write_text
from ..files.atoms_file import AtomsInfo, save_atoms
from ..files.checkpoint import load_checkpoint, save_checkpoint
from ..models.architecture import architecture_of, native_resolution
from ..models.base_model import ModelSource, load_pipeline, resolve
from ..report.charts import loss_curve
from ..runtime.malloc import keep_freed_memory
from ..runtime.progress import Events
from .accelerator import own_accelerate_state
from .loop import Loop
from .optimizers import advise, require_package
from .options import TrainOptions
from .preview import Preview
from .prior_preservation import ClassImages, class_images
from .resources import MOST_KEPT, check_disk, explained_memory
from .resume import check_material, material_of, recorded_images, resumed
from .run_folder import RunFolder
from .run_lock import run_lock
from .setup import make_accelerator, make_loop, make_tunings
from .signals import GracefulStop
from .trackers import start_tracker

FINAL_LOSS_STEPS = 50
_LOG_EVERY = 25


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    Attributes:
        final_loss: mean loss of the last 50 steps.
        seconds: of the steps alone, over all sittings; total_seconds: of this sitting, all in.
        resumed_from: the step this sitting began after; 0 for a new run.
    """

    output: Path
    atoms_file: Path
    atoms_bytes: int
    sha256: str
    trainable_parameters: int
    steps: int
    seconds: float
    total_seconds: float
    final_loss: float
    resumed_from: int


def train(
    options: TrainOptions,
    output: Path | str,
    *,
    resume: bool = False,
    explicit: frozenset[str] = frozenset(),
    overwrite: bool = False,
    events: Events | None = None,
) -> TrainResult:
    """Train the atoms of a concept and write them to `output`/atoms.safetensors.

    Args:
        options: what to do.
        output: the run's folder.
        resume: go on with the run in `output`, whose options then count; `explicit` names the fields of `options` that
            were really asked for and must agree.
        overwrite: start again where `output` holds a run.

    Raises:
        UsageError: `output` is occupied, there is nothing to resume, or options, images or captions differ.
        AtomtuneError: no images, no model, a loss that is not finite, a file that cannot be written, a folder that
            another process trains in, no memory left.
        Interrupted: SIGINT, SIGTERM or SIGHUP came; the state is saved.
    """
    output = Path(output)
    with run_lock(output), explained_memory(options, output), own_accelerate_state():
        return _train(options, output, resume, explicit, overwrite, events or Events())


def _train(
    options: TrainOptions, output: Path, resume: bool, explicit: frozenset[str], overwrite: bool, events: Events
) -> TrainResult:
    began = time.perf_counter()
    keep_freed_memory()  # before the model is loaded, so that what loading frees is used again
    folder = RunFolder(output)
    record: dict[str, Any] = {}
    stored = options
    if resume:
        record = folder.read_record()
        stored = TrainOptions.from_dict(record.get("options", {}))
        options = resumed(stored, options, explicit)
    for name in ("optimizer", "tracker"):
        require_package(name, getattr(options, name))
    if advice := advise(options):
        events.warn(advice)
    source = resolve(options.model)
    options = replace(options, model=source.name, resolution=options.resolution or native_resolution(source))
    check_disk(options, folder)
    side = options.resolution or 0
    found = load_images(options.images, side, crop=options.crop, seed=options.seed, events=events)
    captions = captions_of([image.path for image in found], options.prompt, options.concept, events)
    material = material_of(found, captions)
    if resume:
        check_material(recorded_images(record), material)
    preview_prompts = _preview_prompts(options)  # what they name wrongly is known before the model loads
    accelerator = make_accelerator(options, options.tracker, folder)
    if resume and record.get("processes", 1) != accelerator.num_processes:
        raise UsageError(
            f"the run was begun with {record.get('processes', 1)} processes, not {accelerator.num_processes}",
            "launch it as before, or start again with --overwrite",
        )
    if not (resume or overwrite):
        folder.check_free()
    accelerator.wait_for_everyone()

    events.phase(f"loading {source.name}")
    pipeline = load_pipeline(source)
    for warning in check_prompts(pipeline.tokenizer, [*captions, *preview_prompts], [options.concept]):
        events.warn(warning)
    base = fingerprint(pipeline.unet)
    if resume and record.get("base_fingerprint") != base:
        raise AtomtuneError(
            f"the base model is {source.name} with the UNet {base[:12]}, the run began with "
            f"{excerpt(stored.model)} with the UNet {excerpt(record.get('base_fingerprint'))[:12]}",
            "bring that model back, or start again with --overwrite",
        )
    if not resume:
        record = {"options": options.to_dict(), "base_fingerprint": base, "versions": _versions()}
        record |= {"processes": accelerator.num_processes, "images": material, "decomposition": ALGORITHM}
        if accelerator.is_main_process:
            # only now that the model is there: what fails before must not cost the run that is to be overwritten
            folder.clear()
            folder.write_record(record)

    prior = []
    if options.prior_preservation:
        prior = class_images(pipeline, ClassImages.of(options), base, accelerator, events)
    tunings = make_tunings(
        pipeline,
        source,
        options,
        base,
        accelerator,
        events,
        token=options.concept.token,
        seed=options.seed,
        algorithm=record.get("decomposition", FIRST_ALGORITHM),
    )
    images = [image.image for image in found]
    loop = make_loop(pipeline, tunings.parameters, images, captions, prior, options, accelerator, events)
    preview = None
    if options.sample_every:
        preview = Preview(
            pipeline,
            options,
            preview_prompts,
            options.seed,
            folder,
            accelerator.device,
            precision=options.precision,
            merged=not options.low_memory,
            encoders_learn=options.encoders_learn,
        )
    if resume and folder.checkpoint.is_file():
        loop.restore(load_checkpoint(folder.checkpoint))
    started_at = loop.step
    if accelerator.is_main_process:
        folder.sweep()
        folder.log_until(loop.step)
    if options.tracker:
        start_tracker(
            accelerator, options.tracker, options.concept.name, folder.path, options.flat_dict(), started_at + 1
        )

    def write_atoms(path: Path) -> str:
        info = _describe(options, source, base, architecture_of(pipeline.unet), captions, loop)
        with loop.averaged():
            return save_atoms(path, info, tunings.export())

    _run(loop, options, folder, preview, write_atoms, events)

    sha256 = ""
    if accelerator.is_main_process:
        sha256 = write_atoms(folder.atoms)
        write_text(folder.loss_curve, loss_curve(loop.losses))
    accelerator.wait_for_everyone()
    result = TrainResult(
        output=output,
        atoms_file=folder.atoms,
        atoms_bytes=folder.atoms.stat().st_size,
        sha256=sha256,
        trainable_parameters=trained_numbers(loop),
        steps=loop.step,
        seconds=loop.seconds,
        total_seconds=time.perf_counter() - began,
        final_loss=sum(loop.losses[-FINAL_LOSS_STEPS:]) / len(loop.losses[-FINAL_LOSS_STEPS:]),
        resumed_from=started_at,
    )
    if accelerator.is_main_process:
        shown = {key: str(value) if isinstance(value, Path) else value for key, value in vars(result).items()}
        folder.write_record({**record, "options": options.to_dict(), "result": shown})
    accelerator.end_training()
    return result


def _preview_prompts(options: TrainOptions) -> list[str]:
    prompts = (options.sample_prompts or (options.prompt,)) if options.sample_every else ()
    return [expand(prompt, [options.concept]) for prompt in prompts]


def trained_numbers(loop: Loop) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in loop.parameters.values())


def _run(
    loop: Loop,
    options: TrainOptions,
    folder: RunFolder,
    preview: Preview | None,
    write_atoms: Callable[[Path], str],
    events: Events,
) -> None:
    pending: list[dict[str, Any]] = []
    is_main = loop.accelerator.is_main_process
    keeps = trained_numbers(loop) <= MOST_KEPT

    def save() -> None:
        if is_main:
            folder.append(pending)
            pending.clear()
            save_checkpoint(folder.checkpoint, loop.checkpoint())

    def after_step(loss: float) -> bool:
        pending.append({"step": loop.step, "loss": loss, "lr": loop.lr, "seconds": round(loop.seconds, 3)})
        events.advance(f"loss {sum(loop.losses[-25:]) / len(loop.losses[-25:]):.4f}")
        if is_main and len(pending) >= _LOG_EVERY:
            folder.append(pending)
            pending.clear()
        if options.tracker:
            loop.accelerator.log({"loss": loss, "lr": loop.lr}, step=loop.step)
        if preview is not None and is_main and loop.step % options.sample_every == 0:
            with loop.averaged():
                preview.generate(loop.step)
        if loop.step % options.checkpoint_every == 0:
            if is_main and keeps:
                write_atoms(folder.kept(loop.step))  # before the checkpoint, after which nobody would make up for it
            save()
        return not loop.any_process(stop.requested)

    events.begin("train", options.steps, loop.step)
    with GracefulStop() as stop:
        try:
            loop.run(options.steps, after_step)
        finally:
            if is_main and pending:
                folder.append(pending)
                pending.clear()
        save()
    events.end()
    if loop.step < options.steps:
        loop.accelerator.end_training()
        raise Interrupted(
            f"stopped after step {loop.step} of {options.steps}; the state is saved in {folder.path}",
            f"continue with: atomtune train --concept {options.concept.name} --output {folder.path} --resume",
            exit_code=stop.exit_code,
        )


def _describe(
    options: TrainOptions, source: ModelSource, base: str, architecture: str, captions: list[str], loop: Loop
) -> AtomsInfo:
    kept = (
        *("batch_size", "grad_accum", "optimizer", "lr", "lr_scheduler", "weight_decay", "ema", "min_snr_gamma"),
        *(
            "noise_offset",
            "prior_preservation",
            "seed",
            "resolution",
            "crop",
            "flip",
            "precision",
            "train_text_encoder",
            "train_token",
        ),
    )
    return AtomsInfo(
        method=options.method,
        preset=options.preset,
        spec=options.spec.to_dict(),
        base=source.public_name,
        base_fingerprint=base,
        architecture=architecture,
        concept=options.concept.name,
        class_noun=options.concept.class_noun,
        token=options.concept.token,
        prompts=list(dict.fromkeys(captions)),
        steps=loop.step,
        parameters=trained_numbers(loop),
        training={name: getattr(options, name) for name in kept},
    )


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    packages = ("torch", "diffusers", "transformers", "accelerate")
    versions = {name: version(name) for name in packages}
    threads = {"threads": str(torch.get_num_threads()), "processors": str(os.cpu_count())}
    return {"atomtune": __version__, "python": platform.python_version(), **versions, **threads}
