"""Trainings of one UNet, ready for their steps: ours as `atomtune train` makes it, peft's as its users run it."""

import argparse
import gc
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from diffusers.training_utils import cast_training_params
from peft import LoraConfig
from torch import Tensor

from atomtune.adapt import DEFAULT, adapted_layers, swap
from atomtune.core.deltas import WeightDelta
from atomtune.core.precision import DTYPES
from atomtune.data.concept import Concept
from atomtune.methods import METHODS
from atomtune.methods.base import Tuning, switched_off
from atomtune.methods.select import select_layers
from atomtune.methods.specs import PRESETS
from atomtune.models.base_model import load_unet, resolve
from atomtune.models.conditioning import Embeddings
from atomtune.models.decomposition import load_or_decompose
from atomtune.models.options import PRECISIONS
from atomtune.runtime.malloc import keep_freed_memory
from atomtune.runtime.progress import Events
from atomtune.training.data import Batches, Latents
from atomtune.training.loop import Loop
from atomtune.training.loss import Objective
from atomtune.training.model import Tuned, place
from atomtune.training.optimizers import make_optimizer, make_schedule
from atomtune.training.options import TrainOptions
from atomtune.training.preservation import EncodedPrompts, preservation_of
from atomtune.training.run_folder import RunFolder
from atomtune.training.setup import choose_stepping, make_accelerator

from .concepts import PRESET, RANK

PIXELS = 8  # a side of a latent stands for so many
TOKENS = 77


@dataclass(frozen=True)
class Training:
    """One that is ready.

    Attributes:
        step: takes a step and returns the loss that it began with.
        parameters: how many numbers are trained.
    """

    step: Callable[[], float]
    parameters: int


class Strict(Events):
    """Warnings are errors: what is measured must be what is said to be measured."""

    def warn(self, text: str) -> None:
        """See `Events.warn`."""
        raise RuntimeError(text)


class ByAutograd(WeightDelta):
    """A delta's change without a form that `core.functional` takes: autograd follows the weight W + ΔW by itself."""

    def __init__(self, delta: WeightDelta) -> None:
        super().__init__()
        self.delta = delta

    def delta_weight(self, weight: Tensor) -> Tensor:
        """See `WeightDelta.delta_weight`."""
        return self.delta.delta_weight(weight)

    def compact(self) -> None:
        """See `WeightDelta.compact`."""
        self.delta.compact()


class Trainings:
    """Makes them; each loads the UNet anew. All see the same noise, timesteps and captions, at batch 1.

    Args:
        model: a diffusers folder.
        side: of the images, in pixels.
    """

    def __init__(self, model: str, device: torch.device, precision: str, side: int) -> None:
        self.source = resolve(model)
        self.device = device
        self.options = TrainOptions(
            concept=Concept("castle", "castle"),
            images=Path("images"),
            device=str(device),
            precision=precision,
            resolution=side,
        )
        self.objective = Objective(DDPMScheduler.from_pretrained(self.source.location, subfolder="scheduler"))
        self._base: str | None = None

    def ours(self, by_autograd: bool = False, **changes: Any) -> Training:
        """Atoms of the preset C2.

        Args:
            by_autograd: without `core.functional`.
            changes: of the training's options.
        """
        keep_freed_memory()  # as `train` does, and as early
        unet, spec = load_unet(self.source), PRESETS[PRESET]
        decomposition, report = load_or_decompose(
            unet, self.source, spec, base_fingerprint=self._base, events=Strict(), device=self.device
        )
        self._base = report.base_fingerprint
        tuning = METHODS["atoms"].attach(unet, spec, decomposition=decomposition)
        if by_autograd:
            swap(unet, {name: ByAutograd(_delta(layer)) for name, layer in adapted_layers(unet).items()})
        return self._looped(unet, tuning, METHODS["atoms"].learning_rate, **changes)

    def full(self) -> Training:
        """Every parameter of the UNet, by our loop."""
        keep_freed_memory()
        unet, method = load_unet(self.source), METHODS["full"]
        return self._looped(unet, method.attach(unet, method.spec()), method.learning_rate)

    def peft(self, layers: str, keep_freed: bool = False) -> Training:
        """A LoRA as diffusers' script for DreamBooth trains it: its own types, optimiser and clipping.

        Args:
            layers: as for `select_layers`.
            keep_freed: with the C library's allocator set as ours have it.
        """
        if keep_freed:
            keep_freed_memory()
        unet: Any = load_unet(self.source)
        accelerator = make_accelerator(self.options, None, RunFolder(Path()))
        kind = DTYPES[self.options.precision]
        unet.to(self.device, dtype=kind)
        torch.manual_seed(0)
        chosen = "|".join(map(re.escape, select_layers(unet, layers)))
        unet.add_adapter(
            LoraConfig(r=RANK, lora_alpha=RANK, lora_dropout=0.0, init_lora_weights="gaussian", target_modules=chosen)
        )
        if self.options.precision == "fp16":
            cast_training_params(unet, dtype=torch.float32)
        trained = [parameter for parameter in unet.parameters() if parameter.requires_grad]
        model, optimizer = accelerator.prepare(unet, torch.optim.AdamW(trained, lr=1e-4, weight_decay=1e-2))
        model.train()
        batches, condition = self._material(unet)
        states = condition.states.to(self.device, kind)
        steps = iter(range(10**9))

        def step() -> float:
            batch = batches.draw(next(steps))
            latents, noise = (x.to(self.device, kind) for x in (batch.latents, batch.noise))
            timesteps = batch.timesteps.to(self.device)
            noisy = self.objective.noisy(latents, noise, timesteps)
            prediction = model(noisy, timesteps, states, return_dict=False)[0]
            target = self.objective.target(latents, noise, timesteps)
            loss = F.mse_loss(prediction.float(), target.float())
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            return float(loss.detach())

        return Training(step, sum(parameter.numel() for parameter in trained))

    def _looped(self, unet: Any, tuning: Tuning, rate: float, **changes: Any) -> Training:
        """By the product's own loop, put together as `make_loop` does."""
        options, parameters = replace(self.options, lr=rate, **changes), tuning.parameters
        batches, condition = self._material(unet)
        condition = condition.to(self.device, torch.float32)
        other = EncodedPrompts(condition, (0,))
        place(unet, [], options, options.precision, self.device)
        optimizer = make_optimizer(options, parameters.values(), self.device)
        loop = Loop(
            accelerator=make_accelerator(options, None, RunFolder(Path())),
            tuned=Tuned(unet, [], options.resolution or 0),
            parameters=parameters,
            condition=condition,
            objective=self.objective,
            batches=batches,
            optimizer=optimizer,
            schedule=make_schedule(options, optimizer),
            max_grad_norm=options.max_grad_norm,
            preservation=(
                preservation_of(other, batches, options, partial(switched_off, tuning)) if options.preserve else None
            ),
        )
        choose_stepping(loop, options, options.precision, Strict())

        def step() -> float:
            loop.run(loop.step + 1, lambda _loss: True)
            return loop.losses[-1]

        return Training(step, sum(parameter.numel() for parameter in parameters.values()))

    def _material(self, unet: Any) -> tuple[Batches, Embeddings]:
        """Latents of one image and an embedded caption, both random: what they hold costs nothing."""
        generator = torch.Generator().manual_seed(0)
        side = (self.options.resolution or 0) // PIXELS
        mean = torch.randn(1, unet.config.in_channels, side, side, generator=generator)
        states = torch.randn(1, TOKENS, unet.config.cross_attention_dim, generator=generator)
        latents = Latents(mean, torch.full_like(mean, 0.1))
        return Batches(latents, False, self.objective.timesteps, 1, self.options.seed, captions=((0,),)), Embeddings(
            states
        )


def give_back(device: torch.device) -> None:
    """Free what the last training held; nothing may refer to it any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def add_options(parser: argparse.ArgumentParser, side: int | None) -> None:
    """--side and --precision; `side` is the default, None for one by device."""
    parser.add_argument("--side", type=int, default=side)
    parser.add_argument("--precision", choices=PRECISIONS)


def trainings_of(given: argparse.Namespace) -> Trainings:
    """As these options and the model's folder ask for."""
    on_cuda = given.device.type == "cuda"
    precision = given.precision or ("bf16" if on_cuda else "fp32")
    return Trainings(given.model, given.device, precision, given.side or (512 if on_cuda else 256))


def conditions(trainings: Trainings) -> list[str]:
    """What the figures hold for, in words."""
    options = trainings.options
    return [f"{options.resolution}×{options.resolution} pixels", options.precision, "batch 1"]


def note(training: Training, first_loss: float, more: str = "") -> str:
    """A row's note: how much is trained, and where the loss began."""
    return f"{training.parameters:,} parameters; loss of the first step {first_loss:.5f}{more}"


def _delta(layer: Any) -> WeightDelta:
    delta = layer.deltas[DEFAULT]
    assert isinstance(delta, WeightDelta)
    return delta
