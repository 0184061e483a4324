"""What every training stage shares: device, precision, the loop with its checkpoints, and averaged weights."""

import contextlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import torch
import torch.distributed
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .muon import Muon, fast_bfloat16

log = logging.getLogger(__name__)

MATRIX_RATE = 0.02
"""Peak learning rate of weight matrices trained from nothing, in units of their update's singular values."""

LogLine = dict[str, float]


def training_device() -> torch.device:
    """The GPU if there is one, this process's own under torchrun, else the CPU."""
    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu")


def reduced_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Autocast to bfloat16 where the device is fast at it, else nothing."""
    if fast_bfloat16(device):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def share_of_work() -> tuple[int, int]:
    """This process's number and how many there are: more than one under torchrun."""
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    return (torch.distributed.get_rank(), torch.distributed.get_world_size()) if several else (0, 1)


@contextlib.contextmanager
def first_process_first() -> Iterator[None]:
    """What the first process writes is whole before another one does the same, and then finds it there."""
    first = share_of_work()[0] == 0
    if not first:
        torch.distributed.barrier()
    yield
    if first and share_of_work()[1] > 1:
        torch.distributed.barrier()


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Give every process the mean of all processes' gradients, as if their batches were one."""
    _, processes = share_of_work()
    if processes == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= processes
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step, which depend on nothing that happened before it."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


class Trainer:
    """Muon and AdamW; a constant rate after a warm-up, then a decay to zero; averaged weights; resumes by itself.

    The constant rate makes a training that can be prolonged: the checkpoint from which the decay began is kept beside
    the last one, and a longer training goes on from it.
    """

    def __init__(
        self,
        path: Path,
        modules: Mapping[str, nn.Module],
        steps: int,
        rate: float,
        average_decay: float,
        *,
        matrix_rate: float = MATRIX_RATE,
        decay_share: float = 0.2,
        save_every: int = 250,
    ) -> None:
        """Set up the optimisers, and restore the checkpoint at `path` if there is one.

        `modules` are trained together under names that the checkpoint keeps; the rate decays over the last
        `decay_share` of the steps; `average_decay` is that of the averaged weights, 0 for the last weights.
        """
        self.path, self.modules, self.steps, self.average_decay = path, dict(modules), steps, average_decay
        self.steady_path = path.with_name(path.stem + ".steady" + path.suffix)
        self.decay_from = steps - round(decay_share * steps)
        self.save_every = save_every
        self.step = 0
        self.parameters = {
            f"{name}/{key}": parameter
            for name, module in self.modules.items()
            for key, parameter in module.named_parameters()
        }
        self.averages = {key: parameter.detach().clone() for key, parameter in self.parameters.items()}
        matrices = [parameter for key, parameter in self.parameters.items() if is_matrix(key, parameter)]
        others = [parameter for key, parameter in self.parameters.items() if not is_matrix(key, parameter)]
        self.optimizers: dict[torch.optim.Optimizer, float] = {
            Muon(matrices, lr=matrix_rate): matrix_rate,
            torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True): rate,
        }
        kept = self._usable()
        if kept is not None:
            self._restore(kept)

    def run(self, loss_at: Callable[[int], tuple[Tensor, LogLine]]) -> None:
        """Train until `steps`; `loss_at(step)` must take its randomness from the step's number alone."""
        started, first, sums = time.monotonic(), self.step, dict[str, float]()
        while self.step < self.steps:
            for optimizer, rate in self.optimizers.items():
                for group in optimizer.param_groups:
                    group["lr"] = rate * self._progress()
            loss, line = loss_at(self.step)
            loss.backward()
            average_gradients(self.parameters.values())
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad()
            self.step += 1
            self._average()
            for key, value in line.items():
                sums[key] = sums.get(key, 0.0) + value / 50
            if self.step % 50 == 0:
                pace = (time.monotonic() - started) / (self.step - first)
                figures = " ".join(f"{key} {value:.4f}" for key, value in sums.items())
                left = (self.steps - self.step) * pace / 60
                log.info(
                    "%s %d/%d %s %.3f s/step %.1f min left", self.path.stem, self.step, self.steps, figures, pace, left
                )
                if not all(math.isfinite(value) for value in sums.values()):
                    raise FloatingPointError(f"{self.path.stem}: the loss is not finite at step {self.step}")
                sums = {}
            if self.step == self.decay_from:
                self._save(self.steady_path)
            if self.step % self.save_every == 0 or self.step == self.steps:
                self._save(self.path)

    def use_averages(self) -> None:
        """Put the averaged weights into the modules (training is over)."""
        with torch.no_grad():
            for key, parameter in self.parameters.items():
                parameter.copy_(self.averages[key])

    def _progress(self) -> float:
        """The learning rate's factor at this step."""
        warm = min(1.0, (self.step + 1) / min(200, max(1, self.steps // 10)))
        left = (self.steps - self.step) / max(1, self.steps - self.decay_from)
        return warm * min(1.0, left)

    def _usable(self) -> Path | None:
        """The checkpoint to go on from: not one whose rate decayed towards the end of a shorter training."""
        for path in (self.path, self.steady_path):
            if path.exists():
                with safe_open(path, "pt") as file:
                    kept = file.metadata()
                if int(kept["steps"]) == self.steps or int(kept["step"]) <= min(
                    int(kept["decay_from"]), self.decay_from
                ):
                    return path
        if self.path.exists():
            raise ValueError(f"{self.path.name} has decayed to another end, and no checkpoint of before is there")
        return None

    def _average(self) -> None:
        decay = min(self.average_decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(
            list(self.averages.values()), [parameter.detach() for parameter in self.parameters.values()], 1 - decay
        )

    def _save(self, path: Path) -> None:
        if share_of_work()[0] != 0:
            return
        tensors = {f"weights/{key}": parameter.detach() for key, parameter in self.parameters.items()}
        tensors |= {f"averages/{key}": average for key, average in self.averages.items()}
        for name, module in self.modules.items():
            tensors |= {f"buffers/{name}/{key}": buffer for key, buffer in module.named_buffers()}
        for key, parameter in self.parameters.items():
            for optimizer in self.optimizers:
                state = optimizer.state.get(parameter, {})
                tensors |= {f"optimizer/{part}/{key}": value for part, value in state.items()}
        numbers = {"step": self.step, "steps": self.steps, "decay_from": self.decay_from}
        save_tensors(path, tensors, {key: str(value) for key, value in numbers.items()})

    def _restore(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            self.step = int(file.metadata()["step"])
            keys = set(file.keys())
            with torch.no_grad():
                for key, parameter in self.parameters.items():
                    parameter.copy_(file.get_tensor(f"weights/{key}"))
                    self.averages[key].copy_(file.get_tensor(f"averages/{key}"))
                    muon, adam = self.optimizers
                    optimizer = muon if is_matrix(key, parameter) else adam
                    for part in ("momentum", "step", "exp_avg", "exp_avg_sq"):
                        if f"optimizer/{part}/{key}" in keys:
                            value = file.get_tensor(f"optimizer/{part}/{key}")
                            optimizer.state[parameter][part] = value.to(parameter.device)
                for name, module in self.modules.items():
                    for key, buffer in module.named_buffers():
                        if f"buffers/{name}/{key}" in keys:
                            buffer.copy_(file.get_tensor(f"buffers/{name}/{key}"))
        log.info("%s: resumed at step %d", self.path.stem, self.step)


def keep_averages(checkpoint: Path, path: Path) -> None:
    """Write the averaged weights of a checkpoint alone, in float16: what another training can begin from."""
    with safe_open(checkpoint, "pt") as file:
        averages = {
            key.removeprefix("averages/"): file.get_tensor(key).half()
            for key in file.keys()  # noqa: SIM118 - not a mapping
            if key.startswith("averages/")
        }
        save_tensors(path, averages, {"step": file.metadata()["step"]})


@torch.no_grad()
def begin_from_averages(path: Path, modules: Mapping[str, nn.Module]) -> None:
    """Put weights that `keep_averages` wrote into modules of the same names. ValueError where they do not fit."""
    kept = load_file(path)
    mine = {f"{name}/{key}": weight for name, module in modules.items() for key, weight in module.named_parameters()}
    unlike = sorted(
        key
        for key in kept.keys() | mine.keys()
        if key not in kept or key not in mine or kept[key].shape != mine[key].shape
    )
    if unlike:
        raise ValueError(f"{path.name} is of another network: {len(unlike)} weights differ, {unlike[0]} among them")
    for key, weight in mine.items():
        weight.copy_(kept[key])


def is_matrix(key: str, parameter: Tensor) -> bool:
    """Whether Muon trains it: inner weights yes; first and last layers, embeddings, biases and gains no."""
    outer = ("embed", "conv_in", "conv_out", "quant_conv", "visual.conv1", "projection")
    return parameter.ndim >= 2 and not any(part in key for part in outer)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, partial, metadata)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


def save_json(path: Path, content: object) -> None:
    """Write a JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(partial, path)
