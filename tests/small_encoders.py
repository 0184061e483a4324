"""Encoders in miniature, with random weights, as folders on the disk; and awkward images and texts for them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

from atomtune.evaluation.encoders.base import ImageEncoder
from atomtune.evaluation.encoders.clip import load_clip
from atomtune.evaluation.encoders.dino import load_dino, load_dinov2
from atomtune.evaluation.encoders.preprocessing import CLIP_DEVIATION, CLIP_MEAN

LOADERS: dict[str, Callable[..., ImageEncoder]] = {"dinov2": load_dinov2, "dino": load_dino, "clip": load_clip}
WIDTHS = {"dinov2": 24, "dino": 16, "clip": 20}
CLIP_SIDE = 48
TEXTS = ["a photo of a castle", "a photo of a castle in the snow", "", "a very long story " * 30]


def small_dinov2(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Write a DINOv2 of two layers whose patches are 56 pixels wide, trained, so to say, on images of 168."""
    config: dict[str, Any] = {
        "hidden_size": WIDTHS["dinov2"],
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 168,
        "patch_size": 56,
        "initializer_range": 0.3,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        Dinov2Model(Dinov2Config(**config | changes)).save_pretrained(folder)
    return folder


def small_dino(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Write a ViT of two layers whose patches are 56 pixels wide, with a pooling layer that nothing should read."""
    config: dict[str, Any] = {
        "hidden_size": WIDTHS["dino"],
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "image_size": 224,
        "patch_size": 56,
        "initializer_range": 0.3,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        ViTModel(ViTConfig(**config | changes)).save_pretrained(folder)
    return folder


def small_clip(folder: Path, seed: int = 0, **preprocessing: Any) -> Path:
    """Write a CLIP of one layer each for images of 48 pixels and texts of 16 tokens."""
    model = {
        "embed_dim": WIDTHS["clip"],
        "quick_gelu": True,
        "vision_cfg": {"image_size": CLIP_SIDE, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        weights = open_clip.CLIP(**model).state_dict()
    asked = {"mean": CLIP_MEAN, "std": CLIP_DEVIATION, "interpolation": "bicubic", "resize_mode": "shortest"}
    return write_clip(folder, weights, {"model_cfg": model, "preprocess_cfg": asked | preprocessing})


def write_clip(folder: Path, weights: dict[str, Tensor], config: dict[str, Any]) -> Path:
    """Write a CLIP the way open_clip puts it on the hub; returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


def odd_images() -> list[Image.Image]:
    """Images of smooth blobs and noise: small, large, narrow, and of sizes whose margins are odd."""
    sizes = [(40, 30), (301, 259), (97, 512), (257, 256), (224, 224), (500, 333), (259, 256), (48, 49), (64, 64)]
    return [_image(number, *size) for number, size in enumerate(sizes)]


def _image(seed: int, width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize((width, height))
    noise = rng.integers(-20, 21, (height, width, 3))
    return Image.fromarray((np.asarray(coarse, dtype=np.int64) + noise).clip(0, 255).astype(np.uint8))


def are_unit_rows(embeddings: Tensor, n: int, width: int) -> bool:
    """Whether these are n embeddings as the contract of encoders has them."""
    assert embeddings.shape == (n, width)
    assert embeddings.dtype == torch.float32
    assert embeddings.device.type == "cpu"
    return torch.allclose(embeddings.norm(dim=1), torch.ones(n), atol=1e-6)
