"""The parts of a training run, made from its options: accelerator and loop."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from PIL import Image

from ..core.precision import DTYPES
from ..data.captions import caption_variants
from ..data.images import TrainingImage
from ..data.masks import latent_weights
from ..errors import UsageError
from ..models.base_model import pick_device, pick_precision
from ..models.conditioning import Embeddings, Tokens, embed, text_encoders, tokenize
from ..models.options import ModelOptions
from ..runtime.progress import Events
from ..runtime.seeds import derived_seed
from .accelerator import check_launch, launch_environment
from .compile import compiled
from .data import Batches, Latents, encode_latents
from .ema import Average
from .loop import Loop
from .loss import Objective
from .material import Material
from .model import Tuned, place
from .optimizers import make_optimizer, make_schedule, own_rates
from .options import OPTIMIZERS, SpeedOptions, TrainOptions
from .preservation import encode_each, preservation_of
from .prior_preservation import ClassImage, Prior
from .run_folder import RunFolder
from .shaped_batches import AnyBatches, ShapedBatches, ShapeOrder
from .tunings import Tunings
from .validation import Validation, examples


def make_accelerator(options: ModelOptions, tracker: str | None, folder: RunFolder) -> Any:
    """accelerate's Accelerator: device, precision, processes, tracker.

    Raises AtomtuneError for a device that is not there, UsageError for a precision that it cannot train in.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    device = pick_device(options.device)
    if device.index:
        # accelerate takes the first device it sees, so anything else would be passed over in silence
        raise UsageError(
            f"train cannot be sent to {device}",
            f"CUDA_VISIBLE_DEVICES={device.index} atomtune train … shows it that one",
        )
    precision = pick_precision(options.precision, device)
    if precision == "fp16" and device.type == "cpu":
        raise UsageError("a CPU cannot train in fp16", "leave --precision out, or choose fp32 or bf16")
    # coefficients are buffers, equal on every process by construction
    handlers = [DistributedDataParallelKwargs(broadcast_buffers=False)]
    with launch_environment():
        accelerator = Accelerator(
            cpu=device.type == "cpu",
            mixed_precision={"fp32": "no"}.get(precision, precision),
            kwargs_handlers=handlers,
            log_with=tracker,
            project_dir=folder.path,
        )
    check_launch(accelerator)
    return accelerator


def make_loop(
    pipeline: Any,
    tunings: Tunings,
    material: Material,
    held_out: Material,
    class_images: Sequence[ClassImage],
    preserved: Sequence[str],
    options: TrainOptions,
    accelerator: Any,
    events: Events,
) -> Loop:
    """The loop over a pipeline that is ready for training.

    Args:
        material: the images and captions that are trained on; held_out: those that are not.
        class_images: for prior preservation; none without it.
        preserved: prompts of preservation; none without it.
    """
    events.phase("encoding the images")
    device = accelerator.device
    pipeline.vae.to(device)
    told_sizes = not options.square and hasattr(pipeline, "text_encoder_2")
    images, repeats = material.images, material.repeats
    shapes = list(dict.fromkeys(item.shape for item in images))
    by_shape = [[number for number, item in enumerate(images) if item.shape == shape] for shape in shapes]
    latents = [encode_concept(pipeline.vae, [images[n] for n in group], options, told_sizes) for group in by_shape]
    classes_by_shape = [
        [item for item in class_images if item.image.size == shape] for shape in (shapes if class_images else ())
    ]
    held_latents = [
        encode_concept(pipeline.vae, [image], replace(options, flip=False), told_sizes) for image in held_out.images
    ]
    class_latents = [encode_class(pipeline.vae, group, told_sizes) for group in classes_by_shape]
    objective = Objective(pipeline.scheduler, options.min_snr_gamma)
    parameters = tunings.parameters
    encoders = text_encoders(pipeline)
    for encoder in encoders.values():
        encoder.to(device)
    variants = [
        caption_variants(caption, options.shuffle_tags, options.keep_tags, options.seed)
        for caption in material.captions
    ]
    shown = [*chain(*variants), *([""] if options.caption_dropout else [])]
    distinct = {caption: number for number, caption in enumerate(dict.fromkeys(shown))}
    learning: list[Any] = list(encoders.values()) if options.encoders_learn else []

    def encoded(prompts: Sequence[str]) -> Embeddings | Tokens:
        return tokenize(pipeline, prompts, device) if learning else embed(pipeline, prompts)

    condition = encoded(list(distinct))
    class_condition = encoded(options.class_prompts) if class_images else None
    kept = encode_each(preserved, encoded) if preserved else None
    validation = None
    if held_out.images:
        validation = Validation(
            names=held_out.files,
            batches=[
                examples(some, options, objective.timesteps, number, file)
                for number, (some, file) in enumerate(zip(held_latents, held_out.files, strict=True))
            ],
            condition=encoded([caption.splitlines()[0] for caption in held_out.captions]),
            together=options.batch_size,
            every=options.validate_every,
            patience=options.patience if options.stop_early else None,
        )
    # not needed at any step
    for part in (pipeline.vae, *(encoder for encoder in encoders.values() if not learning)):
        part.to("cpu")
    size = options.batch_size * options.grad_accum * accelerator.num_processes
    numbers = [tuple(distinct[caption] for caption in some) for some in variants]
    groups = [
        Batches(
            some,
            options.flip,
            objective.timesteps,
            size,
            options.seed,
            options.noise_offset,
            tuple(numbers[n] for n in group),
            (distinct[""], options.caption_dropout) if options.caption_dropout else None,
            options.timesteps,
            tuple(repeats[n] for n in group),
        )
        for some, group in zip(latents, by_shape, strict=True)
    ]
    order = ShapeOrder(tuple(sum(repeats[n] for n in group) for group in by_shape), options.seed)
    batches = joined(order, groups, options.seed)
    prior = None
    if class_condition is not None:
        class_groups = [
            replace(
                group, latents=some, flip=False, captions=tuple((item.of,) for item in items), dropped=None, repeats=()
            )
            for group, some, items in zip(groups, class_latents, classes_by_shape, strict=True)
        ]
        class_batches = joined(order, class_groups, derived_seed(options.seed, "class"))
        prior = Prior(class_batches, class_condition, options.prior_weight)
    precision = pick_precision(options.precision, device)
    place(pipeline.unet, learning, options, precision, device)
    optimizer = make_optimizer(options, parameters.values(), device, own_rates(options, parameters))
    loop = Loop(
        accelerator=accelerator,
        tuned=Tuned(pipeline.unet, learning, options.resolution or 0),
        parameters=parameters,
        condition=condition,
        objective=objective,
        batches=batches,
        optimizer=optimizer,
        schedule=make_schedule(options, optimizer),
        grad_accum=options.grad_accum,
        max_grad_norm=options.max_grad_norm,
        prior=prior,
        preservation=None if kept is None else preservation_of(kept, batches, options, tunings.switched_off),
        average=Average(parameters, options.ema_decay) if options.ema else None,
        validation=validation,
        known_optimizer=options.optimizer in OPTIMIZERS,
    )
    choose_stepping(loop, options, precision, events)
    return loop


def encode_concept(vae: Any, images: Sequence[TrainingImage], options: TrainOptions, told_sizes: bool) -> Latents:
    """The latents of images of one shape, and with `--flip` those of the mirrored ones after them.

    Args:
        told_sizes: the model is told what was cut out of which size.
    """
    mirror = Image.Transpose.FLIP_LEFT_RIGHT
    mirrored = (item.image.transpose(mirror) for item in images if options.flip)
    latents = encode_latents(vae, chain((item.image for item in images), mirrored))
    if options.masked:
        height, width = latents.mean.shape[2:]
        weights = latent_weights([item.mask for item in images], height, width, options.mask_floor)
        latents = replace(latents, weights=torch.cat([weights, weights.flip(-1)]) if options.flip else weights)
    if told_sizes:
        sides = (False, True) if options.flip else (False,)
        sizes = [item.conditioning(mirrored) for mirrored in sides for item in images]
        latents = replace(latents, sizes=torch.tensor(sizes, dtype=torch.float32))
    return latents


def encode_class(vae: Any, images: Sequence[ClassImage], told_sizes: bool) -> Latents:
    """The latents of class images of one shape; `told_sizes` as for `encode_concept`."""
    latents = encode_latents(vae, (item.image for item in images))
    sizes = torch.tensor([item.conditioning for item in images], dtype=torch.float32) if told_sizes else None
    return replace(latents, sizes=sizes)


def joined(order: ShapeOrder, groups: Sequence[Batches], seed: int) -> AnyBatches:
    """The batches of all shapes; of a single one its own, with this seed."""
    return replace(groups[0], seed=seed) if len(groups) == 1 else ShapedBatches.of(order, groups, seed)


def choose_stepping(loop: Loop, options: SpeedOptions, precision: str, events: Events) -> None:
    """Have a loop take its steps compiled (`--compile`), as a CUDA graph, or one operation at a time."""
    device: torch.device = loop.accelerator.device
    if options.compile:
        events.phase("compiling the model")
        loop.compile_with(partial(compiled, kind=DTYPES[precision], warn=events.warn))
        return
    if device.type != "cuda" or not options.cuda_graph:
        return
    if reason := _why_no_cuda_graph(loop):
        events.phase(f"the steps are not recorded as a CUDA graph: {reason}")
        return
    # the update is left out where the optimiser, or the scaling of losses, reads numbers back from the GPU
    groups: list[dict[str, Any]] = loop.optimizer.param_groups
    is_capturable = all(group.get("capturable") for group in groups)
    has_scaler = getattr(loop.accelerator, "scaler", None) is not None
    loop.use_cuda_graph(record=True, record_update=is_capturable and not has_scaler, warn=events.warn)


def _why_no_cuda_graph(loop: Loop) -> str | None:
    if loop.accelerator.num_processes > 1:
        return "several processes exchange their gradients"
    return "the text encoders are trained" if loop.tuned.encoders else None
