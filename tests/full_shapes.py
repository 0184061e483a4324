"""The full-size models by their shapes alone."""

from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import nn

from atomtune.models.architecture import text_encoders_on_meta, unet_on_meta
from atomtune.models.base_model import resolve
from atomtune.models.single_file import HUB

V1, V2, XL = (
    "CompVis/stable-diffusion-v1-4",
    "stabilityai/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-xl-base-1.0",
)


class Pipeline:
    """The parts of a full-size pipeline, on the meta device."""

    def __init__(self, name: str) -> None:
        self.unet: Any = unet_on_meta(resolve(name))
        with torch.device("meta"):
            self.vae = AutoencoderKL.from_config(HUB[name.lower()].config("vae"))
        self.components: dict[str, nn.Module] = {"unet": self.unet, "vae": self.vae}
        for part, encoder in text_encoders_on_meta(resolve(name)).items():
            setattr(self, part, encoder)
            self.components[part] = encoder
