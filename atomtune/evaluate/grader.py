"""The grader of `pocket`: a small image-text encoder (open_clip) that says how well a picture fits a caption."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..pocket import grader_folder

_BATCH = 256


class Grader:
    """Embeds pictures and captions in one space; both of unit norm, so that a dot product is their cosine."""

    def __init__(self, model: open_clip.CLIP, device: torch.device) -> None:
        self.model = model.to(device).eval()
        self.device = device
        size = model.visual.image_size
        self.side = int(size[0] if isinstance(size, tuple) else size)
        self._tokenizer = open_clip.SimpleTokenizer(context_length=model.context_length)

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Embeddings of pictures of any size: (n, d), float32, on the CPU."""
        parts = []
        for first in range(0, len(images), _BATCH):
            pixels = image_tensor(images[first : first + _BATCH], self.side).to(self.device)
            parts.append(F.normalize(self.model.encode_image(pixels).float(), dim=-1).cpu())
        return torch.cat(parts)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings of captions: (n, d), float32, on the CPU."""
        parts = []
        for first in range(0, len(texts), _BATCH):
            tokens = self._tokenizer(list(texts[first : first + _BATCH])).to(self.device)
            parts.append(F.normalize(self.model.encode_text(tokens).float(), dim=-1).cpu())
        return torch.cat(parts)

    def classify(self, images: Sequence[Image.Image], texts: Sequence[str]) -> Tensor:
        """For every picture the index of the caption that fits best: (n,), int64."""
        return (self.encode_images(images) @ self.encode_texts(texts).T).argmax(dim=1)


def load_grader(folder: Path | None = None, device: torch.device | str = "cpu") -> Grader:
    """Load the grader, by default the one inside the package. FileNotFoundError if the folder is not there."""
    folder = folder or grader_folder()
    model = open_clip.create_model(f"local-dir:{folder}", precision="fp32", require_pretrained=True)
    return Grader(model, torch.device(device))


def image_tensor(images: Sequence[Image.Image], side: int) -> Tensor:
    """Pictures as the grader reads them: (n, 3, side, side), -1..1."""
    arrays = []
    for image in images:
        image = image.convert("RGB")
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.BICUBIC)
        arrays.append(np.asarray(image))
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 127.5 - 1
