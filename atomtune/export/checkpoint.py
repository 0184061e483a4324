"""The merged model in one file, in the layout of the original code of Stable Diffusion."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from ..core.precision import all_finite
from ..core.rounding import rounded_for
from ..errors import AtomtuneError
from ..files import store
from ..files.atoms_file import SS_NAMES
from ..models.architecture import architecture_of
from ..models.base_model import ModelSource, load_pipeline
from ..models.conditioning import text_encoders, tokenizer_of
from ..models.single_file import Family, SingleFile, load_single_file
from ..runtime.disk_space import DiskNeed, check_disk_space
from ..runtime.progress import Events
from ..sampling.apply import applied, merged_values
from ..sampling.changes import LoadedAtoms
from .change import changed_layers
from .comparison import Comparison
from .factors import Layer
from .image_difference import seen_prompts
from .job import Job, Written
from .metadata import about, is_v, with_content
from .original_layout import original_layout
from .second_moments import roots_of, second_moments

KIND = "checkpoint"


@torch.no_grad()
def merge_and_round(
    pipeline: Any,
    atoms: list[LoadedAtoms],
    dtype: torch.dtype,
    events: Events,
    roots: Mapping[Layer, Tensor] | None = None,
) -> tuple[Comparison, int]:
    """Merge atoms into a pipeline in float32, round every part of it, and tell what rounding costs of the change.

    Args:
        roots: L of layers for `rounded_for`; other weights are rounded to the nearest.

    Returns the comparison and how many weights change. Raises AtomtuneError as `merge_atoms`, and where a weight is
    beyond the type's range.
    """
    compared, count = Comparison(), 0
    for part, name, tensor, value in merged_values(pipeline, atoms, events):
        layer = name.removesuffix(".weight")
        root = (roots or {}).get((part, layer))
        rounded = value.to(dtype).float() if root is None else rounded_for(value, root, dtype)
        compared.add(f"{part}.{layer}", value - tensor, rounded - tensor, root)
        tensor.copy_(rounded)
        count += 1
    for part, module in models_of(pipeline).items():
        nn.Module.to(module, dtype)  # diffusers' own version warns
        for key, parameter in module.named_parameters():
            if not all_finite(parameter):
                raise AtomtuneError(f"{part}.{key} is not finite in {dtype}", "use --precision fp32, or a lower scale")
    return compared, count


def models_of(pipeline: Any) -> dict[str, nn.Module]:
    """The parts of a pipeline that have weights."""
    return {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}


def check_same(name: str, part: str, ours: nn.Module, theirs: nn.Module) -> None:
    """Raise AtomtuneError where a model that was read again is not the one that was written."""
    written, read = dict(ours.named_parameters()), dict(theirs.named_parameters())
    wrong = sorted(set(written) ^ set(read))
    wrong += [key for key in written if key in read and not _equal(written[key], read[key])]
    if wrong:
        raise AtomtuneError(f"{name} does not hold {part}.{wrong[0]} as it was merged", "check the disk, export again")


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.detach().float().cpu(), other.detach().float().cpu())


def write_checkpoint(job: Job) -> Written:
    """Write the merged model, and read it again as diffusers' `from_single_file` does."""
    preview = job.preview()
    if job.options.target_psnr is not None:
        job.reference()  # before the base model becomes the merged one
    roots: dict[Layer, Tensor] = {}
    if job.options.weighted and job.dtype != torch.float32:
        job.events.phase("generating with the atoms, to see what the layers are given")
        layers = changed_layers(job.pipeline, job.loaded, job.events)
        with applied(job.pipeline, job.loaded, job.events):
            roots = roots_of(second_moments(job.pipeline, layers, seen_prompts(job.captions), job.events))
    job.events.phase("merging")
    compared, count = merge_and_round(job.pipeline, list(job.loaded), job.dtype, job.events, roots)
    tensors = dict(original_layout(job.pipeline))
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    hint = "--precision fp16 needs half, --output names another place"
    check_disk_space([DiskNeed(job.output.parent, needed, hint)])
    job.events.phase(f"writing {job.output}")
    digest = store.save(job.output, KIND, tensors, with_content(about(job), tensors, preview))
    del tensors
    job.events.phase("reading it again")
    again = read_again(job.output, job.pipeline)
    for name, part in models_of(job.pipeline).items():
        check_same(str(job.output), name, part, getattr(again, name))
    reached = job.psnr_of(again.to(job.device)) if job.options.target_psnr is not None else None
    quality = compared.quality(count, reached)
    broken = None
    target = job.options.target_psnr
    if target is not None and quality.psnr is not None and quality.psnr < target:
        broken = f"its images are {quality.psnr:.1f} dB from those of the atoms, not {target:g}", "use --precision fp32"
    return Written(quality, digest, broken=broken)


def read_again(path: Path, pipeline: Any) -> Any:
    """The pipeline in a file, in float32: by its own shapes for SD v1, v2 and SDXL, else by this pipeline's configs."""
    if architecture_of(pipeline.unet) in SS_NAMES:
        return load_pipeline(ModelSource(path.name, str(path)))
    with _family_of(pipeline) as family:
        prediction = "v_prediction" if is_v(pipeline) else str(pipeline.scheduler.config.prediction_type)
        again = load_single_file(path, SingleFile(family, prediction, zero_terminal_snr=False))
    again.set_progress_bar_config(disable=True)
    for part in models_of(again).values():
        nn.Module.to(part, torch.float32).requires_grad_(False).eval()
    return again


@contextmanager
def _family_of(pipeline: Any) -> Iterator[Family]:
    """The configurations of a pipeline in a folder without weights."""
    with TemporaryDirectory(prefix="atomtune-") as temporary:
        folder = Path(temporary) / "configs"
        pipeline.save_config(folder)
        pads = {}
        for part in text_encoders(pipeline):
            tokenizer = tokenizer_of(pipeline, part)
            pads["tokenizer" + part.removeprefix("text_encoder")] = str(tokenizer.pad_token)
            getattr(pipeline, part).config.save_pretrained(folder / part)
        for part in ("unet", "vae", "scheduler"):
            getattr(pipeline, part).save_config(folder / part)
        yield Family(str(folder), pads)
