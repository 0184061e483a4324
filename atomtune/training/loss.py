"""The training objective of a diffusion model, as its scheduler's configuration defines it."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import AtomtuneError


class Objective:
    """Mean squared error between prediction and target (Ho et al. 2020; v: Salimans & Ho 2022).

    Args:
        scheduler: the pipeline's scheduler; its betas and prediction type are used.
        min_snr_gamma: γ of the min-SNR weighting; None weights all timesteps alike.
    """

    def __init__(self, scheduler: Any, min_snr_gamma: float | None = None) -> None:
        from diffusers import DDPMScheduler

        self.schedule = DDPMScheduler.from_config(scheduler.config)
        self.prediction_type = self.schedule.config.prediction_type
        self.timesteps = int(self.schedule.config.num_train_timesteps)
        self.min_snr_gamma = min_snr_gamma
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
        """The regression target, (b, c, h, w)."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return latents
        velocity: Tensor = self.schedule.get_velocity(latents, noise, timesteps)
        return velocity

    def loss(
        self, prediction: Tensor, latents: Tensor, noise: Tensor, timesteps: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """The loss of a batch, a scalar in float32; `weights` as for `distance`."""
        return self.distance(prediction, self.target(latents, noise, timesteps), timesteps, weights)

    def distance(self, prediction: Tensor, target: Tensor, timesteps: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean squared error of predictions (b, c, h, w), weighted by timestep: a scalar in float32.

        Args:
            weights: of the errors within each example, (b, 1, h, w); their mean is Σ(weight·error)/Σ weight.
        """
        target = target.float()
        if self.min_snr_gamma is None and weights is None:
            return F.mse_loss(prediction.float(), target)
        errors = F.mse_loss(prediction.float(), target, reduction="none")
        if weights is None:
            errors = errors.mean(dim=(1, 2, 3))
        else:
            errors = (weights * errors).mean(dim=1).sum(dim=(1, 2)) / weights.sum(dim=(1, 2, 3))
        if self.min_snr_gamma is None:
            return errors.mean()
        snr = signal_to_noise(self.schedule.alphas_cumprod.to(timesteps.device)[timesteps])
        return (min_snr_weight(snr, self.min_snr_gamma, self.prediction_type) * errors).mean()


def signal_to_noise(alphas_cumprod: Tensor) -> Tensor:
    """SNR(t) = ᾱ/(1 − ᾱ) from the noise schedule's ᾱ, of any shape."""
    return alphas_cumprod / (1.0 - alphas_cumprod)


def min_snr_weight(snr: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Weights of the squared errors at these SNRs, of the same shape (Hang et al. 2023, arXiv 2303.09556).

    min(SNR, γ) on the error of x₀; the error of ε is SNR times that one, the error of v SNR + 1 times.
    """
    if prediction_type == "epsilon":
        return (gamma / snr).clamp(max=1.0)  # min(SNR, γ)/SNR, finite where SNR is 0
    least = snr.clamp(max=gamma)
    return least / (snr + 1.0) if prediction_type == "v_prediction" else least


def offset_noise(noise: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Noise (c, h, w) with a normal number of standard deviation `strength` added to each channel.

    So that the model can learn images darker or brighter than the average (Guttenberg 2023, "Diffusion with Offset
    Noise"). Drawn on the CPU.
    """
    return noise + strength * torch.randn(noise.shape[0], 1, 1, generator=generator)
