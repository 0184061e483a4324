"""Checks of the installation: facts for a bug report, and every problem with what to do about it.

Imports none of the heavy packages: it has to work where they are broken. See `import_probe`.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import __version__
from ..files.atomic_folder import bytes_in
from ..files.cache import CACHE_VARIABLE, cache_folder
from .import_probe import OPTIONAL

PACKAGES = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "open_clip_torch",
    "safetensors",
    "huggingface_hub",
    "numpy",
    "pillow",
    "typer",
)
VARIABLES = (
    CACHE_VARIABLE,
    "ATOMTUNE_MODEL",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "PYTORCH_CUDA_ALLOC_CONF",
)
"""Environment variables to report; none of them is secret."""

LEAST_FREE = 1_000_000_000
SHORT_FREE = 10_000_000_000  # SD v1.4 in float32 is a download of about 5.5 GB, its decomposition up to 1.1 GB
_REINSTALL = "install again, all at once: pip install -e . -c constraints.txt"
_PROBE_SECONDS = 600


@dataclass(frozen=True)
class Problem:
    """A problem of the installation and what to do about it; one that is not `serious` is only worth knowing."""

    message: str
    hint: str
    serious: bool = True


@dataclass
class Health:
    """The result of `check_installation`. Sizes in bytes; paths as text."""

    atomtune: str
    python: str
    system: str
    container: bool
    versions: dict[str, str | None]
    devices: dict[str, Any]
    caches: dict[str, dict[str, Any]]
    free: dict[str, int]
    settings: dict[str, str]
    problems: list[Problem] = field(default_factory=list)

    @property
    def well(self) -> bool:
        """True where nothing serious was found."""
        return not any(problem.serious for problem in self.problems)


def check_installation() -> Health:
    """Check versions, devices, caches and disks. Takes some seconds; no network."""
    versions = {name: _version(name) for name in PACKAGES}
    probed = _probe()
    devices = _devices(probed)
    hub = Path(str(probed.hub.get("cache") or Path.home() / ".cache" / "huggingface" / "hub"))
    caches = {"hub": hub, "atomtune": cache_folder()}
    health = Health(
        atomtune=__version__,
        python=platform.python_version(),
        system=platform.platform(),
        container=Path("/.dockerenv").exists() or Path("/run/.containerenv").exists(),
        versions=versions,
        devices=devices,
        caches={name: {"path": str(path), "bytes": bytes_in(path)} for name, path in caches.items()},
        free={},
        settings={name: os.environ[name] for name in VARIABLES if name in os.environ},
    )
    health.problems += _package_problems(versions, probed) + _device_problems(devices, health.container)
    for name, path in {**caches, "working folder": Path.cwd()}.items():
        existing = next(folder for folder in (path, *path.parents) if folder.exists())
        health.free[name] = shutil.disk_usage(existing).free
        health.problems += _place_problems(name, path, existing, health.free[name])
    return health


@dataclass
class _Probed:
    """Output of the probe: the error chain of each package that failed, and facts about torch and the hub."""

    failed: dict[str, list[str]] = field(default_factory=dict)
    torch: dict[str, Any] = field(default_factory=dict)
    hub: dict[str, Any] = field(default_factory=dict)


def _probe() -> _Probed:
    # -P: the script's own folder stays out of the way of the packages' modules
    command = [sys.executable, "-P", str(Path(__file__).with_name("import_probe.py"))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
        output, end = done.stdout, f"the process ended with {done.returncode}"
    except subprocess.TimeoutExpired as problem:
        raw = problem.stdout or b""
        output = raw.decode(errors="replace") if isinstance(raw, bytes) else raw
        end = f"it did not load within {_PROBE_SECONDS} s; the machine or its disk may be overloaded"
    return read_probe(output, end)


def read_probe(output: str, end: str) -> _Probed:
    """Read the probe's lines. `end` is what became of a package that began and neither worked nor failed."""
    probed, begun, complete = _Probed(), "the probe", False
    for line in output.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # output of a package while it is imported
            continue
        if not isinstance(entry, dict):
            continue
        begun = str(entry.get("package", begun))
        if entry.get("state") == "failed":
            probed.failed[begun] = list(entry["errors"])
        probed.torch = entry.get("torch", probed.torch)
        probed.hub = entry.get("hub", probed.hub)
        complete = complete or bool(entry.get("done"))
    if not complete:
        probed.failed[begun] = [end]
    return probed


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _devices(probed: _Probed) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    names = os.sysconf_names if hasattr(os, "sysconf_names") else {}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if "SC_PHYS_PAGES" in names else None
    nvidia = _nvidia_smi()
    return {
        "cpu_cores": cores,
        "memory": memory,
        "threads": probed.torch.get("threads"),
        "cuda": probed.torch.get("cuda"),
        "hip": probed.torch.get("hip"),
        "cudnn": probed.torch.get("cudnn"),
        "mps": probed.torch.get("mps", False),
        "gpus": probed.torch.get("gpus", []),
        "driver": nvidia,
    }


def _nvidia_smi() -> str | None:
    """The version of NVIDIA's driver, "unknown" where there is a card without nvidia-smi, None without a card."""
    program = shutil.which("nvidia-smi")
    if program:
        query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return "unknown"
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.split()[0]
    return "unknown" if Path("/dev/nvidia0").exists() else None


def _package_problems(versions: Mapping[str, str | None], probed: _Probed) -> list[Problem]:
    problems = []
    torch, torchvision = versions["torch"], versions["torchvision"]
    failed = dict(probed.failed)
    if torchvision and (errors := failed.pop("torchvision", None)):
        problems.append(
            Problem(
                f"torchvision {torchvision} does not match torch {torch}: {errors[-1]}",
                "install the two together, from one index: pip install torch torchvision -c constraints.txt",
            )
        )
        # a torchvision that cannot be imported takes these with it; saying so once is enough
        for name in ("transformers", "diffusers", "open_clip"):
            if any("torchvision" in error for error in failed.get(name, ())):
                del failed[name]
    for name, errors in failed.items():
        missing = any(error.startswith("ModuleNotFoundError") and f"'{name}'" in error for error in errors)
        what = f"{name} is not installed" if missing else f"{name} cannot be used: {errors[-1]}"
        problems.append(Problem(what, _REINSTALL, serious=not (missing and name in OPTIONAL)))
    return problems + _version_problems()


def _version_problems() -> list[Problem]:
    """Packages that are older than atomtune needs."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(text) for text in metadata.requires("atomtune") or ()]
    except metadata.PackageNotFoundError:
        return [Problem("atomtune runs from its folder and is not installed", _REINSTALL, serious=False)]
    problems = []
    for requirement in wanted:
        there = _version(requirement.name)
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if there and applies and not requirement.specifier.contains(there, prereleases=True):
            problems.append(
                Problem(f"{requirement.name} {there} is installed, {requirement.specifier} is needed", _REINSTALL)
            )
    return problems


def _device_problems(devices: Mapping[str, Any], container: bool) -> list[Problem]:
    problems = [
        Problem(
            f"{gpu['name']} (compute capability {gpu['capability']}) cannot compute: {gpu['error']}",
            "install a torch built for this card (pytorch.org), or use --device cpu",
        )
        for gpu in devices["gpus"]
        if gpu["error"]
    ]
    if devices["gpus"] or devices["mps"] or devices["threads"] is None:
        return problems
    if devices["driver"] is None:
        hint = "start the container with --gpus all" if container else "it takes an NVIDIA GPU, or Apple's"
        return [Problem("no GPU: pocket runs well without, Stable Diffusion takes hours", hint, False)]
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return [Problem("CUDA_VISIBLE_DEVICES hides the GPU", "unset it to use the GPU", False)]
    if devices["cuda"] is None:
        return [Problem("there is an NVIDIA GPU, but this torch was built without CUDA", _REINSTALL)]
    return [
        Problem(
            f"torch, built for CUDA {devices['cuda']}, cannot use the NVIDIA GPU with driver {devices['driver']}",
            "update the driver, or install a torch built for an older CUDA (pytorch.org)",
        )
    ]


def _place_problems(name: str, path: Path, existing: Path, free: int) -> list[Problem]:
    gigabytes = f"{free / 1e9:.1f} GB"
    problems = []
    if not os.access(existing, os.W_OK | os.X_OK):
        hint = {
            "hub": "set HF_HOME to a folder that you can write",
            "atomtune": f"set {CACHE_VARIABLE} to a folder that you can write",
        }.get(name, "change to a folder that you can write: results go to runs/ there")
        # reading is enough for a working folder; what is written can be put elsewhere by --output
        problems.append(Problem(f"{path} cannot be written", hint, serious=name != "working folder"))
    if free < LEAST_FREE:
        problems.append(Problem(f"{gigabytes} free at {path}", "free some space, or move it to a larger disk"))
    elif free < SHORT_FREE and name == "hub":
        problems.append(
            Problem(f"{gigabytes} free at {path}: too little to download a base model", "free some space first", False)
        )
    return problems
