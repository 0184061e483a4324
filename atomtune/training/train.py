"""Train a concept: the recipe, from top to bottom."""

import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from ..core.decompose import FIRST_ALGORITHM
from ..data.concept import check_prompts
from ..data.image_files import find_images
from ..errors import UsageError
from ..files.atomic import write_text
from ..files.atoms_file import save_atoms
from ..files.cache import cache_folder
from ..files.checkpoint import load_checkpoint
from ..models.architecture import architecture_of, native_resolution
from ..models.base_model import ModelSource, pick_device, pick_precision, resolve
from ..report.charts import loss_curve
from ..runtime.malloc import keep_freed_memory
from ..runtime.progress import Events
from ..runtime.units import counted
from .accelerator import own_accelerate_state
from .initial import KEY as INITIAL
from .initial import begin_with, check_initial, read_initial
from .loaded_base import LoadedBase
from .material import read_material
from .optimizers import advise, require_package
from .options import TrainOptions
from .overwrite import make_room, settled, steps_taken, take_place
from .plan import in_words, plan
from .preservation import KEY as PRESERVATION_PROMPTS
from .preservation import prompts_for
from .preview import Preview, preview_prompts
from .prior_preservation import ClassImage, class_images_of
from .record import TrainResult, describe, new_record
from .resources import check_disk, explained_memory
from .resume import (
    as_recorded,
    changed_fields,
    check_base,
    check_cached,
    check_material,
    found_again,
    paths_from,
    recorded_digests,
    recorded_images,
    resumed,
    run_to_resume,
    same_run,
    tell_where_it_goes_on,
)
from .run_folder import RunFolder
from .run_lock import run_lock
from .run_steps import run_steps
from .setup import make_accelerator, make_loop
from .trackers import start_tracker
from .tunings import make_tunings
from .validation import Validation, split

FINAL_LOSS_STEPS = 50


def train(
    options: TrainOptions,
    output: Path | str,
    *,
    resume: bool = False,
    explicit: frozenset[str] | None = None,
    overwrite: bool = False,
    events: Events | None = None,
    loaded: LoadedBase | None = None,
) -> TrainResult:
    """Train the atoms of a concept and write them to `output`/NAME.safetensors, after the concept.

    A run that was begun in `output` with the same options and did not end goes on.

    Args:
        options: what to do.
        output: the run's folder.
        resume: go on with the run in `output`, whose options then count; `explicit` names the fields of `options` that
            were really asked for and must agree, but for those that may change. Without it, those that differ from
            their defaults.
        loaded: holds the base model for further trainings in this process.
        overwrite: start again where `output` holds a run, which stays until the new one is complete.

    Raises:
        UsageError: `output` is occupied, there is nothing to resume, or options, images or captions differ.
        AtomtuneError: no images, no model, a loss that is not finite, a file that cannot be written, a folder that
            another process trains in, no memory left, another decomposition than the run was begun with.
        Interrupted: SIGINT, SIGTERM or SIGHUP came; the state is saved.
    """
    output = Path(output)
    with run_lock(output), explained_memory(options, output), own_accelerate_state(), settled(output):
        asked = changed_fields(options) if explicit is None else explicit
        return _train(options, output, resume, asked, overwrite, events or Events(), loaded or LoadedBase(keep=False))


def _train(
    options: TrainOptions,
    output: Path,
    resume: bool,
    explicit: frozenset[str],
    overwrite: bool,
    events: Events,
    loaded: LoadedBase,
) -> TrainResult:
    began = time.perf_counter()
    keep_freed_memory()  # before the model is loaded, so that what loading frees is used again

    # which run: a new one, or one that goes on
    home = RunFolder(output, options.concept.name)
    folder, found = run_to_resume(output, options.concept.name, resume=resume, overwrite=overwrite)
    record, stored, taken = found or {}, options, 0
    is_new, is_replacement = found is None, folder.path != home.path
    if not is_new:
        stored, taken = TrainOptions.from_dict(record.get("options", {})), steps_taken(folder)
        moved = found_again(stored, output, record)
        if not resume:
            options = as_recorded(record, moved, options, explicit)
        options = resumed(moved, options, explicit, taken) if resume else same_run(moved, _resolved(options)[1], output)
    source, options = _resolved(options)
    options = replace(options, precision=pick_precision(options.precision, pick_device(options.device)))
    for name in ("optimizer", "tracker"):
        require_package(name, getattr(options, name))
    if is_new:
        for place in (home, folder):
            place.check_free(options.tracker, overwrite)
    layers, counts = plan(options), [len(find_images(taught.images)[0]) for taught in options.taught]
    if taken < options.steps:
        events.phase(in_words(options, source.name, layers, counts))
        if options.sample_every:
            events.phase(f"previews every {counted(options.sample_every, 'step')}: {folder.preview_sheet}")
    if advice := advise(options):
        events.warn(advice)
    if is_new and is_replacement:
        events.phase(f"the run in {output} stays until the new one is complete")
    if not is_new:
        tell_where_it_goes_on(folder, record, options, taken, events)

    initial = None
    if options.init is not None and not folder.checkpoint.is_file():
        initial = read_initial(options, record)

    # what it sees: images, captions, the base model
    material = read_material(options, source, options.resolution or 0, events)
    trained, held_out = split(material, options)
    check_disk(options, folder, layers, [trained.shapes_of(number) for number in range(len(material.taught))])
    if not is_new:
        check_material(recorded_images(record), material.entries())
    preserved = prompts_for(options, options.concepts, source.name, options.seed, None if is_new else record)
    previewed = preview_prompts(options)  # what they name wrongly is known before the model loads
    accelerator = make_accelerator(options, options.tracker, folder)
    is_main = accelerator.is_main_process
    if not is_new and record.get("processes", 1) != accelerator.num_processes:
        raise UsageError(
            f"the run was begun with {counted(record.get('processes', 1), 'process')}, not {accelerator.num_processes}",
            "launch it as before, or start again with --overwrite",
        )
    accelerator.wait_for_everyone()
    events.phase(f"loading {source.name}")
    found_base = loaded.load(source)
    pipeline, base, components = found_base.pipeline, found_base.fingerprint, found_base.components
    for warning in check_prompts(pipeline.tokenizer, [*material.texts, *previewed, *preserved], options.concepts):
        events.warn(warning)
    if initial is not None:
        check_initial(initial, pipeline, base, events)
    if is_new:
        record = new_record(base, components, accelerator.num_processes, material.entries())
        record |= {INITIAL: initial.sha256} if initial is not None else {}
    else:
        check_base(record, stored, source, base, components)
    record |= {"options": options.to_dict(), "paths": paths_from(output, options, source)}
    if preserved:
        record[PRESERVATION_PROMPTS] = preserved
    if is_main:
        if is_new:
            make_room(home, folder)
        folder.begin(options.tracker)
        if is_new:
            folder.write_record(record)

    # what is trained
    prior: list[ClassImage] = []
    digests: dict[str, str] = {}
    if options.prior_preservation:
        prior, digests = class_images_of(trained, options, pipeline, base, accelerator, events)
    tunings = make_tunings(
        pipeline,
        source,
        options,
        base,
        accelerator,
        events,
        concepts=options.concepts,
        seed=options.seed,
        algorithm=record.get("decomposition", FIRST_ALGORITHM),
        began_with=recorded_digests(record),
        decompose=loaded.decompose,
    )
    if initial is not None:
        begin_with(initial, tunings)
    cached = tunings.digests | digests
    check_cached(recorded_digests(record), cached, cache_folder())
    record["cached"] = cached
    loop = make_loop(
        pipeline,
        tunings,
        trained,
        held_out,
        prior,
        preserved,
        options,
        accelerator,
        events,
    )
    preview = None
    if options.sample_every:
        preview = Preview(
            pipeline,
            options,
            previewed,
            options.seed,
            folder,
            accelerator.device,
            events,
            precision=options.precision,
            merged=not options.low_memory,
            encoders_learn=options.encoders_learn,
        )
    if not is_new and folder.checkpoint.is_file():
        checkpoint = load_checkpoint(folder.checkpoint)
        check_cached(checkpoint.cached, cached, cache_folder())
        loop.restore(checkpoint)
    started_at = loop.step
    if is_main:
        # what was asked is there before the first step; a run that goes on has no result until it ends again
        if loop.step < options.steps:
            record.pop("result", None)
        folder.write_record(record)
        folder.remove_temporaries()
        folder.log_until(loop.step)
    if options.tracker:
        name = options.concept.name
        start_tracker(accelerator, options.tracker, name, folder.path, options.flat_dict(), started_at + 1)

    def write_atoms(path: Path, best: Validation | None = None) -> str:
        architecture, began = architecture_of(pipeline.unet), record.get(INITIAL)
        step = loop.step if best is None else best.best_step or 0
        info = describe(options, source, base, architecture, trained.texts, step, loop.trained_numbers, began)
        with loop.averaged(), best.best_in_place(loop.parameters) if best is not None else nullcontext():
            return save_atoms(path, info, tunings.export())

    again = f"atomtune train --concept {options.concept.name} --output {output} --resume"
    try:
        measured = loop.validation
        run_steps(loop, options, folder, preview, write_atoms, cached, events, continued_by=again, validation=measured)

        sha256, best = "", measured if measured is not None and measured.best else None
        if is_main:
            sha256 = write_atoms(folder.atoms, best)
            write_text(folder.loss_curve, loss_curve(loop.losses, list(measured.losses.items()) if measured else ()))
            if best is not None and best.best_step == 0:
                events.warn("the held-out loss never fell below the base model's, so that is the result: a lower --lr")
        accelerator.wait_for_everyone()
        last = loop.losses[-FINAL_LOSS_STEPS:]
        result = TrainResult(
            output=output,
            atoms_file=home.path / folder.atoms.name,
            atoms_bytes=folder.atoms.stat().st_size,
            sha256=sha256,
            trainable_parameters=loop.trained_numbers,
            steps=loop.step,
            seconds=loop.seconds,
            total_seconds=time.perf_counter() - began,
            final_loss=sum(last) / len(last),
            resumed_from=started_at,
            held_out=measured.names if measured is not None else [],
            held_out_losses=measured.losses if measured is not None else {},
            result_step=loop.step if best is None else best.best_step or 0,
            stopped_early=measured is not None and measured.is_over,
        )
        accelerator.wait_for_everyone()
    finally:
        accelerator.end_training()
    if is_main:
        if options.tracker:
            folder.manifest.add_tree(folder.path / options.tracker)
        folder.write_record({**record, "result": result.to_dict()})
        if is_replacement:
            take_place(folder, RunFolder(output))
    return result


def _resolved(options: TrainOptions) -> tuple[ModelSource, TrainOptions]:
    """The base model, and the options with its name and the resolution in them."""
    source = replace(resolve(options.model), vae=options.vae)
    return source, replace(options, model=source.name, resolution=options.resolution or native_resolution(source))
