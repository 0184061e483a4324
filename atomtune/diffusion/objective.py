"""The training objective of a diffusion model, as its scheduler's configuration defines it."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ..errors import AtomtuneError


class Objective:
    """Mean squared error between prediction and target (Ho et al. 2020; v: Salimans & Ho 2022).

    Args:
        scheduler: the pipeline's scheduler; its betas and prediction type are used.
    """

    def __init__(self, scheduler: Any) -> None:
        from diffusers import DDPMScheduler

        self.schedule = DDPMScheduler.from_config(scheduler.config)
        self.prediction_type = self.schedule.config.prediction_type
        self.timesteps = int(self.schedule.config.num_train_timesteps)
        if self.prediction_type not in ("epsilon", "v_prediction", "sample"):
            raise AtomtuneError(
                f"the model predicts {self.prediction_type!r}, which cannot be trained here",
                "epsilon, v_prediction and sample are known",
            )

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Latents after `timesteps` steps of noise, (b, c, h, w)."""
        noisy: Tensor = self.schedule.add_noise(latents, noise, timesteps)
        return noisy

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the UNet should answer, (b, c, h, w)."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return latents
        velocity: Tensor = self.schedule.get_velocity(latents, noise, timesteps)
        return velocity

    def loss(self, prediction: Tensor, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The loss of a batch, a scalar in float32."""
        return F.mse_loss(prediction.float(), self.target(latents, noise, timesteps).float())
