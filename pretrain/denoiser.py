"""The denoiser of `pocket`: UNet and text encoder, trained together on cached latents."""

import logging
import random
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from atomtune.models.tokenizer import CONTEXT
from atomtune.pocket.world import HUES, SCENES, THINGS

from .dataset import describe, subject
from .muon import zero_branches
from .recipe import Recipe
from .tokenizer import load_tokenizer, rare_words
from .training import LogLine, Trainer, generator, reduced_precision, training_device

log = logging.getLogger(__name__)

NOISE_SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "epsilon",
}
"""The noise of Stable Diffusion v1.4."""


def new_unet(recipe: Recipe) -> UNet2DConditionModel:
    """An untrained UNet with the block types of Stable Diffusion v1.4."""
    torch.manual_seed(recipe.seed + 2)
    levels = len(recipe.unet_channels)
    model = UNet2DConditionModel(
        sample_size=recipe.picture_size // 4,
        in_channels=recipe.latent_channels,
        out_channels=recipe.latent_channels,
        down_block_types=("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
        block_out_channels=recipe.unet_channels,
        layers_per_block=1,
        cross_attention_dim=recipe.text_width,
        attention_head_dim=recipe.unet_heads,  # as in v1.4, diffusers reads this as the number of heads
        norm_num_groups=16,
    )
    zero_branches(model)
    torch.nn.init.zeros_(model.conv_out.weight)
    return model


def new_text_encoder(recipe: Recipe, tokenizer: CLIPTokenizer, **options: str) -> CLIPTextModel:
    """An untrained CLIP text encoder over the full vocabulary."""
    torch.manual_seed(recipe.seed + 3)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.text_width,
        intermediate_size=4 * recipe.text_width,
        num_hidden_layers=recipe.text_layers,
        num_attention_heads=recipe.text_heads,
        max_position_embeddings=CONTEXT,
        projection_dim=recipe.text_width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **options,
    )
    return CLIPTextModel(config)


def known_tokens(tokenizer: CLIPTokenizer, recipe: Recipe) -> list[int]:
    """The tokens that captions are made of, rare words left out."""
    rng = random.Random(0)
    texts = {describe(subject(number), rng, recipe, ["a"]).text for number in range(20 * len(THINGS) * len(SCENES))}
    texts |= {f"an {color}" for color in HUES} | {""}
    return sorted({token for text in texts for token in tokenizer(text).input_ids})


def draw_times(count: int, recipe: Recipe, chance: torch.Generator) -> Tensor:
    """Timesteps, (count,): some uniform, the others logit-normal (Esser et al. 2024), where the noise hides shapes."""
    uniform, choice = torch.rand((2, count), generator=chance)
    focused = torch.sigmoid(recipe.times_center + recipe.times_spread * torch.randn(count, generator=chance))
    total = NOISE_SCHEDULE["num_train_timesteps"]
    times = torch.where(choice < recipe.focused_times, focused, uniform) * total
    return times.long().clamp(max=total - 1)


def train_denoiser(
    work: Path, recipe: Recipe, means: Tensor, deviations: Tensor, scaling: float, compiled: bool = False
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Train (or finish, or load) UNet and text encoder; returns them with their averaged weights."""
    device = training_device()
    tokenizer = load_tokenizer(work / "tokenizer")
    unet = new_unet(recipe).to(device)
    unet.set_attn_processor(AttnProcessor())  # on the CPU twice as fast in training as the fused attention
    text_encoder = new_text_encoder(recipe, tokenizer, attn_implementation="eager").to(device)
    freeze_unknown_tokens(text_encoder.get_input_embeddings(), known_tokens(tokenizer, recipe))
    scheduler = DDPMScheduler(**NOISE_SCHEDULE)
    words = rare_words()
    predict, read = (torch.compile(unet), torch.compile(text_encoder)) if compiled else (unet, text_encoder)
    trainer = Trainer(
        work / "denoiser.safetensors",
        {"unet": unet, "text_encoder": text_encoder},
        recipe.denoiser_steps,
        recipe.denoiser_rate,
        recipe.average_decay,
    )

    def loss_at(step: int) -> tuple[Tensor, LogLine]:
        chance, rng = generator(recipe.seed + 4, step), random.Random(f"captions {recipe.seed} {step}")
        chosen = torch.randint(len(means), (recipe.denoiser_batch,), generator=chance)
        noise = torch.randn((2, len(chosen), *means.shape[1:]), generator=chance)
        times = draw_times(len(chosen), recipe, chance)
        latents = (means[chosen] + deviations[chosen] * noise[0]) * scaling
        texts = [
            "" if rng.random() < recipe.dropped_prompts else describe(subject(n), rng, recipe, words).text
            for n in chosen.tolist()
        ]
        tokens = tokenizer(texts, padding="max_length", truncation=True, max_length=CONTEXT, return_tensors="pt")
        noisy = scheduler.add_noise(latents, noise[1], times)
        with reduced_precision(device):
            states = read(tokens.input_ids.to(device))[0]
            output = predict(noisy.to(device), times.to(device), states).sample
        loss = F.mse_loss(output.float(), noise[1].to(device))
        return loss, {"loss": loss.item()}

    trainer.run(loss_at)
    trainer.use_averages()
    return unet.eval(), text_encoder.eval()


def freeze_unknown_tokens(embedding: torch.nn.Module, known: list[int]) -> None:
    """Let only known tokens learn: all others stay random draws of one kind, the reserved word among them."""
    weight = embedding.weight
    assert isinstance(weight, Tensor)
    mask = torch.zeros(len(weight), 1, device=weight.device)
    mask[known] = 1
    weight.register_hook(lambda gradient: gradient * mask)
