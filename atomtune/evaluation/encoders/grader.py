"""The grader of `pocket`: a small image-text encoder (open_clip), and its identity encoder, which embeds the thing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from ...pocket import grader_folder
from ...pocket.world import SCENES
from .clip import ClipEncoder
from .embedding import unit_rows

IDENTITY = "identity.safetensors"
IDENTITY_WIDTH = 128


class Grader(ClipEncoder):
    """Embeds images and captions in one space, for images of 64×64 pixels."""

    def __init__(self, model: open_clip.CLIP, device: torch.device) -> None:
        tokenizer = open_clip.SimpleTokenizer(context_length=model.context_length)
        super().__init__(model, tokenizer, "pocket's grader", int(model.text_projection.shape[1]), device)

    def classify(self, images: Sequence[Image.Image], texts: Sequence[str]) -> Tensor:
        """For every image the index of the caption that fits best: (n,), int64."""
        return (self.encode_images(images) @ self.encode_texts(texts).T).argmax(dim=1)


class IdentityEncoder:
    """Embeds images by the single thing in them, whatever the scene around it; a projection of the grader's features.

    Attributes: see ImageEncoder.
    """

    def __init__(self, grader: Grader, projection: Tensor) -> None:
        self.grader = grader
        self.projection = projection.float().to(grader.device)
        self.name = "pocket's identity encoder"
        self.preprocessing = grader.preprocessing
        self.width = len(projection)

    def encode_images(self, images: Sequence[Image.Image], batch: int = 32) -> Tensor:
        """Embeddings of images of any size: (n, width), float32, on the CPU, of unit norm."""

        def encode(part: Sequence[Image.Image]) -> Tensor:
            _, features = embedding_and_features(self.grader.model.visual, self.grader.pixels(part))
            return features @ self.projection.T

        return unit_rows(self.name, encode, images, batch, self.width)


def embedding_and_features(visual: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The image embedding of a ResNet of open_clip's, (n, d), and its features, pooled from the last two stages."""
    third = visual.layer3(visual.layer2(visual.layer1(visual.stem(pixels))))
    fourth = visual.layer4(third)
    return visual.attnpool(fourth), torch.cat([third.mean(dim=(2, 3)), fourth.mean(dim=(2, 3))], dim=1)


def new_identity(visual: Any) -> nn.Linear:
    """An untrained projection of those features to IDENTITY_WIDTH numbers."""
    wide = visual.layer3[-1].conv3.out_channels + visual.layer4[-1].conv3.out_channels
    return nn.Linear(wide, IDENTITY_WIDTH, bias=False)


def load_identity(folder: Path | None = None, device: torch.device | str = "cpu") -> IdentityEncoder:
    """Load the identity encoder, by default the one inside the package. FileNotFoundError if it is not there."""
    folder = folder or grader_folder()
    return IdentityEncoder(load_grader(folder, device), load_file(folder / IDENTITY)["weight"])


def load_grader(folder: Path | None = None, device: torch.device | str = "cpu") -> Grader:
    """Load the grader, by default the one inside the package. FileNotFoundError if the folder is not there."""
    folder = folder or grader_folder()
    model = open_clip.create_model(f"local-dir:{folder}", precision="fp32", require_pretrained=True)
    return Grader(model, torch.device(device))


def scenes_named(grader: Grader, thing: str, asked: Sequence[str], images: Sequence[Image.Image]) -> list[bool]:
    """For each image of a thing whether the grader names the scene asked for, out of all scenes.

    Images for which no scene of the world was asked are left out.
    """
    scenes = [scene for scene in SCENES if scene]
    known = [(image, scene) for image, scene in zip(images, asked, strict=True) if scene in scenes]
    if not known:
        return []
    named = grader.classify([image for image, _ in known], [f"a {thing} {scene}" for scene in scenes]).tolist()
    return [scenes[answer] == scene for answer, (_, scene) in zip(named, known, strict=True)]
