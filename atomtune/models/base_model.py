"""Base models: by hub id, by diffusers folder, by single-file checkpoint, or `pocket`."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn

from .. import pocket
from ..errors import AtomtuneError, excerpt
from ..files.untrusted_json import read_json
from .hub_errors import NO_DOWNLOAD, as_load_error
from .hub_files import pipeline_files
from .load_component import load_component, quiet
from .options import AUTO
from .other_vae import with_other_vae
from .pipeline_index import INDEX
from .single_file import PIPELINE_OPTIONS, inspect_file, load_single_file
from .supported import check_supported
from .weight_files import PICKLES, only_pickles

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    Pipeline: TypeAlias = StableDiffusionPipeline | StableDiffusionXLPipeline

DEFAULT_MODEL = "CompVis/stable-diffusion-v1-4"
MODEL_VARIABLE = "ATOMTUNE_MODEL"
POCKET = "pocket"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class ModelSource:
    """A base model by the name the user gave it.

    Attributes:
        name: hub id, folder or file as given, or "pocket".
        location: the folder or file, or the hub id.
        vae: another autoencoder than its own, as for `other_vae.with_other_vae`.
    """

    name: str
    location: str
    vae: str | None = None

    @property
    def is_local(self) -> bool:
        """True where no hub is asked."""
        return Path(self.location).exists()

    @property
    def is_file(self) -> bool:
        """True for a single-file checkpoint."""
        return Path(self.location).is_file()

    @property
    def public_name(self) -> str:
        """The name to write into files: a hub id or "pocket", of folders and files the last part of their path."""
        return self.name if self.name == POCKET or not self.is_local else Path(self.location).resolve().name

    @property
    def public_vae(self) -> str | None:
        """The name of the other autoencoder in the same way."""
        return Path(self.vae).resolve().name if self.vae and Path(self.vae).exists() else self.vae


def resolve(name: str | None = None) -> ModelSource:
    """The model to use: `name`, else the environment variable ATOMTUNE_MODEL, else SD v1.4. The hub is not asked.

    Raises AtomtuneError where a folder or file is named that does not exist or holds no pipeline.
    """
    name = name or os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL
    if name == POCKET:
        return ModelSource(name, str(pocket.pipeline_folder()))
    path = _path(name)
    if path.is_dir():
        if not (path / INDEX).is_file():
            raise AtomtuneError(f"{name} is not a diffusers pipeline: it has no {INDEX}", NO_DOWNLOAD)
        return ModelSource(name, str(path))
    if path.suffix in PICKLES:
        raise only_pickles(name, path.suffix)
    if path.is_file():
        if path.suffix != ".safetensors":
            raise AtomtuneError(f"{name} is neither a folder nor a .safetensors file", NO_DOWNLOAD)
        return ModelSource(name, str(path))
    # a hub id has one "/"; where its first part is a folder here, a path was meant
    is_hub_id = _HUB_ID.fullmatch(name) and not path.parent.is_dir() and not path.is_symlink()
    if not is_hub_id or path.suffix == ".safetensors":
        kind = "file" if path.suffix == ".safetensors" else "folder"
        raise AtomtuneError(f"there is no model {kind} {name}", NO_DOWNLOAD)
    return ModelSource(name, name)


def resolve_base(model: str | None, base: str, atoms: Path) -> ModelSource:
    """The model for an atoms file: `model` where it is given, else the base that the file names.

    Files name a folder without its path. It is looked for where the run of the file was told to find it (run.json), in
    the working folder, and beside the file.

    Raises AtomtuneError where it is not found, at once and without asking the hub.
    """
    if model is not None:
        return resolve(model)
    if base == POCKET or (_HUB_ID.fullmatch(base) and not _path(base).exists()):
        return resolve(base)
    recorded = [model for folder in (atoms.parent, atoms.parent.parent) for model in _models_of_run(folder)]
    places = [place for place in recorded if Path(place).name == Path(base).name]
    for place in (*places, base, str(atoms.parent / base)):
        if _path(place).exists():
            return resolve(place)
    raise AtomtuneError(
        f"the base model {excerpt(base)} of {atoms.name} is not here", "--model names its folder or file"
    )


def _models_of_run(folder: Path) -> list[str]:
    """Where a run's record says that its model is: as seen from the run's folder, and as it was given."""
    try:
        record = read_json(folder / "run.json")
        model = record["options"]["model"]
        model = model["model"] if isinstance(model, dict) else model  # text in runs of 0.1
        from_folder = record.get("paths", {}).get("model")
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []
    places = [str(folder / from_folder)] if isinstance(from_folder, str) else []
    return places + ([model] if isinstance(model, str) else [])


def _path(name: str) -> Path:
    try:
        path = Path(name).expanduser()
        path.is_dir()
    except (OSError, RuntimeError, ValueError) as problem:  # too long for a path, or the home of nobody
        raise AtomtuneError(f"there is no model {excerpt(name)} ({excerpt(problem)})", NO_DOWNLOAD) from None
    return path


def load_pipeline(source: ModelSource, dtype: torch.dtype = torch.float32) -> "Pipeline":
    """Load a pipeline on the CPU, in evaluation mode, frozen, without the safety checker, from safetensors only.

    No code of the model is run. Raises AtomtuneError where the model does not exist, the hub cannot be reached, a
    component is not allowed, not supported, incomplete or not finite, or its weights are pickles.
    """
    with as_load_error(source.name):
        if source.is_file:
            path = Path(source.location)
            pipeline = load_single_file(path, inspect_file(path))
        else:
            pipeline = _load_folder(source)
    if source.vae is not None:
        with_other_vae(pipeline, source.vae)
    pipeline.set_progress_bar_config(disable=True)
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            _freeze(part, dtype)
    return pipeline


def load_unet(source: ModelSource) -> nn.Module:
    """Load the UNet of a model alone, in float32, otherwise as `load_pipeline` does. Raises AtomtuneError as that."""
    unet: nn.Module
    with as_load_error(source.name):
        if source.is_file:
            path = Path(source.location)
            # the file holds all components, and which keys are the UNet's is best known to the pipeline's loader
            unet = load_single_file(path, inspect_file(path)).unet
        else:
            files = pipeline_files(source.name, source.location, ("unet",))
            check_supported(files)
            unet = load_component(
                files.name, files.folder, "unet", files.index.components["unet"], files.weights["unet"]
            )
    _freeze(unet, torch.float32)
    return unet


def _freeze(part: nn.Module, dtype: torch.dtype) -> None:
    # not by from_pretrained, whose argument for it has two names over the versions of diffusers
    nn.Module.to(part, dtype)
    part.requires_grad_(False).eval()


def _load_folder(source: ModelSource) -> Any:
    import diffusers

    files = pipeline_files(source.name, source.location)
    check_supported(files)
    components = {
        part: load_component(files.name, files.folder, part, class_name, files.weights.get(part, ()))
        for part, class_name in files.index.components.items()
    }
    kind = files.index.kind
    with quiet():
        return getattr(diffusers, kind)(**components, **PIPELINE_OPTIONS[kind], **files.index.options)


def pick_device(asked: str | None = None) -> torch.device:
    """The device asked for, else the first of CUDA, MPS and CPU. Raises AtomtuneError where it is not available."""
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


def pick_precision(asked: str, device: torch.device) -> str:
    """The precision asked for; for "auto" the one that a device is fast in.

    That is bf16 on GPUs that compute in it, fp16 on those that have tensor cores for that alone (Volta, Turing), else
    fp32: few CPUs are faster in another type, older GPUs are slower, and on MPS no other one has been tried.
    """
    if asked != AUTO:
        return asked
    if device.type != "cuda":
        return "fp32"
    with torch.cuda.device(device):
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16"
        return "fp16" if torch.cuda.get_device_capability() >= (7, 0) else "fp32"
