"""The autoencoder of `pocket`: 64x64 images to 16x16 latents and back."""

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

from .dataset import CHUNK
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
        sample_size=recipe.image_size,
    )
    zero_branches(model)
    for attention in (model.encoder.mid_block.attentions[0], model.decoder.mid_block.attentions[0]):
        attention.set_processor(AttnProcessor())  # on the CPU several times as fast in training as the fused one
    return model


@torch.no_grad()
def widened(model: AutoencoderKL, folder: Path) -> None:
    """Put the weights of an autoencoder with fewer latent channels into `model`, whose further channels start small.

    The first channels keep their meaning, so that a denoiser of the narrower latents can begin from its weights too.
    """
    old = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32).state_dict()
    narrow, wide = old["post_quant_conv.weight"].shape[0], model.config["latent_channels"]
    rows = [*range(narrow), *range(wide, wide + narrow)]  # of the means and of the logarithms of the variances
    state = model.state_dict()
    for key, value in old.items():
        new = state[key]
        if new.shape == value.shape:
            new.copy_(value)
            continue
        places = rows if new.shape[0] == 2 * wide else list(range(narrow))
        if key.startswith(("quant_conv", "post_quant_conv")) and value.ndim > 1:
            inner = rows if new.shape[1] == 2 * wide else list(range(narrow))
            new[places, :] = 0.0
            new[torch.tensor(places)[:, None], torch.tensor(inner)] = value
        elif key == "decoder.conv_in.weight":
            new[:, narrow:] *= 0.3
            new[:, :narrow] = value
        else:
            new[places] = value
    state["quant_conv.bias"][wide + narrow :] = -4.0  # little noise, so that the decoder looks at them soon


def as_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """(n, side, side, 3) bytes -> (n, 3, side, side) floats in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


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


def train_autoencoder(work: Path, recipe: Recipe, images: npt.NDArray[np.uint8]) -> AutoencoderKL:
    """Train (or finish, or load) the autoencoder; returns it with its averaged weights."""
    device = training_device()
    if recipe.autoencoder_from:
        return trained_autoencoder(Path(recipe.autoencoder_from), recipe).to(device)
    model = new_autoencoder(recipe)
    if recipe.begins_from:
        widened(model, Path(recipe.begins_from) / "vae")
    model.to(device)
    trainer = Trainer(
        work / "autoencoder.safetensors",
        {"autoencoder": model},
        recipe.autoencoder_steps,
        recipe.autoencoder_rate,
        recipe.average_decay,
        matrix_rate=recipe.autoencoder_matrix_rate,
    )

    def loss_at(step: int) -> tuple[Tensor, LogLine]:
        chance = generator(recipe.seed + 1, step)
        chosen = torch.randint(len(images), (recipe.autoencoder_batch,), generator=chance)
        batch = as_tensor(images[chosen.numpy()])
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


def train_decoder(
    work: Path, recipe: Recipe, model: AutoencoderKL, images: npt.NDArray[np.uint8], means: Tensor, deviations: Tensor
) -> AutoencoderKL:
    """Train the decoder further (or finish, or load it) on the latents as they are, which the denoiser is bound to.

    `means` and `deviations` are the latents of `images`. Returns the autoencoder, its encoder unchanged.
    """
    device = training_device()
    model.requires_grad_(False).to(device)
    model.decoder.mid_block.attentions[0].set_processor(AttnProcessor())
    decoder = torch.nn.ModuleDict({"decoder": model.decoder, "post_quant_conv": model.post_quant_conv})
    decoder.requires_grad_(True)
    trainer = Trainer(
        work / "decoder.safetensors",
        {"decoder": decoder},
        recipe.decoder_steps,
        recipe.decoder_rate,
        recipe.average_decay,
        matrix_rate=recipe.decoder_matrix_rate,
    )

    def loss_at(step: int) -> tuple[Tensor, LogLine]:
        chance = generator(recipe.seed + 5, step)
        chosen = torch.randint(len(images), (recipe.decoder_batch,), generator=chance)
        batch = as_tensor(images[chosen.numpy()]).to(device)
        noise = torch.randn((len(chosen), *means.shape[1:]), generator=chance)
        latents = (means[chosen] + deviations[chosen] * noise).to(device)
        with reduced_precision(device):
            output = model.decode(latents).sample.float()
        loss = reconstruction_loss(output, batch, recipe)
        return loss, {"l1": (output.detach() - batch).abs().mean().item(), "loss": loss.item()}

    trainer.run(loss_at)
    trainer.use_averages()
    return model.eval().requires_grad_(False)


def trained_autoencoder(folder: Path, recipe: Recipe) -> AutoencoderKL:
    """The autoencoder in a diffusers folder, in float32. ValueError where it is not of the recipe's latents."""
    model = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32, local_files_only=True)
    if model.config["latent_channels"] != recipe.latent_channels:
        raise ValueError(
            f"{folder} has {model.config['latent_channels']} latent channels, the recipe {recipe.latent_channels}"
        )
    return model.eval().requires_grad_(False)


@torch.no_grad()
def encode_latents(folder: Path, autoencoder: AutoencoderKL, images: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every image's latents, (n, c, 16, 16) each; parts in `folder` are kept."""
    device = training_device()
    parts = []
    for first in range(0, len(images), CHUNK):
        path = folder / f"{first:06d}.safetensors"
        if not path.exists():
            means, deviations = [], []
            for batch in as_tensor(images[first : first + CHUNK]).split(50):
                with reduced_precision(device):
                    posterior = autoencoder.encode(batch.to(device)).latent_dist
                means.append(posterior.mean.float().cpu())
                deviations.append(posterior.std.float().cpu())
            save_tensors(path, {"mean": torch.cat(means), "std": torch.cat(deviations)}, {})
            log.info("%s: %d of %d", folder.name, first, len(images))
        parts.append(load_file(path))
    return torch.cat([part["mean"] for part in parts]), torch.cat([part["std"] for part in parts])


def unit_scaling(means: Tensor, deviations: Tensor) -> float:
    """The factor that brings latents to unit deviation."""
    return round(1 / (means.var() + deviations.square().mean()).sqrt().item(), 5)
