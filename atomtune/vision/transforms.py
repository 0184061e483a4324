"""What happens to an image before a network sees it: timm's own transforms, with randomness of their own."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .network import Network, needs_library

Transform = Callable[[Image.Image], Tensor]
"""An RGB image → (3, side, side), normalised."""


def evaluation_transform(network: Network) -> Transform:
    """Scaled and cut at the centre, as timm evaluates."""
    return _made(network, is_training=False)


def training_transform(network: Network, augment: str) -> Transform:
    """With random changes; see `options.AUGMENTATIONS`."""
    if augment == "none":
        return evaluation_transform(network)
    if augment == "flip":
        from torchvision.transforms import Compose, RandomHorizontalFlip

        flipped: Transform = Compose([RandomHorizontalFlip(), evaluation_transform(network)])
        return flipped
    if augment == "crop":
        return _made(network, is_training=True, color_jitter=None)
    return _made(network, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", re_prob=0.25)


def _made(network: Network, **given: Any) -> Transform:
    needs_library("torchvision")
    from timm.data.transforms_factory import create_transform

    made: Transform = create_transform(
        input_size=(3, network.size, network.size),
        interpolation=network.interpolation,
        mean=network.mean,
        std=network.std,
        crop_pct=network.crop_share,
        **given,
    )
    return made


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Within the context, what transforms draw follows from the seed alone; afterwards all is as it was before."""
    before, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002, timm's transforms draw from it
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(before)
            np.random.set_state(of_numpy)  # noqa: NPY002
