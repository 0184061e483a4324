"""Train a classifier: the recipe, from top to bottom."""

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..api.adapter import Adapter
from ..core.fingerprint import fingerprint_of
from ..errors import AtomtuneError, UsageError
from ..files.atomic import write_text
from ..files.checkpoint import load_checkpoint
from ..files.store import read_header
from ..methods.base import LayerPlan
from ..models.base_model import pick_device, pick_precision
from ..models.options import ModelOptions
from ..report.charts import loss_curve
from ..runtime.disk_space import DiskNeed, check_disk_space
from ..runtime.malloc import keep_freed_memory
from ..runtime.out_of_memory import as_out_of_memory_error
from ..runtime.progress import Events
from ..runtime.units import counted
from ..training.accelerator import own_accelerate_state
from ..training.optimizers import advise, make_optimizer, make_schedule, require_package
from ..training.options import OPTIMIZERS
from ..training.overwrite import remove, replacement, settled, steps_taken, take_place
from ..training.record import versions
from ..training.resources import LEAST_FREE, run_bytes
from ..training.resume import run_to_resume
from ..training.run_folder import RunFolder
from ..training.run_lock import run_lock
from ..training.run_steps import run_steps
from ..training.setup import make_accelerator
from ..training.trackers import start_tracker
from .batches import Batches
from .folders import LabelledImages, check_same, digests, read_classes
from .loop import ClassifierLoop
from .network import Network, build
from .options import RANDOM, ClassifyOptions
from .resume import changed_options, found_again, places, resumed, same_run
from .transforms import training_transform
from .tuning import tune

FINAL_LOSS_STEPS = 50
TASK = "classify"
_MEMORY_HINT = "a smaller --batch-size or --image-size needs less"


@dataclass(frozen=True)
class ClassifierResult:
    """What the training of a classifier came to.

    Attributes:
        trainable_parameters: those of the head included; head_parameters: those of the head.
        images: training images; final_loss: mean loss of the last 50 steps.
        seconds: of the steps alone, over all sittings; total_seconds: of this sitting, all in.
        resumed_from: the step this sitting began after; 0 for a new run.
    """

    output: Path
    atoms_file: Path
    atoms_bytes: int
    sha256: str
    classes: list[str]
    images: int
    trainable_parameters: int
    head_parameters: int
    steps: int
    seconds: float
    total_seconds: float
    final_loss: float
    resumed_from: int


def train(
    options: ClassifyOptions,
    output: Path | str,
    *,
    resume: bool = False,
    explicit: frozenset[str] | None = None,
    overwrite: bool = False,
    events: Events | None = None,
) -> ClassifierResult:
    """Tune a network to the classes of a folder, and write what was trained to `output`/NAME.safetensors, after the
    folder.

    A run that was begun in `output` with the same options and did not end goes on. Arguments as for `training.train`.

    Raises:
        UsageError: `output` is occupied, there is nothing to resume, or options or images differ.
        AtomtuneError: no images, no network, a loss that is not finite, a file that cannot be written, a folder that
            another process trains in, no memory left.
        Interrupted: SIGINT, SIGTERM or SIGHUP came; the state is saved.
    """
    output = Path(output)
    memory = as_out_of_memory_error("training", lambda: _MEMORY_HINT)
    with run_lock(output, "classify train"), memory, own_accelerate_state(), settled(output):
        asked = changed_options(options) if explicit is None else explicit
        return _train(options, output, resume, asked, overwrite, events or Events())


def _train(
    options: ClassifyOptions, output: Path, resume: bool, explicit: frozenset[str], overwrite: bool, events: Events
) -> ClassifierResult:
    began = time.perf_counter()
    keep_freed_memory()

    # which run: a new one, or one that goes on
    home = RunFolder(output, output.absolute().name)
    folder, found = run_to_resume(output, home.path.absolute().name, resume=resume, overwrite=overwrite)
    record, is_new, is_replacement = found or {}, found is None, folder.path != home.path
    if not is_new:
        if record.get("task") != TASK:
            raise UsageError(f"the run in {output} is of atomtune train", "--output names another folder")
        stored = found_again(ClassifyOptions.from_dict(record.get("options", {})), output, record)
        options = resumed(stored, options, explicit) if resume else same_run(stored, options, output)
        taken = steps_taken(folder)
        done = "result" in record and folder.checkpoint.is_file()
        events.phase(f"the run in {folder.path} {'is finished' if done else f'goes on after step {taken}'}")
    options = replace(options, precision=pick_precision(options.precision, pick_device(options.device)))
    for name in ("optimizer", "tracker"):
        require_package(name, getattr(options, name))
    if is_new:
        for place in (home, folder):
            place.check_free(options.tracker, overwrite)

    # what it sees, and the network
    images = read_classes(options.images, events)
    events.phase(f"{counted(len(images), 'image')} of {counted(len(images.classes), 'class')}")
    material = digests(images)
    if not is_new:
        check_same(record.get("images"), material)
    accelerator = make_accelerator(
        ModelOptions(device=options.device, precision=options.precision), options.tracker, folder
    )
    if accelerator.num_processes > 1:
        raise UsageError("classify train works on one device", "start it without accelerate launch")
    network, base = _network(options, images, events)
    if not is_new and record.get("base_fingerprint") != base:
        raise AtomtuneError(
            f"the weights of {options.model} are not those that the run was begun with",
            "bring them back, or start again with --overwrite",
        )
    adapter = tune(network, options, options.seed, events)

    # the run's folder
    parameters = dict(adapter.named_parameters())
    batches = _batches(options, images, network, accelerator.device)
    by_steps = options.by_steps(options.epochs * batches.in_epoch)
    numbers = sum(parameter.numel() for parameter in parameters.values())
    kept = run_bytes(numbers, by_steps.steps // options.checkpoint_every, options.optimizer, False)
    held = sum(path.stat().st_size for path in (folder.checkpoint, folder.atoms) if path.is_file())
    check_disk_space([DiskNeed(folder.path, max(0, kept - held), "--output names another folder")], LEAST_FREE)
    if advice := advise(by_steps):
        events.warn(advice)
    if is_new:
        record = {"task": TASK, "base_fingerprint": base, "versions": versions(), "images": material}
        if is_replacement:
            remove(folder)
            home.begin(None)
            home.manifest.add_folder(folder.path)
        else:
            remove(replacement(home))
    record |= {"options": options.to_dict(), "paths": places(output, options)}
    folder.begin(options.tracker)

    # its steps
    network.model.to(accelerator.device)
    optimizer = make_optimizer(by_steps, parameters.values(), accelerator.device)
    loop = ClassifierLoop(
        accelerator,
        network.model,
        parameters,
        batches,
        optimizer,
        make_schedule(by_steps, optimizer),
        options.label_smoothing,
        options.max_grad_norm,
        options.optimizer in OPTIMIZERS,
    )
    if not is_new and folder.checkpoint.is_file():
        loop.restore(load_checkpoint(folder.checkpoint))
    started_at = loop.step
    if loop.step < by_steps.steps:
        record.pop("result", None)
    folder.write_record(record)
    folder.remove_temporaries()
    folder.log_until(loop.step)
    if options.tracker:
        start_tracker(accelerator, options.tracker, options.name, folder.path, options.flat_dict(), started_at + 1)
    write = partial(_write, adapter, options, network, images, loop)
    again = f"atomtune classify train --name {options.name} --output {output} --resume"
    stepping = _Stepping(by_steps.steps, options.checkpoint_every, options.tracker)
    try:
        run_steps(loop, stepping, folder, None, write, {}, events, continued_by=again)
    finally:
        accelerator.end_training()
    sha256 = write(folder.atoms)
    write_text(folder.loss_curve, loss_curve(loop.losses))
    last = loop.losses[-FINAL_LOSS_STEPS:]
    result = ClassifierResult(
        output=output,
        atoms_file=home.path / folder.atoms.name,
        atoms_bytes=folder.atoms.stat().st_size,
        sha256=sha256,
        classes=list(images.classes),
        images=len(images),
        trainable_parameters=loop.trained_numbers,
        head_parameters=sum(value.numel() for name, value in parameters.items() if name.startswith(f"{network.head}.")),
        steps=loop.step,
        seconds=loop.seconds,
        total_seconds=time.perf_counter() - began,
        final_loss=sum(last) / len(last),
        resumed_from=started_at,
    )
    if options.tracker:
        folder.manifest.add_tree(folder.path / options.tracker)
    shown = {key: str(value) if isinstance(value, Path) else value for key, value in vars(result).items()}
    folder.write_record({**record, "result": shown})
    if is_replacement:
        take_place(folder, RunFolder(output))
    return result


def _network(options: ClassifyOptions, images: LabelledImages, events: Events) -> tuple[Network, str]:
    """The network of a run, and the fingerprint of its own weights, without those of the head."""
    events.phase(f"loading {options.model}")
    network = build(
        options.model, len(images.classes), weights=options.weights, size=options.image_size, seed=options.seed
    )
    own = {name: value for name, value in network.model.named_parameters() if not name.startswith(f"{network.head}.")}
    return network, fingerprint_of(own)


def planned(options: ClassifyOptions, classes: int, events: Events) -> tuple[list[LayerPlan], int]:
    """What would be trained, layer by layer, and the parameters of the head. No weights are read."""
    network = build(options.model, classes, weights=RANDOM, size=options.image_size)
    adapter = tune(network, options, options.seed, events)
    head = network.model.get_submodule(network.head)
    return adapter.layers, sum(parameter.numel() for parameter in head.parameters())


def _batches(options: ClassifyOptions, images: LabelledImages, network: Network, device: torch.device) -> Batches:
    workers = options.workers if options.workers is not None else 4 if device.type == "cuda" else 0
    transform = training_transform(network, options.augment)
    return Batches(images, transform, options.batch_size, options.seed, 2 * network.size, workers)


@dataclass(frozen=True)
class _Stepping:
    """What `run_steps` needs to know of a run's options."""

    steps: int
    checkpoint_every: int
    tracker: str | None
    sample_every: int = 0


_DESCRIBED = ("augment", "epochs", "batch_size", "optimizer", "lr", "lr_scheduler", "warmup_share", "weight_decay")


def _write(
    adapter: Adapter,
    options: ClassifyOptions,
    network: Network,
    images: LabelledImages,
    loop: ClassifierLoop,
    path: Path,
) -> str:
    described: dict[str, Any] = {name: getattr(options, name) for name in (*_DESCRIBED, "label_smoothing", "seed")}
    with loop.averaged():
        adapter.save(
            path,
            concept=options.name,
            base=options.model,
            steps=loop.step,
            task=TASK,
            classes=list(images.classes),
            head=network.head,
            image_size=network.size,
            **described,
        )
    return read_header(path)["sha256"]
