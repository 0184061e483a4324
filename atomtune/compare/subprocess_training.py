"""Training in a process of its own, so that the memory it takes is its own, and is all given back.

The two talk through pipes: an order on the child's stdin, then its events on stdout, a JSON object a line.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from torch import nn

import atomtune

from ..errors import AtomtuneError, Interrupted, Terminated
from ..files.atomic import write_text
from ..files.untrusted_json import read_json
from ..methods.specs import AtomsSpec
from ..models.base_model import load_pipeline, resolve
from ..models.decomposition import cache_path, load_or_decompose
from ..runtime.peak_memory import gpu_peak, peak_memory
from ..runtime.progress import Events
from ..training.options import TrainOptions
from ..training.train import train

COST = "cost.json"
"""In a run's folder: the most memory that its training took, over all sittings."""


_PR_SET_PDEATHSIG = 1  # of Linux's prctl


@dataclass(frozen=True)
class Order:
    """What a process is to do.

    Attributes:
        resume, overwrite: as for `train`.
        only_decompose: write the base model's decomposition to the cache, and train nothing.
    """

    options: TrainOptions
    output: Path
    resume: bool = False
    overwrite: bool = False
    only_decompose: bool = False


Trainer = Callable[[Order, Events], None]
"""Carries an order out. Raises AtomtuneError where it cannot, Interrupted where it was stopped."""


def train_apart(order: Order, events: Events) -> None:
    """Train in a process of its own. A decomposition that is not in the cache is made before, by another one."""
    spec = order.options.spec
    if isinstance(spec, AtomsSpec) and not _is_decomposed(spec):
        _in_child(replace(order, only_decompose=True), events)
    _in_child(order, events)


def train_here(order: Order, events: Events) -> None:
    """Train in this process; the cost is then that of all it has done before, too."""
    options = order.options
    if order.only_decompose:
        assert isinstance(options.spec, AtomsSpec)
        source = resolve(options.model)
        load_or_decompose(load_pipeline(source).unet, source, options.spec, events=events)
        return
    before = (None, None) if not order.resume else cost(order.output)
    try:
        train(options, order.output, resume=order.resume, overwrite=order.overwrite, events=events)
    finally:
        if order.output.is_dir():
            most = [_larger(*pair) for pair in zip(before, (peak_memory(), gpu_peak()), strict=True)]
            write_text(order.output / COST, json.dumps(dict(zip(("peak_bytes", "gpu_peak_bytes"), most, strict=True))))


def cost(run: Path) -> tuple[int | None, int | None]:
    """Of a run, in bytes: the most memory of its process, and of the GPU. None where that is not known."""
    try:
        stored = read_json(run / COST)
        return stored["peak_bytes"], stored["gpu_peak_bytes"]
    except (OSError, ValueError, LookupError, TypeError):
        return None, None


def _is_decomposed(spec: AtomsSpec) -> bool:
    # of whichever base model: its fingerprint takes its weights
    pattern = cache_path(nn.Linear(1, 1, device="meta"), "*", spec)
    return any(pattern.parent.glob(pattern.name))


def _larger(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)


def _in_child(order: Order, events: Events) -> None:
    """Raises what the child reports, AtomtuneError where it ends without a report, Interrupted where this one is."""
    packages = str(Path(atomtune.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [packages, os.environ.get("PYTHONPATH")]))}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            # -P: what lies in the working folder is nobody's module
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C comes here alone, and is passed on once
        )
        assert process.stdin is not None
        assert process.stdout is not None
        failure: dict[str, Any] | None
        try:
            with suppress(BrokenPipeError), process.stdin as stream:
                stream.write(_packed(order))
            failure = _listen(process.stdout, events)
            process.wait()
        except KeyboardInterrupt as stop:
            process.send_signal(signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)
            _listen(process.stdout, events)  # it saves the state at the end of the step
            raise Interrupted(
                "stopped while training; what was trained is saved",
                "the same command goes on from there",
                exit_code=getattr(stop, "exit_code", None),
            ) from None
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stdout.close()
        if failure is not None:
            kind = Interrupted if failure["interrupted"] else AtomtuneError
            code = failure["exit_code"] if failure["interrupted"] else None
            raise kind(failure["message"], failure["hint"], exit_code=code)
        if process.returncode != 0:
            raise _died(process.returncode, errors)


def _died(code: int, errors: IO[bytes]) -> AtomtuneError:
    errors.seek(0)
    last = (errors.read().decode("utf-8", "replace").strip().splitlines() or [""])[-1]
    if code < 0:
        return AtomtuneError(
            f"the training process was ended by signal {-code}",
            "signal 9 is often the system's, out of memory; the same command goes on with the last saved state",
        )
    return AtomtuneError(f"the training process ended with exit code {code}{': ' * bool(last)}{last}")


def _listen(lines: Iterable[str], events: Events) -> dict[str, Any] | None:
    """Pass a child's events on until its end; the error that it reports, if any."""
    failure = None
    for line in lines:
        try:
            message = json.loads(line)
        except ValueError:  # cut by an interrupt
            continue
        if "error" in message:
            failure = message["error"]
        elif message["event"] in ("phase", "warn", "begin", "advance", "end"):
            getattr(events, message["event"])(*message["with"])
    return failure


def _end_with_parent() -> None:
    """Have the system stop this process as SIGTERM does when its parent is killed; elsewhere its next event does."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _packed(order: Order) -> str:
    return json.dumps({**vars(order), "options": order.options.to_dict(), "output": str(order.output)})


def _unpacked(text: str) -> Order:
    values = json.loads(text)
    options = TrainOptions.from_dict(values.pop("options"))
    return Order(options, Path(values.pop("output")), **values)


class _Wire(Events):
    """Events as lines for the parent."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def send(self, **message: Any) -> None:
        """Write a line. Raises BrokenPipeError where the parent is gone, which ends the training too."""
        print(json.dumps(message), file=self.stream, flush=True)

    def phase(self, text: str) -> None:
        self.send(event="phase", **{"with": [text]})

    def warn(self, text: str) -> None:
        self.send(event="warn", **{"with": [text]})

    def begin(self, what: str, total: int, done: int = 0) -> None:
        self.send(event="begin", **{"with": [what, total, done]})

    def advance(self, note: str = "") -> None:
        self.send(event="advance", **{"with": [note]})

    def end(self) -> None:
        self.send(event="end", **{"with": []})


def main() -> int:
    """The child: carry out the order on stdin. Returns the exit code."""
    # what libraries print must not come between the lines
    wire = _Wire(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    _end_with_parent()
    try:
        train_here(_unpacked(sys.stdin.read()), wire)
    except (AtomtuneError, KeyboardInterrupt) as problem:
        interrupted = isinstance(problem, Interrupted | KeyboardInterrupt)
        message, hint = getattr(problem, "message", "interrupted"), getattr(problem, "hint", None)
        code = getattr(problem, "exit_code", 130)
        wire.send(error={"message": message, "hint": hint, "interrupted": interrupted, "exit_code": code})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
