"""The schedulers of diffusers by the names that users of other tools know."""

from typing import Any

from ..errors import UsageError

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


def use_scheduler(pipeline: Any, name: str) -> None:
    """Give a pipeline another scheduler with the same noise schedule. Raises UsageError for an unknown name."""
    import diffusers

    if name not in SCHEDULERS:
        raise UsageError(f"there is no scheduler {name!r}", f"one of {', '.join(SCHEDULERS)}")
    # PNDM's warm-up steps are for pixels, Stable Diffusion leaves them out; other schedulers have no such setting
    changes = {"skip_prk_steps": True} if name == "pndm" else {}
    pipeline.scheduler = getattr(diffusers, SCHEDULERS[name]).from_config(pipeline.scheduler.config, **changes)
