"""The trained parts as a diffusers pipeline folder and an open_clip model folder, in float16."""

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from safetensors.torch import load_file
from transformers import CLIPTextModel

from atomtune.models.tokenizer import write_tokenizer

from .denoiser import NOISE_SCHEDULE, new_text_encoder
from .recipe import Recipe
from .tokenizer import load_tokenizer
from .training import save_tensors


def export_pipeline(
    folder: Path,
    work: Path,
    recipe: Recipe,
    autoencoder: AutoencoderKL,
    scaling: float,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
) -> None:
    """Write the whole pipeline into `folder`, which is replaced."""
    tokenizer = load_tokenizer(work / "tokenizer")
    encoder = new_text_encoder(recipe, tokenizer)
    encoder.load_state_dict(text_encoder.state_dict())
    vae = AutoencoderKL.from_config(autoencoder.config)
    vae.load_state_dict(autoencoder.state_dict())
    vae.register_to_config(scaling_factor=scaling)
    denoiser = UNet2DConditionModel.from_config(unet.config)
    denoiser.load_state_dict(unet.state_dict())
    denoiser.set_attn_processor(AttnProcessor2_0())
    pipeline = StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=encoder.half(),
        tokenizer=tokenizer,
        unet=denoiser.half(),
        scheduler=PNDMScheduler(**NOISE_SCHEDULE, skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    pipeline.save_pretrained(partial, safe_serialization=True)
    shutil.rmtree(partial / "tokenizer")
    write_tokenizer(partial / "tokenizer")
    prefix_keys(partial / "text_encoder" / "model.safetensors", "text_model.")
    for path in partial.rglob("*.safetensors"):
        path.chmod(0o644)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def export_autoencoder(folder: Path, autoencoder: AutoencoderKL) -> None:
    """Write the autoencoder alone, in float16; the factor of its latents is the default, not yet measured."""
    vae = AutoencoderKL.from_config(autoencoder.config)
    vae.load_state_dict(autoencoder.state_dict())
    vae.half().save_pretrained(folder, safe_serialization=True)


def prefix_keys(path: Path, prefix: str) -> None:
    """Name the tensors as Stable Diffusion's own files do, which every version of transformers reads."""
    tensors = load_file(path)
    if not all(key.startswith(prefix) for key in tensors):
        save_tensors(path, {prefix + key: tensor for key, tensor in tensors.items()}, {"format": "pt"})


def load_pipeline(folder: Path, device: torch.device) -> StableDiffusionPipeline:
    """The exported pipeline, computing in float32."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)
