"""Stable Diffusion pipelines in miniature, with random weights: every part is there, nothing is learned."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from atomtune.models.tokenizer import END, write_tokenizer

SIDE = 32  # pixels of its native images; its latents are 16×16
WIDTH = 16  # of the text encoder
NOISE: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}


def tiny_pipeline(folder: Path, seed: int = 0) -> Path:
    """Write a random pipeline like SD v1, of 0.9 M parameters, 0.8 M of them token embeddings; returns `folder`.

    The UNet has two levels, cross attention on the way down and up, 3×3, strided and 1×1 convolutions, linear layers.
    Another `seed` gives another base model of the same architecture.
    """
    tokenizer = _tokenizer(folder / "tokenizer", END)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet, vae, text_encoder = tiny_unet(), _vae(), CLIPTextModel(_text_config(tokenizer))
    scheduler = DDIMScheduler(**NOISE, clip_sample=False, set_alpha_to_one=False)
    return _write_sd(folder, tokenizer, unet, vae, text_encoder, scheduler)


def tiny_v2(folder: Path) -> Path:
    """Write a random pipeline like SD v2: it predicts v, projects by linear layers, and pads prompts with "!"."""
    tokenizer = _tokenizer(folder / "tokenizer", "!")
    with torch.random.fork_rng():
        torch.manual_seed(2)
        unet = tiny_unet(use_linear_projection=True, attention_head_dim=[2, 4])
        vae, text_encoder = _vae(), CLIPTextModel(_text_config(tokenizer, hidden_act="gelu"))
    scheduler = DDIMScheduler(**NOISE, clip_sample=False, set_alpha_to_one=False, prediction_type="v_prediction")
    return _write_sd(folder, tokenizer, unet, vae, text_encoder, scheduler)


def tiny_xl(folder: Path) -> Path:
    """Write a random pipeline like SDXL: two text encoders, and a UNet that is told pooled text and sizes."""
    first, second = _tokenizer(folder / "tokenizer", END), _tokenizer(folder / "tokenizer_2", "!")
    wide = 24
    with torch.random.fork_rng():
        torch.manual_seed(3)
        unet = tiny_unet(
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=WIDTH + wide,
            transformer_layers_per_block=[1, 2],
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=wide + 6 * 8,
        )
        encoder = CLIPTextModel(_text_config(first, num_hidden_layers=2))
        config = _text_config(second, hidden_size=wide, projection_dim=wide, num_hidden_layers=2, hidden_act="gelu")
        projecting = CLIPTextModelWithProjection(config)
        vae = _vae()
    pipeline = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=encoder,
        text_encoder_2=projecting,
        tokenizer=first,
        tokenizer_2=second,
        unet=unet,
        scheduler=EulerDiscreteScheduler(**NOISE, timestep_spacing="leading"),
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def _tokenizer(folder: Path, pad_token: str) -> CLIPTokenizer:
    write_tokenizer(folder, pad_token)
    return CLIPTokenizer.from_pretrained(folder)


def tiny_unet(**changes: Any) -> UNet2DConditionModel:
    """A UNet with random weights; `changes` are to its configuration."""
    config: dict[str, Any] = {
        "sample_size": SIDE // 2,
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**config | changes)


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(4, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=SIDE,
    )


def _text_config(tokenizer: CLIPTokenizer, **changes: Any) -> CLIPTextConfig:
    config: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": tokenizer.model_max_length,
        "projection_dim": WIDTH,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return CLIPTextConfig(**config | changes)


def _write_sd(folder: Path, tokenizer: Any, unet: Any, vae: Any, text_encoder: Any, scheduler: Any) -> Path:
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder
