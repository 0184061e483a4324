"""Time, memory and versions, with the standard library alone.

Nothing here imports torch: a child process starts with the peak memory of its parent, so the parent has to stay small.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Event, Thread

PACKAGES = ("atomtune", "torch", "diffusers", "transformers", "accelerate", "safetensors")


@dataclass(frozen=True)
class Measured:
    """One process, from its start to its end.

    Attributes:
        code: exit code; out, err: what it wrote.
        seconds: of the clock; peak_bytes: of its own resident memory; gpu_bytes: of the device's memory, 0 without one.
    """

    code: int
    out: str
    err: str
    seconds: float
    peak_bytes: int
    gpu_bytes: int = 0


def measured(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Measured:
    """Run a command in `folder` and wait for it."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, GpuWatch() as gpu:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, **environment}, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "replace"))
    unit = 1 if sys.platform == "darwin" else 1024
    return Measured(process.returncode, texts[0], texts[1], seconds, usage.ru_maxrss * unit, gpu.peak)


class GpuWatch:
    """Within the context, the most memory that the GPUs hold, less what they held before, as nvidia-smi tells it."""

    def __init__(self) -> None:
        self.peak = 0
        self._done = Event()
        self._thread: Thread | None = None

    def __enter__(self) -> "GpuWatch":
        if shutil.which("nvidia-smi") and (before := gpu_memory()) is not None:
            self._thread = Thread(target=self._watch, args=(before,), daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, before: int) -> None:
        while not self._done.wait(0.5):
            self.peak = max(self.peak, (gpu_memory() or 0) - before)


def gpu_memory() -> int | None:
    """Bytes in use on all GPUs; None where nvidia-smi cannot tell."""
    answer = _nvidia("memory.used")
    return sum(int(line) for line in answer) * 2**20 if answer and all(map(str.isdecimal, answer)) else None


def machine() -> dict[str, str]:
    """The machine in words: processor, cores, memory, GPUs."""
    facts = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": f"{memory() / 2**30:.0f} GiB",
    }
    if gpus := _nvidia("name"):
        facts["gpu"] = ", ".join(gpus)
    return facts


def memory() -> int:
    """Bytes of memory that this process may have: the machine's, or its container's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = Path(limit).read_text(encoding="ascii").strip() if Path(limit).is_file() else ""
        if text.isdecimal():
            total = min(total, int(text))
    return total


def versions() -> dict[str, str]:
    """Of Python and the packages that matter."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def bytes_in(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _nvidia(what: str) -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    if described.is_file():
        for line in described.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
