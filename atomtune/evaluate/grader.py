"""The grader of `pocket`: a small image-text encoder (open_clip) that says how well a picture fits a caption."""

from collections.abc import Sequence
from pathlib import Path

import open_clip
import torch
from PIL import Image
from torch import Tensor

from ..pocket import grader_folder
from .clip import ClipEncoder


class Grader(ClipEncoder):
    """Embeds pictures and captions in one space, for pictures of 64×64 pixels."""

    def __init__(self, model: open_clip.CLIP, device: torch.device) -> None:
        tokenizer = open_clip.SimpleTokenizer(context_length=model.context_length)
        super().__init__(model, tokenizer, "pocket's grader", int(model.text_projection.shape[1]), device)

    def classify(self, images: Sequence[Image.Image], texts: Sequence[str]) -> Tensor:
        """For every picture the index of the caption that fits best: (n,), int64."""
        return (self.encode_images(images) @ self.encode_texts(texts).T).argmax(dim=1)


def load_grader(folder: Path | None = None, device: torch.device | str = "cpu") -> Grader:
    """Load the grader, by default the one inside the package. FileNotFoundError if the folder is not there."""
    folder = folder or grader_folder()
    model = open_clip.create_model(f"local-dir:{folder}", precision="fp32", require_pretrained=True)
    return Grader(model, torch.device(device))
