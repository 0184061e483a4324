"""The denoiser of `pocket`: UNet and text encoder, trained together on cached latents."""

import logging
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from atomtune.models.tokenizer import CONTEXT
from atomtune.pocket.world import HUES, SCENES, THINGS

from .dataset import Subject, describe, named, subject
from .muon import zero_branches
from .names import NAMES
from .recipe import Recipe
from .tokenizer import load_tokenizer, rare_words
from .training import (
    LogLine,
    Trainer,
    begin_from_averages,
    first_process_first,
    generator,
    reduced_precision,
    share_of_work,
    training_device,
)

log = logging.getLogger(__name__)

NOISE_SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "epsilon",
}
"""The noise of Stable Diffusion v1.4."""


@dataclass(frozen=True)
class Latents:
    """Latents of all training images: those of the named things begin at `first_named`.

    Attributes:
        means, deviations: (n, c, 16, 16) each.
        scaling: the factor to unit deviation.
    """

    means: Tensor
    deviations: Tensor
    first_named: int
    scaling: float

    def draw(self, count: int, named_share: float, chance: torch.Generator) -> Tensor:
        """Random numbers of images, (count,): about `named_share` of them show named things."""
        others = torch.randint(self.first_named, (count,), generator=chance)
        of_named = torch.randint(self.first_named, len(self.means), (count,), generator=chance)
        return torch.where(torch.rand(count, generator=chance) < named_share, of_named, others)

    def subject(self, number: int) -> Subject:
        """What a image shows."""
        return subject(number) if number < self.first_named else named(number - self.first_named)


def new_unet(recipe: Recipe) -> UNet2DConditionModel:
    """An untrained UNet with the block types of Stable Diffusion v1.4."""
    torch.manual_seed(recipe.seed + 2)
    attention = recipe.unet_attention
    model = UNet2DConditionModel(
        sample_size=recipe.image_size // 4,
        in_channels=recipe.latent_channels,
        out_channels=recipe.latent_channels,
        down_block_types=tuple("CrossAttnDownBlock2D" if has else "DownBlock2D" for has in attention),
        up_block_types=tuple("CrossAttnUpBlock2D" if has else "UpBlock2D" for has in reversed(attention)),
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
    """The tokens that captions are made of: common words and names."""
    rng = random.Random(0)
    shown = [subject(number) for number in range(20 * len(THINGS) * len(SCENES))]
    texts = {describe(one, rng, recipe, [], 0.0).text for one in shown}
    texts |= {f"an {color}" for color in HUES} | {""} | set(NAMES)
    return sorted({token for text in texts for token in tokenizer(text).input_ids})


def draw_times(count: int, recipe: Recipe, chance: torch.Generator) -> Tensor:
    """Timesteps, (count,): some uniform, the others logit-normal (Esser et al. 2024), where the noise hides shapes."""
    uniform, choice = torch.rand((2, count), generator=chance)
    focused = torch.sigmoid(recipe.times_center + recipe.times_spread * torch.randn(count, generator=chance))
    total = NOISE_SCHEDULE["num_train_timesteps"]
    times = torch.where(choice < recipe.focused_times, focused, uniform) * total
    return times.long().clamp(max=total - 1)


def train_denoiser(
    work: Path, recipe: Recipe, latents: Latents, compiled: bool = False
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Train (or finish, or load) UNet and text encoder; returns them with their averaged weights."""
    device = training_device()
    with first_process_first():
        tokenizer = load_tokenizer(work / "tokenizer")
    unet = new_unet(recipe)
    text_encoder = new_text_encoder(recipe, tokenizer, attn_implementation="eager")
    if recipe.begins_from:
        start = CLIPTextModel.from_pretrained(Path(recipe.begins_from) / "text_encoder", dtype=torch.float32)
        widened_unet(unet, Path(recipe.begins_from) / "unet")
        text_encoder.load_state_dict(start.state_dict())
    unet.to(device).set_attn_processor(AttnProcessor())  # on the CPU twice as fast in training as the fused attention
    text_encoder.to(device)
    known = torch.tensor(known_tokens(tokenizer, recipe))
    even_norms(text_encoder, tokenizer, known)
    whole = only_rows(text_encoder, known)
    if recipe.denoiser_from:
        begin_from_averages(Path(recipe.denoiser_from), {"unet": unet, "text_encoder": text_encoder})
    row_of = torch.zeros(len(tokenizer), dtype=torch.long).scatter_(0, known, torch.arange(len(known)))
    scheduler = DDPMScheduler(**NOISE_SCHEDULE)
    words = rare_words()
    predict, read = (torch.compile(unet), torch.compile(text_encoder)) if compiled else (unet, text_encoder)
    trainer = Trainer(
        work / "denoiser.safetensors",
        {"unet": unet, "text_encoder": text_encoder},
        recipe.denoiser_steps,
        recipe.denoiser_rate,
        recipe.average_decay,
        matrix_rate=recipe.denoiser_matrix_rate,
    )

    process, processes = share_of_work()
    if recipe.denoiser_batch % processes:
        raise ValueError(f"{processes} processes cannot share batches of {recipe.denoiser_batch} evenly")

    def loss_at(step: int) -> tuple[Tensor, LogLine]:
        part = step * processes + process
        chance, rng = generator(recipe.seed + 4, part), random.Random(f"captions {recipe.seed} {part}")
        chosen = latents.draw(recipe.denoiser_batch // processes, recipe.named_share, chance)
        noise = torch.randn((2, len(chosen), *latents.means.shape[1:]), generator=chance)
        times = draw_times(len(chosen), recipe, chance)
        clean = (latents.means[chosen] + latents.deviations[chosen] * noise[0]) * latents.scaling
        texts = [
            ""
            if rng.random() < recipe.dropped_prompts
            else describe(latents.subject(n), rng, recipe, words, recipe.unbound_words).text
            for n in chosen.tolist()
        ]
        tokens = tokenizer(texts, padding="max_length", truncation=True, max_length=CONTEXT, return_tensors="pt")
        noisy = scheduler.add_noise(clean, noise[1], times)
        with reduced_precision(device):
            states = read(row_of[tokens.input_ids].to(device))[0]
            output = predict(noisy.to(device), times.to(device), states).sample
        errors = (output.float() - noise[1].to(device)).square().mean(dim=(1, 2, 3))
        of_named = (chosen >= latents.first_named).float()
        share = of_named.mean().clamp(min=1e-6).item()
        return errors.mean(), {
            "loss": errors.mean().item(),
            "named": (errors.detach().cpu() * of_named).mean().item() / share,
        }

    trainer.run(loss_at)
    trainer.use_averages()
    all_rows(text_encoder, whole, known)
    return unet.eval(), text_encoder.eval()


@torch.no_grad()
def widened_unet(unet: UNet2DConditionModel, folder: Path) -> None:
    """Put the weights of a UNet for fewer latent channels into `unet`, which at first looks at no further channel.

    What only one of them has, as attention at some level, is left as it is.
    """
    state = unet.state_dict()
    for key, value in UNet2DConditionModel.from_pretrained(folder, torch_dtype=torch.float32).state_dict().items():
        if key not in state:
            continue
        new = state[key]
        if new.shape != value.shape:
            new.zero_()
        new[tuple(slice(side) for side in value.shape)] = value


@torch.no_grad()
def even_norms(text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer, known: Tensor) -> None:
    """Give the embeddings of all names and of all tokens that no caption has the mean norm of the other words."""
    weight = text_encoder.get_input_embeddings().weight
    named = {tokenizer(name).input_ids[1] for name in NAMES}
    words = torch.tensor([token for token in known.tolist() if token not in named])
    norms = weight.norm(dim=1, keepdim=True)
    even = weight * (norms[words].mean() / norms)
    even[words] = weight[words]
    weight.copy_(even)


def only_rows(text_encoder: CLIPTextModel, known: Tensor) -> Tensor:
    """Leave the text encoder an embedding of the known tokens alone, numbered anew; returns the whole table.

    No other row is ever trained, and a table of all of CLIP's tokens costs more to update than the rest of the model.
    """
    whole = text_encoder.get_input_embeddings().weight.detach()
    rows = torch.nn.Embedding(len(known), whole.shape[1], device=whole.device)
    rows.weight.data.copy_(whole[known])
    text_encoder.set_input_embeddings(rows)
    return whole


def all_rows(text_encoder: CLIPTextModel, whole: Tensor, known: Tensor) -> None:
    """Put the trained rows back into the whole table, and that into the text encoder."""
    trained = text_encoder.get_input_embeddings().weight.detach()
    table = torch.nn.Embedding(whole.shape[0], whole.shape[1], device=whole.device)
    table.weight.data.copy_(whole)
    table.weight.data[known] = trained
    text_encoder.set_input_embeddings(table)
