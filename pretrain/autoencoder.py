"""The autoencoder of `pocket`: 64x64 pictures to 16x16 latents and back."""

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file
from torch import Tensor

from .muon import zero_branches
from .recipe import Recipe
from .training import LogLine, Trainer, generator, reduced_precision, save_tensors, training_device

log = logging.getLogger(__name__)


def new_autoencoder(recipe: Recipe) -> AutoencoderKL:
    """An untrained AutoencoderKL that reduces each side by 4."""
    torch.manual_seed(recipe.seed)
    levels = len(recipe.autoencoder_channels)
    model = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=recipe.autoencoder_channels,
        layers_per_block=1,
        latent_channels=recipe.latent_channels,
        norm_num_groups=8,
        sample_size=recipe.picture_size,
    )
    zero_branches(model)
    for attention in (model.encoder.mid_block.attentions[0], model.decoder.mid_block.attentions[0]):
        attention.set_processor(AttnProcessor())  # on the CPU several times as fast in training as the fused one
    return model


def as_tensor(pictures: npt.NDArray[np.uint8]) -> Tensor:
    """(n, side, side, 3) bytes -> (n, 3, side, side) floats in -1..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def reconstruction_loss(output: Tensor, target: Tensor, recipe: Recipe) -> Tensor:
    """L1, squares, L1 of the differences between neighbours (sharp edges) and L1 at coarser scales (true colours)."""
    error = output - target
    loss = error.abs().mean() + recipe.squared_weight * error.square().mean()
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    coarse = error.new_zeros(())
    for _ in range(3):
        error = F.avg_pool2d(error, 2)
        coarse = coarse + error.abs().mean()
    return loss + recipe.gradient_weight * edges + recipe.coarse_weight * coarse


def train_autoencoder(work: Path, recipe: Recipe, pictures: npt.NDArray[np.uint8]) -> AutoencoderKL:
    """Train (or finish, or load) the autoencoder; returns it with its averaged weights."""
    device = training_device()
    model = new_autoencoder(recipe).to(device)
    trainer = Trainer(
        work / "autoencoder.safetensors",
        {"autoencoder": model},
        recipe.autoencoder_steps,
        recipe.autoencoder_rate,
        recipe.average_decay,
    )

    def loss_at(step: int) -> tuple[Tensor, LogLine]:
        chance = generator(recipe.seed + 1, step)
        chosen = torch.randint(len(pictures), (recipe.autoencoder_batch,), generator=chance)
        batch = as_tensor(pictures[chosen.numpy()])
        flips = torch.rand(len(batch), generator=chance) < 0.5
        batch[flips] = batch[flips].flip(-1)
        batch = batch.to(device)
        with reduced_precision(device):
            moments = model.quant_conv(model.encoder(batch)).float()
            mean, log_variance = moments.chunk(2, 1)
            log_variance = log_variance.clamp(-30, 20)
            noise = torch.randn(mean.shape, generator=chance).to(device)
            output = model.decode(mean + noise * (0.5 * log_variance).exp()).sample
        output = output.float()
        fidelity = reconstruction_loss(output, batch, recipe)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        l1 = (output.detach() - batch).abs().mean().item()
        return fidelity + recipe.kl_weight * divergence, {"l1": l1, "loss": fidelity.item(), "kl": divergence.item()}

    trainer.run(loss_at)
    trainer.use_averages()
    return model.eval()


@torch.no_grad()
def encode_pictures(
    work: Path, recipe: Recipe, autoencoder: AutoencoderKL, pictures: npt.NDArray[np.uint8]
) -> tuple[Tensor, Tensor, float]:
    """Mean and standard deviation of every picture's latents, (n, c, 16, 16) each, and the factor to unit deviation."""
    path = work / "latents.safetensors"
    if not path.exists():
        device = training_device()
        means, deviations = [], []
        for first in range(0, len(pictures), 100):
            batch = as_tensor(pictures[first : first + 100]).to(device)
            with reduced_precision(device):
                posterior = autoencoder.encode(batch).latent_dist
            means.append(posterior.mean.float().cpu())
            deviations.append(posterior.std.float().cpu())
            if first % 5000 == 0:
                log.info("latents: %d of %d", first, len(pictures))
        save_tensors(path, {"mean": torch.cat(means), "std": torch.cat(deviations)}, {})
    latents = load_file(path)
    variance = latents["mean"].var() + latents["std"].square().mean()
    return latents["mean"], latents["std"], round(1 / variance.sqrt().item(), 5)
