"""atomtune doctor: is this installation well, and what should an issue say about it?"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import AtomtuneError
from ..runtime.units import counted, size
from .console import Console, fields

if TYPE_CHECKING:
    from ..doctor.checks import Health

BUILDS = {"CUDA": "cuda", "ROCm": "hip"}


def doctor(console: Console) -> None:
    """Check versions, devices, caches and disks, and print a block that can be pasted into an issue.

    Asks no network. Ends with exit code 1 where something is wrong.

    Examples:
        atomtune doctor
    """
    from ..doctor.checks import check_installation

    console.info("Looking at the packages, this takes some seconds")
    health = check_installation()
    console.result({**asdict(health), "well": health.well}, _text(health))
    count = sum(problem.serious for problem in health.problems)
    if count:
        raise AtomtuneError(
            f"{counted(count, 'problem')} found", "each is listed at the end of the report with what to do about it"
        )


def _text(health: "Health") -> str:
    devices = health.devices
    versions = "  ".join(f"{name} {version or '-'}" for name, version in health.versions.items())
    pairs = {
        "atomtune": f"{health.atomtune}, Python {health.python}",
        "system": health.system + (", in a container" if health.container else ""),
        "packages": versions,
        "processor": _processor(health),
        **{f"GPU {i}": _gpu(gpu) for i, gpu in enumerate(devices["gpus"])},
        "torch for": next((f"{name} {devices[key]}" for name, key in BUILDS.items() if devices[key]), "CPU"),
        "driver": devices["driver"] or "none",
        **{
            f"{name} cache": f"{_home(cache['path'])}, {size(cache['bytes'])}, {size(health.free[name])} free"
            for name, cache in health.caches.items()
        },
        "here": f"{size(health.free['working folder'])} free",
        "settings": "  ".join(f"{name}={_home(value)}" for name, value in health.settings.items()) or "none",
    }
    lines = [fields(pairs), *_problems(health)]
    return "\n".join(["```text", *lines, "```"])


def _problems(health: "Health") -> Iterator[str]:
    for problem in sorted(health.problems, key=lambda problem: not problem.serious):
        yield f"\n{'PROBLEM' if problem.serious else 'note'}: {_home(problem.message)}\n  {_home(problem.hint)}"
    if health.well:
        yield "\nno problems"


def _processor(health: "Health") -> str:
    devices = health.devices
    memory = f", {size(devices['memory'])} memory" if devices["memory"] else ""
    threads = f", {devices['threads']} threads" if devices["threads"] else ""
    return f"{devices['cpu_cores']} cores{threads}{memory}" + (", Apple GPU (MPS)" if devices["mps"] else "")


def _gpu(gpu: dict[str, object]) -> str:
    return f"{gpu['name']}, {size(float(str(gpu['bytes'])))}, compute capability {gpu['capability']}"


def _home(text: str) -> str:
    """Leave the user's name out of what goes into an issue."""
    return text.replace(str(Path.home()), "~") if Path.home() != Path("/") else text
