"""Refining a LoRA: its factors are trained until the model predicts with them what it predicts with the atoms.

The singular value decomposition makes the output of each layer as near as it can be, one layer at a time. What counts
is the noise that the whole model predicts, on the way to an image of the concept. So the model with the LoRA is made to
predict what the model with the atoms predicts, where that one passes by while it generates (distillation, Hinton et
al. 2015, arXiv 1503.02531).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.precision import all_finite
from ..errors import AtomtuneError
from ..sampling.apply import applied
from .factors import Factors, Layer
from .image_difference import images_of, measured_prompts
from .job import Job

PAIRS = 4
"""Places of a step, each with its prompt and without, as classifier-free guidance has them."""

RATE = 0.01
"""Adam's learning rate as a part of the root mean square of the factor. A training of C3 on pocket,
200 steps: 25.5 dB; at half the rate 25.0, at three times 22.5, without 21.1."""

_BETAS = (0.9, 0.99)
_WARM_UP = 10
_BATCHES = 4
"""Batches of four images that are trained on; one more tells whether it is better for it."""

_SEED = 5000
_SCENES = (
    "a {}",
    "a {} in a field of flowers",
    "a {} at night",
    "a painting of a {}",
    "a {} in a city street",
    "a red {}",
    "a {} in front of a mountain",
    "a close-up of a {}",
)
"""Prompts beside the captions; none of those that a PSNR is measured on."""


_TAKEN = ("encoder_hidden_states", "added_cond_kwargs")


@dataclass(frozen=True)
class _Call:
    """A call of the denoiser by a batch: what it was given, the rows without a prompt first, and what it predicted."""

    sample: Tensor
    timestep: Tensor
    kwargs: Mapping[str, Any]
    prediction: Tensor

    @property
    def pairs(self) -> int:
        return len(self.sample) // 2


def refined(job: Job, factors: Mapping[Layer, Factors], steps: int) -> dict[Layer, Factors]:
    """The factors of the denoiser's layers after so many steps; those of text encoders stay as they are.

    Prompts and seeds are others than those that `Job.psnr_of` measures. The same on the same machine each time. What
    is not nearer on images that were not trained on is not taken, with a warning.

    Raises AtomtuneError where the training leaves what numbers can be.
    """
    chosen = {layer: item for layer, item in factors.items() if layer[0] == "unet"}
    if not chosen:
        job.events.warn("--refine changes nothing: the LoRA is of text encoders alone")
        return dict(factors)
    calls, held_out = _teacher(job)
    job.events.phase("refining the LoRA")
    start = {layer: _trainable(item, job.device) for layer, item in chosen.items()}
    before = _error(job, chosen, start, held_out)
    trained = _train(job, chosen, start, calls, steps)
    found = {}
    for layer, item in chosen.items():
        up, down = (factor.detach().to("cpu", job.dtype) for factor in trained[layer])
        if not (all_finite(up) and all_finite(down)):
            raise AtomtuneError(f"{'.'.join(layer)}: a refined factor is not finite", "use --precision fp32")
        found[layer] = replace(item, up=up, down=down, gains=None)
    after = _error(job, found, {layer: _trainable(item, job.device) for layer, item in found.items()}, held_out)
    if not after < before:
        change = f"{before:.3g} to {after:.3g}"
        job.events.warn(
            f"refining made predictions worse ({change}), so the LoRA is as it was: more --refine steps may help"
        )
        return dict(factors)
    job.events.phase(f"refined: the mean square of what predictions differ by went from {before:.3g} to {after:.3g}")
    return {layer: found.get(layer, item) for layer, item in factors.items()}


def _teacher(job: Job) -> tuple[list[_Call], list[_Call]]:
    """What the model with the atoms is given and predicts while it generates: to train on, and some held out."""
    job.events.phase("generating with the atoms, to learn what they predict")
    measured = {prompt for prompt, _ in measured_prompts(job.triggers)}
    captions = [caption for caption in job.captions if caption not in measured]
    triggers, count = job.triggers, 4 * (_BATCHES + 1)
    scenes = [text.format(triggers[i % len(triggers)]) for i, text in enumerate(_SCENES)]
    own = captions or scenes
    prompts = [own[i // 2 % len(own)] if i % 2 else scenes[i // 2 % len(scenes)] for i in range(count)]
    calls: list[_Call] = []
    with applied(job.pipeline, job.loaded, job.events), _recorded(job.pipeline.unet, calls):
        images_of(job.pipeline, [(prompt, _SEED + i) for i, prompt in enumerate(prompts)], job.events)
    of_a_batch = len(calls) // (_BATCHES + 1)
    return calls[:-of_a_batch], calls[-of_a_batch::6]


@contextmanager
def _recorded(unet: nn.Module, calls: list[_Call]) -> Iterator[None]:
    def see(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        sample, timestep = args
        taken = {name: value for name, value in kwargs.items() if name in _TAKEN}
        calls.append(_Call(sample.cpu(), torch.as_tensor(timestep).cpu(), taken, output[0].cpu()))

    handle = unet.register_forward_hook(see, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _trainable(item: Factors, device: torch.device) -> tuple[Tensor, Tensor]:
    return item.up.to(device, torch.float32, copy=True), item.down.to(device, torch.float32, copy=True)


@contextmanager
def _with_factors(
    pipeline: Any, items: Mapping[Layer, Factors], factors: Mapping[Layer, tuple[Tensor, Tensor]]
) -> Iterator[None]:
    """A context within which layers add what their factors make of the input: gradients reach the factors alone."""
    handles = []
    for (part, name), item in items.items():
        scale = item.alpha / item.rank
        hook = partial(_added, scale=scale, factors=factors[part, name])
        handles.append(getattr(pipeline, part).get_submodule(name).register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _added(
    module: Any, inputs: tuple[Tensor, ...], output: Tensor, scale: float, factors: tuple[Tensor, Tensor]
) -> Tensor:
    (x,), (up, down) = inputs[:1], factors
    if not isinstance(module, nn.Conv2d):
        return output + scale * F.linear(F.linear(x, down), up)
    kernel = down.unflatten(1, module.weight.shape[1:])
    inner = F.conv2d(x, kernel, None, module.stride, module.padding, module.dilation)
    return output + scale * F.conv2d(inner, up[:, :, None, None])


def _train(
    job: Job,
    items: Mapping[Layer, Factors],
    start: Mapping[Layer, tuple[Tensor, Tensor]],
    calls: Sequence[_Call],
    steps: int,
) -> dict[Layer, tuple[Tensor, Tensor]]:
    """The factors after Adam, whose rate rises for some steps and falls along half a cosine."""
    factors = {
        layer: (up.clone().requires_grad_(), down.clone().requires_grad_()) for layer, (up, down) in start.items()
    }
    tensors = [tensor for pair in factors.values() for tensor in pair]
    rates = [RATE * float(tensor.detach().square().mean().sqrt()) for tensor in tensors]
    optimizer = torch.optim.Adam([{"params": [tensor]} for tensor in tensors], betas=_BETAS)
    generator = torch.Generator().manual_seed(_SEED)
    job.events.begin("refining", steps)
    with _with_factors(job.pipeline, items, factors):
        for step in range(steps):
            part = min(1.0, (step + 1) / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * part
            picked = [_pair(calls, generator) for _ in range(PAIRS)]
            loss = _distance(job.pipeline, picked, job.device)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            job.events.advance()
    job.events.end()
    return factors


def _pair(calls: Sequence[_Call], generator: torch.Generator) -> tuple[_Call, int]:
    call = calls[int(torch.randint(len(calls), (), generator=generator))]
    return call, int(torch.randint(call.pairs, (), generator=generator))


@torch.no_grad()
def _error(
    job: Job,
    items: Mapping[Layer, Factors],
    factors: Mapping[Layer, tuple[Tensor, Tensor]],
    calls: Sequence[_Call],
) -> float:
    """The mean square of what predictions differ by."""
    with _with_factors(job.pipeline, items, factors):
        found = [float(_distance(job.pipeline, [(call, i) for i in range(call.pairs)], job.device)) for call in calls]
    return sum(found) / len(found)


def _distance(pipeline: Any, picked: Sequence[tuple[_Call, int]], device: torch.device) -> Tensor:
    """The mean squared difference of predictions, with the prompt and without, for these places; a scalar."""

    def rows(values: Sequence[Tensor]) -> Tensor:
        chosen = [value[[i, i + call.pairs]] for value, (call, i) in zip(values, picked, strict=True)]
        return torch.cat(chosen).to(device)

    calls = [call for call, _ in picked]
    kwargs: dict[str, Any] = {"encoder_hidden_states": rows([call.kwargs["encoder_hidden_states"] for call in calls])}
    if added := calls[0].kwargs.get("added_cond_kwargs"):
        kwargs["added_cond_kwargs"] = {
            name: rows([call.kwargs["added_cond_kwargs"][name] for call in calls]) for name in added
        }
    steps = torch.stack([call.timestep for call in calls]).repeat_interleave(2).to(device)
    predicted = pipeline.unet(rows([call.sample for call in calls]), steps, **kwargs, return_dict=False)[0]
    return F.mse_loss(predicted.float(), rows([call.prediction for call in calls]).float())
