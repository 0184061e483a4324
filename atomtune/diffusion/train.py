"""Teach a base model a concept: the recipe, from top to bottom."""

import os
import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from .. import __version__
from ..adapt import attach, trainable_parameters
from ..core.deltas import WeightDelta
from ..core.fingerprint import fingerprint
from ..errors import AtomtuneError, Interrupted
from ..files.atomic import write_text
from ..files.atoms_file import AtomsInfo, save_atoms
from ..files.checkpoint import load_checkpoint, save_checkpoint
from ..methods.atoms import Atoms
from .batches import Batches
from .concept import check_prompts, expand
from .curve import loss_curve
from .data import encode_latents, load_images
from .decomposition import obtain
from .events import Events
from .generate import embed
from .interrupt import GracefulStop
from .loop import Loop
from .models import ModelSource, architecture_of, load_pipeline, native_resolution, pick_device, resolve
from .objective import Objective
from .options import TrainOptions, resumed
from .preview import Preview
from .run_folder import RunFolder

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
    output: Path,
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
        UsageError: `output` is occupied, there is nothing to resume, or options differ.
        AtomtuneError: no images, no model, a loss that is not finite, a file that cannot be written.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    events = events or Events()
    began = time.perf_counter()
    folder = RunFolder(output)
    record: dict[str, Any] = {}
    if resume:
        record = folder.read_record()
        options = resumed(TrainOptions.from_dict(record.get("options", {})), options, explicit)
    source = resolve(options.model)
    options = replace(options, model=source.name, resolution=options.resolution or native_resolution(source))
    images = load_images(options.images, options.resolution or 0)
    accelerator = _accelerator(options)
    if not resume and accelerator.is_main_process:
        folder.start(overwrite)
    accelerator.wait_for_everyone()

    events.phase(f"loading {source.name}")
    pipeline = load_pipeline(source)
    caption = expand(options.prompt.replace("{}", options.concept.words), [options.concept])
    for warning in check_prompts(pipeline.tokenizer, [caption, *options.sample_prompts], [options.concept]):
        events.warn(warning)
    base = fingerprint(pipeline.unet)
    if resume and record.get("base_fingerprint") != base:
        raise AtomtuneError(f"{source.name} is not the model the run began with", "start again with --overwrite")
    if not resume:
        record = {"options": options.to_dict(), "base_fingerprint": base, "versions": _versions()}
        if accelerator.is_main_process:
            folder.write_record(record)

    deltas = _deltas(pipeline, source, options, base, accelerator, events)
    loop = _loop(pipeline, [image.image for image in images], caption, deltas, options, accelerator, events)
    preview = Preview(pipeline, options, folder, accelerator.device) if options.sample_every else None
    if resume and folder.checkpoint.is_file():
        loop.restore(load_checkpoint(folder.checkpoint))
    started_at = loop.step
    if accelerator.is_main_process:
        folder.log_until(loop.step)

    _run(loop, options, folder, preview, events)

    info = _describe(options, source, base, architecture_of(pipeline.unet), caption, loop)
    sha256 = ""
    if accelerator.is_main_process:
        sha256 = save_atoms(folder.atoms, info, Atoms().export(deltas))
        write_text(folder.loss_curve, loss_curve(loop.losses))
    accelerator.wait_for_everyone()
    result = TrainResult(
        output=output,
        atoms_file=folder.atoms,
        atoms_bytes=folder.atoms.stat().st_size,
        sha256=sha256,
        trainable_parameters=info.parameters,
        steps=loop.step,
        seconds=loop.seconds,
        total_seconds=time.perf_counter() - began,
        final_loss=sum(loop.losses[-FINAL_LOSS_STEPS:]) / len(loop.losses[-FINAL_LOSS_STEPS:]),
        resumed_from=started_at,
    )
    if accelerator.is_main_process:
        shown = {key: str(value) if isinstance(value, Path) else value for key, value in vars(result).items()}
        folder.write_record({**record, "options": options.to_dict(), "result": shown})
    return result


def _accelerator(options: TrainOptions) -> Any:
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    device = pick_device(options.device)
    mixed = {"fp32": "no"}.get(options.precision, options.precision)
    # coefficients are buffers, equal on every process by construction
    handlers = [DistributedDataParallelKwargs(broadcast_buffers=False)]
    return Accelerator(cpu=device.type == "cpu", mixed_precision=mixed, kwargs_handlers=handlers)


def _deltas(
    pipeline: Any, source: ModelSource, options: TrainOptions, base: str, accelerator: Any, events: Events
) -> dict[str, WeightDelta]:
    # the first process fills the cache, the others read it
    with accelerator.main_process_first():
        decomposition, _ = obtain(pipeline.unet, source, options.spec, base_fingerprint=base, events=events)
    deltas = Atoms().create(pipeline.unet, options.spec, decomposition)
    attach(pipeline.unet, deltas)
    return deltas


def _loop(
    pipeline: Any,
    images: list[Image.Image],
    caption: str,
    deltas: dict[str, WeightDelta],
    options: TrainOptions,
    accelerator: Any,
    events: Events,
) -> Loop:
    events.phase("encoding the pictures")
    device = accelerator.device
    if options.flip:
        images = images + [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images]
    latents = encode_latents(pipeline.vae.to(device), images)
    pipeline.text_encoder.to(device)
    embedding = embed(pipeline, [caption])
    # neither is needed at any step
    pipeline.vae.to("cpu")
    pipeline.text_encoder.to("cpu")
    objective = Objective(pipeline.scheduler)
    size = options.batch_size * accelerator.num_processes
    return Loop(
        accelerator=accelerator,
        unet=pipeline.unet.to(device),
        parameters=trainable_parameters(pipeline.unet),
        embedding=embedding,
        objective=objective,
        batches=Batches(latents, options.flip, objective.timesteps, size, options.seed),
        lr=options.lr,
        weight_decay=options.weight_decay,
    )


def _run(loop: Loop, options: TrainOptions, folder: RunFolder, preview: Preview | None, events: Events) -> None:
    pending: list[dict[str, Any]] = []
    is_main = loop.accelerator.is_main_process

    def save() -> None:
        if is_main:
            folder.append(pending)
            pending.clear()
            save_checkpoint(folder.checkpoint, loop.checkpoint())

    def after_step(loss: float) -> bool:
        pending.append({"step": loop.step, "loss": loss, "lr": options.lr, "seconds": round(loop.seconds, 3)})
        events.advance(f"loss {sum(loop.losses[-25:]) / len(loop.losses[-25:]):.4f}")
        if is_main and len(pending) >= _LOG_EVERY:
            folder.append(pending)
            pending.clear()
        if preview is not None and is_main and loop.step % options.sample_every == 0:
            preview.draw(loop.step)
        if loop.step % options.checkpoint_every == 0:
            save()
        return not stop.requested

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
    if stop.requested and loop.step < options.steps:
        raise Interrupted(
            f"stopped after step {loop.step} of {options.steps}; the state is saved in {folder.path}",
            f"continue with: atomtune train --concept {options.concept.name} --output {folder.path} --resume",
            exit_code=stop.exit_code,
        )


def _describe(
    options: TrainOptions, source: ModelSource, base: str, architecture: str, caption: str, loop: Loop
) -> AtomsInfo:
    kept = ("batch_size", "lr", "weight_decay", "seed", "resolution", "flip", "precision")
    return AtomsInfo(
        method=Atoms.name,
        preset=options.preset,
        spec=options.spec.to_dict(),
        base=source.name,
        base_fingerprint=base,
        architecture=architecture,
        concept=options.concept.name,
        class_noun=options.concept.class_noun,
        token=options.concept.token,
        prompts=[caption],
        steps=loop.step,
        parameters=sum(parameter.numel() for parameter in loop.parameters.values()),
        training={name: getattr(options, name) for name in kept},
    )


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    packages = ("torch", "diffusers", "transformers", "accelerate")
    versions = {name: version(name) for name in packages}
    threads = {"threads": str(torch.get_num_threads()), "processors": str(os.cpu_count())}
    return {"atomtune": __version__, "python": platform.python_version(), **versions, **threads}
