"""Times of work on a device, a trace of it, and the way to print them."""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from atomtune.models.base_model import pick_device

T = TypeVar("T")


def timed(work: Callable[[], T], device: torch.device) -> tuple[float, T]:
    """Seconds that some work takes, the device's share included, and what it returns."""
    _wait(device)
    began = time.perf_counter()
    result = work()
    _wait(device)
    return time.perf_counter() - began, result


def median(work: Callable[[], object], device: torch.device, times: int) -> float:
    """The median of the seconds that some work takes; on a GPU after a first time that does not count."""
    if device.type != "cpu":
        work()
    return statistics.median(timed(work, device)[0] for _ in range(times))


def trace(work: Callable[[], object], device: torch.device, path: Path) -> None:
    """Do some work under torch's profiler, and write what it saw, for chrome://tracing or Perfetto."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities, record_shapes=True) as profiler:
        timed(work, device)
    path.parent.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(path))


def parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """The options that all of these programs have: the model's folder, the device, where a trace goes."""
    options = argparse.ArgumentParser(prog=name, description=about)
    options.add_argument("model", help="a diffusers folder")
    options.add_argument("--device", type=pick_device, default=pick_device("cpu"))
    options.add_argument("--profile", type=Path, metavar="DIR")
    return options


def give(figures: Mapping[str, Any]) -> int:
    """Print what was measured; the program's exit code."""
    print(json.dumps(figures))
    return 0


def row(what: str, seconds: float, note: str = "", **more: Any) -> dict[str, Any]:
    """A line of a benchmark's table."""
    return {"what": what, "seconds": seconds, "note": note, **more}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
