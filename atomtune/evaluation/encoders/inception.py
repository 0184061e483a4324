"""Inception's features for FID, by torch-fidelity, which is an extra: `pip install 'atomtune[fid]'`."""

import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...errors import AtomtuneError, excerpt

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
"""The file of torch-fidelity's release; the end of its name is that of its SHA-256, from the first digit on."""

_WIDTH = "2048"


class Inception:
    """The features of the last pooling layer, (n, 2048), as FID is defined on (Heusel et al. 2017, arXiv 1706.08500).

    The model is loaded when the first images come: most concepts have too few images for a FID.

    Args:
        folder: holds `WEIGHTS`; None for torch's cache of downloads, or a download into it.
    """

    def __init__(self, folder: Path | None, device: torch.device) -> None:
        self.folder = folder
        self.device = device
        self._model: Any = None

    def features(self, images: Sequence[Image.Image], batch: int = 32) -> Tensor:
        """Features of images of any size and mode, (n, 2048), float32, on the CPU.

        Raises AtomtuneError where the weights are not there, or are not Inception's.
        """
        if self._model is None:
            self._model = _load(self.folder, self.device)
        found = []
        for _, same in groupby((image.convert("RGB") for image in images), key=lambda image: image.size):
            pixels = torch.from_numpy(np.stack([np.asarray(image) for image in same])).permute(0, 3, 1, 2)
            found += [self._model(part.to(self.device))[0].float().cpu() for part in pixels.split(batch)]
        return torch.cat(found)


def is_installed() -> bool:
    """Whether torch-fidelity is there."""
    return find_spec("torch_fidelity") is not None


def _load(folder: Path | None, device: torch.device) -> Any:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

    where = URL_INCEPTION_V3 if folder is None else folder / WEIGHTS
    try:
        if folder is None:
            state = torch.hub.load_state_dict_from_url(str(where), check_hash=True, weights_only=True, progress=False)
        else:
            state = torch.load(where, map_location="cpu", weights_only=True)
        with tempfile.TemporaryDirectory() as temporary:
            # its own loader unpickles whatever it is given, so it is given what was read without running code
            torch.save(state, path := Path(temporary) / WEIGHTS)
            model = FeatureExtractorInceptionV3("inception", [_WIDTH], feature_extractor_weights_path=str(path))
    except Exception as problem:  # of the network, of files, and of torch, which has none of its own for these
        raise AtomtuneError(
            f"cannot load Inception's weights from {where}: {excerpt(problem)}",
            f"--encoder-path inception=DIR takes a folder with {WEIGHTS}; without torch-fidelity there is no FID",
        ) from None
    return model.to(device)
