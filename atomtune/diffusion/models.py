"""Base models: by hub id, by diffusers folder, or `pocket`."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .. import pocket
from ..errors import AtomtuneError

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

DEFAULT_MODEL = "CompVis/stable-diffusion-v1-4"
MODEL_VARIABLE = "ATOMTUNE_MODEL"
POCKET = "pocket"

_CONFIGS = Path(__file__).parent / "configs"
_PACKAGED_CONFIGS = {DEFAULT_MODEL.lower(): _CONFIGS / "sd-v1-4"}
_ARCHITECTURES = {(320, 768): "stable-diffusion-v1", (320, 1024): "stable-diffusion-v2"}
_NO_DOWNLOAD = "--model pocket needs no download; --model also takes a diffusers folder"


@dataclass(frozen=True)
class ModelSource:
    """A base model by the name the user gave it.

    Attributes:
        name: hub id, folder as given, or "pocket".
        location: what diffusers loads from.
    """

    name: str
    location: str

    @property
    def is_local(self) -> bool:
        """True where no hub is asked."""
        return Path(self.location).is_dir()


def resolve(name: str | None = None) -> ModelSource:
    """The model to use: `name`, else the environment variable ATOMTUNE_MODEL, else SD v1.4.

    Raises AtomtuneError where a folder is named that is not there or holds no pipeline.
    """
    name = name or os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL
    if name == POCKET:
        return ModelSource(name, str(pocket.pipeline_folder()))
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "model_index.json").is_file():
            raise AtomtuneError(f"{name} is not a diffusers pipeline: it has no model_index.json", _NO_DOWNLOAD)
        return ModelSource(name, str(path))
    looks_like_path = path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1 or path.exists()
    if looks_like_path:
        raise AtomtuneError(f"there is no model folder {name}", _NO_DOWNLOAD)
    return ModelSource(name, name)


def load_pipeline(source: ModelSource, dtype: torch.dtype = torch.float32) -> "StableDiffusionPipeline":
    """Load a pipeline on the CPU, in evaluation mode, frozen, without the safety checker, from safetensors only.

    Raises AtomtuneError where the model is not there, the hub cannot be reached, or the pipeline is of another kind.
    """
    from diffusers import StableDiffusionPipeline

    with _explaining(source):
        index = StableDiffusionPipeline.load_config(source.location)
        kind = index.get("_class_name")
        if kind != "StableDiffusionPipeline":
            raise AtomtuneError(f"{source.name} is a {kind}, which is not supported", "use a StableDiffusionPipeline")
        pipeline = StableDiffusionPipeline.from_pretrained(
            source.location,
            use_safetensors=True,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.set_progress_bar_config(disable=True)
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        # not by from_pretrained, whose argument for it has two names over the versions of diffusers
        nn.Module.to(part, dtype)
        part.requires_grad_(False).eval()
    return pipeline


def unet_on_meta(source: ModelSource) -> nn.Module:
    """The model's UNet without weights: shapes only. SD v1.4's configuration comes with the package."""
    from diffusers import UNet2DConditionModel

    config = _config(source, "unet")
    with torch.device("meta"):
        unet: nn.Module = UNet2DConditionModel.from_config(config)
    return unet


def architecture_of(unet: nn.Module) -> str:
    """The architecture as modelspec names it, or the name of the UNet's class for one it has no name for."""
    config: Any = unet.config
    key = (config.block_out_channels[0], config.cross_attention_dim)
    return _ARCHITECTURES.get(key, f"{type(unet).__name__}-{key[0]}-{key[1]}")


def native_resolution(source: ModelSource) -> int:
    """The side in pixels of the pictures a model was trained on, from its configuration alone."""
    unet, vae = _config(source, "unet"), _config(source, "vae")
    size = unet["sample_size"]
    return int((size if isinstance(size, int) else size[0]) * 2 ** (len(vae["block_out_channels"]) - 1))


def pick_device(asked: str | None = None) -> torch.device:
    """The device asked for, else the first of CUDA, MPS and CPU. Raises AtomtuneError for one that is not there."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked is None:
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    if not available.get(asked.split(":")[0], False):
        there = ", ".join(kind for kind, is_there in available.items() if is_there)
        raise AtomtuneError(f"there is no device {asked!r}", f"available here: {there}")
    return torch.device(asked)


def _config(source: ModelSource, part: str) -> dict[str, Any]:
    if packaged := _PACKAGED_CONFIGS.get(source.name.lower()):
        config: dict[str, Any] = json.loads((packaged / part / "config.json").read_text(encoding="utf-8"))
        return config
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with _explaining(source):
        kind = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}[part]
        return dict(kind.load_config(source.location, subfolder=part))


class _explaining:
    """Turns what the hub and diffusers raise into one line and a hint."""

    def __init__(self, source: ModelSource) -> None:
        self.source = source

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, problem: BaseException | None, _trace: object) -> None:
        if problem is None or isinstance(problem, AtomtuneError) or not isinstance(problem, Exception):
            return
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        name = self.source.name
        reasons = _causes(problem)
        if self.source.is_local:
            raise AtomtuneError(f"cannot load the model in {name}: {_first_line(problem)}", _NO_DOWNLOAD) from problem
        if any(isinstance(reason, GatedRepoError) for reason in reasons):
            raise AtomtuneError(
                f"{name} is gated on the hub", "accept its licence there, then run: hf auth login"
            ) from problem
        if any(isinstance(reason, RepositoryNotFoundError) for reason in reasons):
            raise AtomtuneError(f"the hub has no model {name} that you may read", _NO_DOWNLOAD) from problem
        from huggingface_hub import constants

        tried = f"not in the cache {constants.HF_HUB_CACHE}, and the hub {constants.ENDPOINT} "
        if constants.HF_HUB_OFFLINE:
            tried += "was not asked (HF_HUB_OFFLINE is set)"
        else:
            tried += f"could not be reached ({_first_line(reasons[-1])})"
        raise AtomtuneError(f"cannot load {name}: {tried}", _NO_DOWNLOAD) from problem


def _causes(problem: BaseException) -> list[BaseException]:
    chain = [problem]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return chain


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0][:200]
