"""Images from a loaded pipeline: the same seed gives the same image, whatever else is in its batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..core.precision import all_finite
from ..errors import AtomtuneError, UsageError
from ..models.conditioning import Embeddings

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "pndm": "PNDMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-a": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "dpm++": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
}
"""diffusers' schedulers by the names that users of other tools know."""


@dataclass(frozen=True)
class Settings:
    """How images are drawn.

    Attributes:
        steps: denoising steps.
        guidance_scale: of classifier-free guidance; 1 switches it off.
        size: (width, height) in pixels; None for the model's own.
    """

    steps: int = 50
    guidance_scale: float = 7.5
    negative_prompt: str = ""
    size: tuple[int, int] | None = None


def use_scheduler(pipeline: Any, name: str) -> None:
    """Give a pipeline another scheduler with the same noise schedule. Raises UsageError for an unknown name."""
    import diffusers

    if name not in SCHEDULERS:
        raise UsageError(f"there is no scheduler {name!r}", f"one of {', '.join(SCHEDULERS)}")
    # PNDM's warm-up steps are for pixels, Stable Diffusion leaves them out; other schedulers have no such setting
    changes = {"skip_prk_steps": True} if name == "pndm" else {}
    pipeline.scheduler = getattr(diffusers, SCHEDULERS[name]).from_config(pipeline.scheduler.config, **changes)


@torch.no_grad()
def generate(
    pipeline: Any, embeddings: Embeddings, negative: Embeddings, seeds: Sequence[int], settings: Settings
) -> list[Image.Image]:
    """One image for each embedding and its seed.

    Args:
        embeddings: of n prompts, on any device.
        negative: the negative prompt's.
        seeds: n seeds; each image has a generator of its own, on the CPU.

    Raises:
        AtomtuneError: an image is not finite.
    """
    width, height = settings.size or (None, None)
    # the decoder's type is the images'; a UNet in training may hold some of its weights in another
    device, dtype = pipeline.unet.device, pipeline.vae.dtype
    wanted = embeddings.to(device, dtype)
    unwanted = negative.to(device, dtype).expand(len(wanted))
    pooled = {"pooled_prompt_embeds": wanted.pooled, "negative_pooled_prompt_embeds": unwanted.pooled}
    result = pipeline(
        prompt_embeds=wanted.states,
        negative_prompt_embeds=unwanted.states,
        **({} if wanted.pooled is None else pooled),
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance_scale,
        width=width,
        height=height,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="pt",
    )
    pixels: Tensor = result.images
    if not all_finite(pixels):
        raise AtomtuneError("the images are not finite", "the atoms may be too strong: try a lower --scale, or fp32")
    array = (pixels.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(image) for image in array]
