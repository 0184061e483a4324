"""What managers and galleries show of a file: modelspec's keys, and those of kohya's scripts."""

import base64
import datetime
import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .. import __version__
from ..files.atoms_file import SS_NAMES
from ..models.architecture import architecture_of
from ..models.conditioning import text_encoders
from .factors import Factors, Layer
from .job import Job
from .licences import TITLES, licence_of
from .result import facts_of

_THUMBNAIL = 256  # pixels of its longer side
_V2 = "stable-diffusion-v2"
_SIZES = {torch.float64: 8, torch.int64: 8, torch.float32: 4, torch.float16: 2, torch.bfloat16: 2}


def about(job: Job) -> dict[str, str]:
    """Everything that a header says, but for hashes and images."""
    pipeline, source = job.pipeline, job.source
    architecture = architecture_of(pipeline.unet)
    prediction = "v" if is_v(pipeline) else str(pipeline.scheduler.config.prediction_type)
    concepts = list(dict.fromkeys(name for item in job.loaded for name in item.info.names))
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    form = {"checkpoint": "", "embedding": "/textual-inversion"}.get(job.options.to, "/lora")
    as_original = job.options.to == "checkpoint" or (
        job.options.to in ("lora", "diff") and len(text_encoders(pipeline)) > 1
    )
    side = resolution(pipeline)
    found = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": spec_architecture(pipeline) + form,
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models" if as_original else "diffusers",
        "modelspec.prediction_type": prediction,
        "modelspec.title": " + ".join(concepts),
        "modelspec.description": description(job),
        "modelspec.usage_hint": usage(job),
        "modelspec.trigger_phrase": ", ".join(job.triggers),
        "modelspec.date": created,
        "modelspec.resolution": f"{side}x{side}" if side else "",
        "modelspec.license": licence(job),
        "ss_base_model_version": SS_NAMES.get(architecture, architecture),
        "ss_sd_model_name": source.public_name,
        "ss_output_name": job.output.stem,
        "ss_tag_frequency": json.dumps(tag_frequency(job)),
        "created": created,
        "tool_version": __version__,
        "precision": job.options.precision,
        "to": job.options.to,
        "base_fingerprint": job.base_fingerprint,
        "atoms": json.dumps([asdict(facts_of(item)) for item in job.loaded]),
    }
    if architecture in SS_NAMES:
        found["ss_v2"] = str(architecture == _V2)
    return {key: text for key, text in found.items() if text}


def about_layers(job: Job, factors: Mapping[Layer, Factors]) -> dict[str, str]:
    """What kohya's scripts say of a network: its module, rank and alpha, and those of its k×k convolutions."""
    if job.options.to == "diff":
        return {"ss_network_module": "lycoris.kohya", "ss_network_args": json.dumps({"algo": "full"})}
    if job.options.to == "lora-diffusers":
        most = str(max(item.rank for item in factors.values()))
        return {"rank": most, "lora_adapter_metadata": json.dumps(peft_config(factors))}
    rank = str(next(iter(factors.values())).alpha)  # of all layers alike, whatever rank each has
    about = {"rank": rank, "ss_network_module": "networks.lora", "ss_network_dim": rank, "ss_network_alpha": rank}
    if any(len(item.shape) == 4 and item.shape[2] > 1 for item in factors.values()):
        about["ss_network_args"] = json.dumps({"conv_dim": rank, "conv_alpha": rank})
    return about


def peft_config(factors: Mapping[Layer, Factors]) -> dict[str, Any]:
    """What diffusers gives to PEFT, by component: without it some versions scale layers of other ranks wrongly."""
    found: dict[str, Any] = {}
    for part in dict.fromkeys(part for part, _ in factors):
        ranks = {name: item.rank for (own, name), item in factors.items() if own == part}
        ((most, _),) = Counter(ranks.values()).most_common(1)
        others = {f"^{name}": rank for name, rank in ranks.items() if rank != most}
        found |= {
            f"{part}.r": most,
            f"{part}.lora_alpha": most,
            f"{part}.rank_pattern": others,
            f"{part}.alpha_pattern": others,
            f"{part}.target_modules": list(ranks),
        }
    return found


def with_content(
    header: Mapping[str, str], tensors: Mapping[str, Tensor], preview: Image.Image | None
) -> dict[str, str]:
    """A header with the hashes of what follows it, and an image for galleries."""
    digest = content_hash(tensors)
    found = dict(header) | {"modelspec.hash_sha256": f"0x{digest}", "sshs_model_hash": digest}
    if preview is not None:
        small = preview.copy()
        small.thumbnail((_THUMBNAIL, _THUMBNAIL))
        found["modelspec.thumbnail"] = f"data:image/jpeg;base64,{_jpeg(small)}"
        found["ssmd_cover_images"] = json.dumps([_jpeg(preview)])
    return found


def _jpeg(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=90)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def spec_architecture(pipeline: Any) -> str:
    """The architecture as modelspec names it: of SD v2 there are two, one for each size."""
    architecture = architecture_of(pipeline.unet)
    return f"{_V2}-768-v" if architecture == _V2 and is_v(pipeline) else architecture + "-512" * (architecture == _V2)


def is_v(pipeline: Any) -> bool:
    """Whether a model predicts v."""
    return bool(pipeline.scheduler.config.prediction_type == "v_prediction")


def resolution(pipeline: Any) -> int | None:
    """The side in pixels of the images that a model was trained on; None where its configuration does not say it."""
    side = pipeline.unet.config.sample_size
    return side * 2 ** (len(pipeline.vae.config.block_out_channels) - 1) if isinstance(side, int) else None


def licence(job: Job) -> str:
    """As asked for, else the base model's; empty where that is not known."""
    return job.options.licence or TITLES.get(licence_of(job.source.public_name), "")


def description(job: Job) -> str:
    """A sentence on what the file is."""
    concepts = " and ".join(dict.fromkeys(name for item in job.loaded for name in item.info.names))
    methods = ", ".join(dict.fromkeys(item.info.preset or item.info.method for item in job.loaded))
    return f"The concept {concepts}, learned by atomtune ({methods}) on {job.source.public_name}."


def usage(job: Job) -> str:
    """What to write in prompts."""
    if job.options.to == "embedding":
        (item,) = job.loaded
        return f'In prompts write "{job.output.stem} {item.info.class_noun}".'
    return "In prompts write " + " and ".join(f'"{trigger}"' for trigger in job.triggers) + "."


def tag_frequency(job: Job) -> dict[str, dict[str, int]]:
    """How often each part of a caption, between commas, is in the captions of each concept."""
    found: dict[str, Counter[str]] = {}
    for item in job.loaded:
        counted = found.setdefault(" + ".join(item.info.names), Counter())
        counted.update(tag.strip() for prompt in item.info.prompts for tag in prompt.split(",") if tag.strip())
    return {name: dict(counted) for name, counted in found.items()}


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over what follows the header of a safetensors file with these tensors: wide types first, then by name.

    It is what kohya's scripts and A1111 know a file by, as it stays the same when a title is edited.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors, key=lambda name: (-_SIZES[tensors[name].dtype], name)):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
