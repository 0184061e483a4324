"""CLIP through open_clip: images and texts in one space."""

import json
from collections.abc import Sequence
from typing import Any

import open_clip
import torch
from PIL import Image
from torch import Tensor

from ...errors import AtomtuneError
from .embedding import unit_rows
from .preprocessing import Preprocessing, Triple
from .weights import HINT, loading, obtain

CLIP = "timm/vit_large_patch14_clip_224.openai"
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"

_TEXTS_AT_ONCE = 256


class ClipEncoder:
    """A model of open_clip's; embeddings of both kinds are of unit norm, so that a dot product is their cosine.

    Attributes: see TextImageEncoder.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str, width: int, device: torch.device) -> None:
        self._preprocess = preprocessing_of(model, name)
        self._tokenizer = tokenizer
        self.model = model.to(device).eval().requires_grad_(False)
        self.name = name
        self.preprocessing = str(self._preprocess)
        self.width = width
        self.device = device

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """Images as the model sees them, (n, 3, side, side), on its device."""
        return self._preprocess(images).to(self.device)

    def encode_images(self, images: Sequence[Image.Image], batch: int = 32) -> Tensor:
        """Embeddings of images of any size: (n, width), float32, on the CPU, of unit norm."""

        def encode(part: Sequence[Image.Image]) -> Tensor:
            return self.model.encode_image(self.pixels(part))

        return unit_rows(self.name, encode, images, batch, self.width)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings of texts, of which the model reads as many words as it can: (n, width), as those of images."""

        def encode(part: Sequence[str]) -> Tensor:
            return self.model.encode_text(self._tokenizer(list(part)).to(self.device))

        return unit_rows(self.name, encode, texts, _TEXTS_AT_ONCE, self.width)


def load_clip(path: str | None = None, device: torch.device | str = "cpu") -> ClipEncoder:
    """CLIP ViT-L/14 with OpenAI's weights (Radford et al. 2021, arXiv 2103.00020), 768 wide, from the hub or a folder.

    A folder may hold any CLIP of open_clip's, in the form in which open_clip puts its models on the hub. Raises
    AtomtuneError where it cannot be loaded.
    """
    name, folder = obtain((CONFIG, WEIGHTS), path, CLIP)
    place = f"local-dir:{folder}"
    with loading(name):
        width = int(json.loads((folder / CONFIG).read_text(encoding="utf-8"))["model_cfg"]["embed_dim"])
        model = open_clip.create_model(place, precision="fp32", require_pretrained=True)
        tokenizer = open_clip.get_tokenizer(place)
    return ClipEncoder(model, tokenizer, f"CLIP ({name})", width, torch.device(device))


def preprocessing_of(model: Any, name: str) -> Preprocessing:
    """What the configuration of a model of open_clip's asks for. AtomtuneError where that cannot be done here."""
    config = open_clip.get_model_preprocess_cfg(model)
    size, mode = config["size"], config.get("resize_mode", "shortest")
    width, height = (size, size) if isinstance(size, int) else size
    if width != height or mode not in ("shortest", "squash"):
        raise AtomtuneError(f"the encoder {name} wants images of {width}x{height} pixels, resized by {mode}", HINT)
    return Preprocessing(
        resize=width,
        crop=width,
        mean=_triple(config["mean"]),
        deviation=_triple(config["std"]),
        filter="bilinear" if config.get("interpolation") == "bilinear" else "bicubic",
        squash=mode == "squash",
    )


def _triple(values: float | Sequence[float]) -> Triple:
    red, green, blue = (values,) * 3 if isinstance(values, float | int) else values
    return float(red), float(green), float(blue)
