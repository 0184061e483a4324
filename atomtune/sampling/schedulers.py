"""The schedulers of diffusers by the names that users of other tools know, and what they keep of a model's own one."""

import inspect
from collections.abc import Mapping
from typing import Any

from ..errors import UsageError, excerpt

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

_OF_THE_MODEL = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
    "rescale_betas_zero_snr": False,
    "steps_offset": 1,
    "set_alpha_to_one": False,
}
"""What the model was trained with, or its pipeline goes by: as its own scheduler has it, also where that is the default
of its class. Where its class has no such setting, as here: the first six are diffusers' in every class that trains, the
last two Stable Diffusion's."""

_OF_LATENTS = {
    "clip_sample": False,
    "thresholding": False,
    # PNDM's warm-up steps are for pixels, Stable Diffusion leaves them out
    "skip_prk_steps": True,
}
"""What suits latents, whatever a configuration says: the first two cut values to the range of pixels."""

_SPACING = {"ddim": "leading", "ddpm": "leading", "pndm": "leading"}
"""Where the timesteps lie when the model's configuration leaves it open; "linspace" for the solvers over sigmas."""


def use_scheduler(pipeline: Any, name: str) -> None:
    """Give a pipeline another scheduler that means the same: its noise schedule, its prediction, latents not clipped.

    Whatever the model's configuration leaves out is decided here, not by the defaults of the other class. Raises
    UsageError for an unknown name, and for a scheduler that cannot have the model's noise schedule.
    """
    import diffusers

    if name not in SCHEDULERS:
        raise UsageError(f"there is no scheduler {name!r}", f"one of {', '.join(SCHEDULERS)}")
    kind = getattr(diffusers, SCHEDULERS[name])
    config = pipeline.scheduler.config
    settings = scheduler_settings(name, config, set(inspect.signature(kind.__init__).parameters))
    try:
        pipeline.scheduler = kind.from_config(config, **settings)
    except (NotImplementedError, ValueError) as problem:
        raise UsageError(
            f"the scheduler {name} cannot have the noise schedule of this model: {excerpt(problem)}",
            "leave --scheduler out, or name another",
        ) from None


def scheduler_settings(name: str, config: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """What the scheduler `name` is to be made with, besides what the model's configuration says of its own accord.

    Args:
        config: of the model's own scheduler, as diffusers has it in memory.
        known: the settings that the scheduler has.

    Raises UsageError where it lacks one that the model needs.
    """
    if config.get("rescale_betas_zero_snr") and "rescale_betas_zero_snr" not in known:
        others = ", ".join(other for other in SCHEDULERS if other not in ("pndm", "heun"))
        raise UsageError(
            f"the noise schedule of this model ends without signal, which {name} does not know", f"one of {others}"
        )
    settings = {key: config.get(key, usual) for key, usual in _OF_THE_MODEL.items()} | _OF_LATENTS
    if "timestep_spacing" not in config or "timestep_spacing" in config.get("_use_default_values", ()):
        # a schedule that ends without signal has to begin there, which "trailing" alone does
        open_end = bool(config.get("rescale_betas_zero_snr"))
        settings["timestep_spacing"] = "trailing" if open_end else _SPACING.get(name, "linspace")
    return {key: value for key, value in settings.items() if key in known}
