"""Base models: by hub id, by diffusers folder, by single-file checkpoint, or `pocket`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn

from .. import pocket
from ..errors import AtomtuneError, excerpt
from .hub_errors import NO_DOWNLOAD, PICKLES, as_load_error, only_pickles, refuse_pickles
from .single_file import HUB, Family, SingleFile, inspect_file

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    Pipeline: TypeAlias = StableDiffusionPipeline | StableDiffusionXLPipeline

DEFAULT_MODEL = "CompVis/stable-diffusion-v1-4"
MODEL_VARIABLE = "ATOMTUNE_MODEL"
POCKET = "pocket"

_ARCHITECTURES = {
    (320, 768): "stable-diffusion-v1",
    (320, 1024): "stable-diffusion-v2",
    (320, 2048): "stable-diffusion-xl-v1-base",
}
# no safety checker; no watermark, which would be there or not with a package of another's
_PIPELINES: dict[str, dict[str, Any]] = {
    "StableDiffusionPipeline": {
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    },
    "StableDiffusionXLPipeline": {"feature_extractor": None, "image_encoder": None, "add_watermarker": False},
}


@dataclass(frozen=True)
class ModelSource:
    """A base model by the name the user gave it.

    Attributes:
        name: hub id, folder or file as given, or "pocket".
        location: what diffusers loads from.
    """

    name: str
    location: str

    @property
    def is_local(self) -> bool:
        """True where no hub is asked."""
        return Path(self.location).exists()

    @property
    def is_file(self) -> bool:
        """True for a single-file checkpoint."""
        return Path(self.location).is_file()


def resolve(name: str | None = None) -> ModelSource:
    """The model to use: `name`, else the environment variable ATOMTUNE_MODEL, else SD v1.4.

    Raises AtomtuneError where a folder or file is named that is not there or holds no pipeline.
    """
    name = name or os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL
    if name == POCKET:
        return ModelSource(name, str(pocket.pipeline_folder()))
    path = _path(name)
    if path.is_dir():
        if not (path / "model_index.json").is_file():
            raise AtomtuneError(f"{name} is not a diffusers pipeline: it has no model_index.json", NO_DOWNLOAD)
        return ModelSource(name, str(path))
    if path.suffix in PICKLES:
        raise only_pickles(name, path.suffix)
    if path.is_file():
        if path.suffix != ".safetensors":
            raise AtomtuneError(f"{name} is neither a folder nor a .safetensors file", NO_DOWNLOAD)
        return ModelSource(name, str(path))
    looks_like_path = path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1 or path.exists()
    if looks_like_path or path.suffix == ".safetensors":
        kind = "file" if path.suffix == ".safetensors" else "folder"
        raise AtomtuneError(f"there is no model {kind} {name}", NO_DOWNLOAD)
    return ModelSource(name, name)


def _path(name: str) -> Path:
    try:
        path = Path(name).expanduser()
        path.is_dir()
    except (OSError, RuntimeError, ValueError) as problem:  # too long for a path, or the home of nobody
        raise AtomtuneError(f"there is no model {excerpt(name)} ({excerpt(problem)})", NO_DOWNLOAD) from None
    return path


def load_pipeline(source: ModelSource, dtype: torch.dtype = torch.float32) -> "Pipeline":
    """Load a pipeline on the CPU, in evaluation mode, frozen, without the safety checker, from safetensors only.

    Raises AtomtuneError where the model is not there, the hub cannot be reached, the pipeline is of another kind, or
    its weights are pickles.
    """
    with as_load_error(source.name, source.is_local):
        if source.is_file:
            path = Path(source.location)
            pipeline = load_single_file(path, inspect_file(path))
        else:
            pipeline = _load_folder(source)
    pipeline.set_progress_bar_config(disable=True)
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            _settle(part, dtype)
    return pipeline


def load_unet(source: ModelSource) -> nn.Module:
    """Load the UNet of a model alone, in float32, otherwise as `load_pipeline` does.

    Raises AtomtuneError as that.
    """
    from diffusers import UNet2DConditionModel

    unet: nn.Module
    with as_load_error(source.name, source.is_local):
        if source.is_file:
            path = Path(source.location)
            # the file holds all parts, and which keys are the UNet's is best known to the pipeline's loader
            unet = load_single_file(path, inspect_file(path)).unet
        else:
            _, variant = _kind_and_variant(source)
            unet = UNet2DConditionModel.from_pretrained(
                source.location, subfolder="unet", use_safetensors=True, variant=variant
            )
    _settle(unet, torch.float32)
    return unet


def _settle(part: nn.Module, dtype: torch.dtype) -> None:
    # not by from_pretrained, whose argument for it has two names over the versions of diffusers
    nn.Module.to(part, dtype)
    part.requires_grad_(False).eval()


def _load_folder(source: ModelSource) -> Any:
    import diffusers

    kind, variant = _kind_and_variant(source)
    return getattr(diffusers, kind).from_pretrained(
        source.location, use_safetensors=True, variant=variant, **_PIPELINES[kind]
    )


def _kind_and_variant(source: ModelSource) -> tuple[str, str | None]:
    """The class of a pipeline, and which variant of its files to load. Raises AtomtuneError where it is unsupported."""
    import diffusers

    kind = diffusers.DiffusionPipeline.load_config(source.location).get("_class_name")
    if kind not in _PIPELINES:
        raise AtomtuneError(f"{source.name} is a {kind}, which is not supported", f"{' and '.join(_PIPELINES)} are")
    variant = None
    if source.is_local:
        folder = Path(source.location)
        refuse_pickles(source.name, folder)
        halves = list((folder / "unet").glob("*.fp16.safetensors"))
        if halves and len(halves) == len(list((folder / "unet").glob("*.safetensors"))):
            variant = "fp16"  # all there is
    return kind, variant


def load_single_file(path: Path, found: SingleFile) -> Any:
    """Load a checkpoint in the layout of the original Stable Diffusion code.

    Raises AtomtuneError where weights are missing.
    """
    import diffusers

    with found.family.with_tokenizers() as folder:
        kind = diffusers.DiffusionPipeline.load_config(folder)["_class_name"]
        pipeline = getattr(diffusers, kind).from_single_file(
            str(path), config=str(folder), local_files_only=True, **_PIPELINES[kind]
        )
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module) and (lost := [key for key, p in part.named_parameters() if p.is_meta]):
            raise AtomtuneError(f"{path} lacks weights of the {name}: {lost[0]}", "fetch the file again")
    changes: dict[str, Any] = {"prediction_type": found.prediction_type}
    if found.zero_terminal_snr:
        changes["rescale_betas_zero_snr"] = True
    pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, **changes)
    return pipeline


def unet_on_meta(source: ModelSource) -> nn.Module:
    """The model's UNet without weights: shapes only. Those of SD v1, v2 and SDXL come with the package."""
    from diffusers import UNet2DConditionModel

    config = _config(source, "unet")
    with torch.device("meta"):
        unet: nn.Module = UNet2DConditionModel.from_config(config)
    return unet


def text_encoders_on_meta(source: ModelSource) -> dict[str, nn.Module]:
    """The model's text encoders without weights, by component."""
    import transformers

    family = _family(source)
    with as_load_error(source.name, source.is_local):
        from diffusers import DiffusionPipeline

        index = DiffusionPipeline.load_config(str(family.folder) if family else source.location)
        encoders: dict[str, nn.Module] = {}
        for part in ("text_encoder", "text_encoder_2"):
            if part in index:
                place = str(family.folder) if family else source.location
                config = transformers.CLIPTextConfig.from_pretrained(place, subfolder=part)
                with torch.device("meta"):
                    encoders[part] = getattr(transformers, index[part][1])(config)
    return encoders


def architecture_of(unet: nn.Module) -> str:
    """The architecture as modelspec names it, or the name of the UNet's class for one it has no name for."""
    config: Any = unet.config
    key = (config.block_out_channels[0], config.cross_attention_dim)
    return _ARCHITECTURES.get(key, f"{type(unet).__name__}-{key[0]}-{key[1]}")


def native_resolution(source: ModelSource) -> int:
    """The side in pixels of the images a model was trained on, from its configuration alone."""
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
    try:
        return torch.device(asked)
    except RuntimeError:
        raise AtomtuneError(f"there is no device {asked!r}", "as in cpu, cuda, cuda:1, mps") from None


def _config(source: ModelSource, part: str) -> dict[str, Any]:
    if family := _family(source):
        return family.config(part)
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with as_load_error(source.name, source.is_local):
        kind = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}[part]
        return dict(kind.load_config(source.location, subfolder=part))


def _family(source: ModelSource) -> Family | None:
    return inspect_file(Path(source.location)).family if source.is_file else HUB.get(source.name.lower())
