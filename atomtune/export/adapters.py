"""LoRA files, in the names of kohya's scripts and of diffusers, and files of whole changes."""

from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..errors import AtomtuneError
from ..files import store
from ..models.conditioning import text_encoders
from ..runtime.disk_space import DiskNeed, check_disk_space
from ..runtime.units import size
from ..sampling.apply import applied
from .change import TotalChange
from .comparison import Comparison
from .factors import Factors, Layer, nothing_changes
from .image_difference import seen_prompts
from .job import Job, Written, with_changes
from .lora_keys import diffusers_name, has_taps, kohya_name
from .metadata import about, about_layers, with_content
from .rank import chosen_factors
from .refine import refined
from .second_moments import roots_of, second_moments

KINDS = {"lora": "lora", "lora-diffusers": "lora", "diff": "diff"}
_ENDS = {
    "lora": ("lora_down.weight", "lora_up.weight", "alpha"),
    "lora-diffusers": ("lora_A.weight", "lora_B.weight"),
    "diff": ("diff",),
}
LARGEST_ERROR = {"fp16": 2e-3, "fp32": 1e-5}
"""What a file of whole changes may lose of them."""


def write_adapter(job: Job) -> Written:
    """Write a LoRA, or the whole changes, and check what is in the file."""
    is_lora = job.options.to != "diff"
    total = TotalChange(job.pipeline, job.loaded, "a LoRA" if is_lora else "a diff file", job.events)
    layers = total.layers()
    roots: dict[Layer, Tensor] = {}
    factors: dict[Layer, Factors] = {}
    rank = None
    if is_lora:
        if job.options.weighted:
            job.events.phase("generating with the atoms, to see what the layers are given")
            with applied(job.pipeline, job.loaded, job.events):
                seen = second_moments(job.pipeline, layers, seen_prompts(job.captions), job.events)
            roots = roots_of(seen)
        factors, rank = chosen_factors(job, total, layers, roots)
        if job.options.refine:
            factors = refined(job, factors, job.options.refine)
        tensors = _lora(job, factors)
    else:
        tensors = _diff(job, total, layers)
    written = list(factors) if is_lora else [layer for layer in layers if f"{_name(job, layer)}.diff" in tensors]
    header = with_content(about(job) | about_layers(job, factors), tensors, job.preview())
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if is_lora and needed >= (whole := _bytes_of_weights(job, layers)):
        job.events.warn(
            f"a LoRA of rank {rank} takes {size(needed)}, all of every change {size(whole)}: "
            "--to diff writes that, and loses nothing"
        )
    hint = f"{'a lower --rank' if is_lora else '--to lora'} needs less, --output names another place"
    check_disk_space([DiskNeed(job.output.parent, needed, hint)])
    job.events.phase(f"writing {job.output}")
    digest = store.save(job.output, KINDS[job.options.to], tensors, header)
    del tensors
    return _checked(job, total, layers, written, roots, digest, rank)


def _bytes_of_weights(job: Job, layers: list[Layer]) -> int:
    weights = (getattr(job.pipeline, part).get_submodule(name).weight for part, name in layers)
    return sum(weight.numel() for weight in weights) * job.dtype.itemsize


def _checked(
    job: Job,
    total: TotalChange,
    layers: list[Layer],
    written: list[Layer],
    roots: Mapping[Layer, Tensor],
    digest: str,
    rank: int | None,
) -> Written:
    """Compare what the file makes of the weights with what the atoms make of them."""
    tensors = load_file(job.output)
    known = {key: name for name in written for key in _keys(job, name)}
    if sorted(tensors) != sorted(known) or store.checksum(tensors) != digest:
        raise AtomtuneError(f"{job.output} does not hold what was written", "check the disk, and export again")

    def change(layer: Layer) -> Tensor:
        shape = getattr(job.pipeline, layer[0]).get_submodule(layer[1]).weight.shape
        return read_change(tensors, _name(job, layer), job.options.to).reshape(shape)

    compared = Comparison()
    job.events.begin("checking", len(layers))
    for layer in layers:
        own = total.of(layer[0], f"{layer[1]}.weight")
        theirs = change(layer) if layer in written else torch.zeros_like(own)
        compared.add(f"{layer[0]}.{layer[1]}", own, theirs.to(own.device), roots.get(layer))
        job.events.advance()
    job.events.end()
    reached = None
    if job.options.target_psnr is not None:
        job.reference()
        with with_changes(job.pipeline, written, change):
            reached = job.psnr_of(job.pipeline)
    quality = compared.quality(len(written), reached)
    return Written(quality, digest, rank, _broken(job, quality))


def _broken(job: Job, quality: Any) -> tuple[str, str] | None:
    target, to = job.options.target_psnr, job.options.to
    if target is not None and quality.psnr < target:
        hint = "a lower --psnr asks for less" if to == "diff" else "--to diff keeps everything; so does a higher --rank"
        return f"its images are {quality.psnr:.1f} dB from those of the atoms, not {target:g}", hint
    most = LARGEST_ERROR[job.options.precision]
    if to == "diff" and quality.relative_error > most:
        hint = "use --precision fp32" if job.options.precision == "fp16" else "use --to checkpoint"
        return f"the relative error is {quality.relative_error:.2g}, not below {most:g}", hint
    return None


def read_change(tensors: Mapping[str, Tensor], name: str, to: str) -> Tensor:
    """ΔW as programs make it of a file's tensors, float32, (c_out, …)."""
    if to == "diff":
        return tensors[f"{name}.diff"].float()
    down, up = (
        (".lora_A.weight", ".lora_B.weight") if to == "lora-diffusers" else (".lora_down.weight", ".lora_up.weight")
    )
    first, second = tensors[name + down].float(), tensors[name + up].float()
    alpha = float(tensors[f"{name}.alpha"]) if f"{name}.alpha" in tensors else len(first)
    return alpha / len(first) * (second.flatten(1) @ first.flatten(1))


def _name(job: Job, layer: Layer) -> str:
    if job.options.to == "lora-diffusers":
        return diffusers_name(*layer)
    return kohya_name(*layer, job.pipeline.unet.config, len(text_encoders(job.pipeline)) > 1)


def _keys(job: Job, layer: Layer) -> list[str]:
    return [f"{_name(job, layer)}.{end}" for end in _ENDS[job.options.to]]


def _lora(job: Job, factors: Mapping[Layer, Factors]) -> dict[str, Tensor]:
    """The tensors of a LoRA; every layer has the rank that it needs."""
    is_xl = len(text_encoders(job.pipeline)) > 1
    tensors: dict[str, Tensor] = {}
    for layer, item in factors.items():
        down, up = item.tensors(has_taps(*layer, job.pipeline, job.options.to == "lora" and not is_xl))
        values = [down, up, torch.tensor(float(item.alpha))]
        tensors |= dict(zip(_keys(job, layer), values, strict=False))
    return tensors


@torch.no_grad()
def _diff(job: Job, total: TotalChange, layers: list[Layer]) -> dict[str, Tensor]:
    """The tensors of a file of whole changes, those of layers that change."""
    tensors = {}
    for layer in layers:
        change = total.of(layer[0], f"{layer[1]}.weight").to(job.dtype).cpu()
        if bool(change.any()):
            tensors[f"{_name(job, layer)}.diff"] = change
    if not tensors:
        raise nothing_changes()
    return tensors
