"""DINOv2 and DINO: images by the class token of a vision transformer that was trained without labels."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ...errors import AtomtuneError
from .embedding import unit_rows
from .preprocessing import IMAGENET_DEVIATION, IMAGENET_MEAN, Preprocessing
from .weights import loading, obtain

DINOV2 = "facebook/dinov2-base"
DINO = "facebook/dino-vits16"
# the main branch has a pickle only; the hub's own converter put the same weights as safetensors here
DINO_REVISION = "refs/pr/1"
FILES = ("config.json", "model.safetensors")

# as the processor that DINOv2's authors publish with the weights on the hub
DINOV2_PREPROCESSING = Preprocessing(256, 224, IMAGENET_MEAN, IMAGENET_DEVIATION, odd_margin="down")
# as DINO's own evaluation and CustomConcept101's
DINO_PREPROCESSING = Preprocessing(256, 224, IMAGENET_MEAN, IMAGENET_DEVIATION)


class ClassToken:
    """A vision transformer of transformers', read at its class token after the last layer norm.

    Attributes: see ImageEncoder.
    """

    def __init__(self, model: Any, name: str, preprocessing: Preprocessing, device: torch.device) -> None:
        self.model = model.to(device)
        self.name = name
        self.preprocessing = str(preprocessing)
        self.width = int(model.config.hidden_size)
        self.device = device
        self._preprocess = preprocessing
        # ViT takes images of another size than in training only where this is set; DINOv2 takes any
        self._options = {"interpolate_pos_encoding": True} if model.config.model_type == "vit" else {}

    def encode_images(self, images: Sequence[Image.Image], batch: int = 32) -> Tensor:
        """Embeddings of images of any size: (n, width), float32, on the CPU, of unit norm."""

        def encode(part: Sequence[Image.Image]) -> Tensor:
            pixels = self._preprocess(part).to(self.device)
            return self.model(pixel_values=pixels, **self._options).last_hidden_state[:, 0]

        return unit_rows(self.name, encode, images, batch, self.width)


def load_dinov2(path: str | None = None, device: torch.device | str = "cpu") -> ClassToken:
    """DINOv2-base (Oquab et al. 2023, arXiv 2304.07193), 768 wide, from the hub or a folder.

    A folder may hold another size of DINOv2. Raises AtomtuneError where it cannot be loaded.
    """
    name, folder = obtain(FILES, path, DINOV2)
    model = _load(folder, name, ("dinov2", "dinov2_with_registers"))
    return ClassToken(model, f"DINOv2 ({name})", DINOV2_PREPROCESSING, torch.device(device))


def load_dino(path: str | None = None, device: torch.device | str = "cpu") -> ClassToken:
    """DINO ViT-S/16 (Caron et al. 2021, arXiv 2104.14294), 384 wide, from the hub or a folder.

    A folder may hold another size. Raises AtomtuneError where it cannot be loaded.
    """
    name, folder = obtain(FILES, path, DINO, DINO_REVISION)
    model = _load(folder, name, ("vit",), add_pooling_layer=False)
    return ClassToken(model, f"DINO ({name})", DINO_PREPROCESSING, torch.device(device))


def _load(folder: Path, name: str, kinds: tuple[str, ...], **options: Any) -> Any:
    from transformers import AutoConfig, AutoModel

    places: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with loading(name), _quietly():
        config = AutoConfig.from_pretrained(folder, **places)
        if config.model_type not in kinds:
            raise AtomtuneError(
                f"{name} holds a model of the type {config.model_type}, not {kinds[0]}",
                "--encoder-path dinov2=DIR takes a DINOv2, dino=DIR a DINO (vit), clip=DIR a CLIP of open_clip's",
            )
        model, report = AutoModel.from_pretrained(
            folder, config=config, use_safetensors=True, output_loading_info=True, **places, **options
        )
    # what is missing has been filled with random numbers; the mask token plays no part here
    if lost := sorted(key for key in report["missing_keys"] if not key.endswith("mask_token")):
        raise AtomtuneError(f"{name} lacks weights: {lost[0]}", "fetch its files again")
    return model.float().eval().requires_grad_(False)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without transformers' bar, and without its table of weights nobody reads, such as those of a pooling layer."""
    from transformers.utils import logging

    verbosity, shows_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shows_bars:
            logging.enable_progress_bar()
