"""The steps of a run with all that happens beside them: log, previews, checkpoints, signals."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from ..errors import Interrupted
from ..files.checkpoint import Checkpoint, save_checkpoint
from ..runtime.progress import Events
from .preview import Preview
from .resources import MOST_KEPT
from .run_folder import RunFolder
from .signals import GracefulStop

_LOG_EVERY = 25  # steps
_LOG_SECONDS = 2.0  # of training, so that whoever watches a slow run sees it move
_SHOWN_LOSSES = 25  # of the last steps, whose mean is shown


class Steps(Protocol):
    """A loop of steps, as `Loop`."""

    accelerator: Any
    losses: list[float]
    seconds: float
    lr: float

    @property
    def step(self) -> int: ...

    @property
    def trained_numbers(self) -> int: ...

    def run(self, steps: int, after_step: Callable[[float], bool]) -> None: ...

    def any_process(self, flag: bool) -> bool: ...

    def averaged(self) -> AbstractContextManager[None]: ...

    def checkpoint(self, cached: Mapping[str, str]) -> Checkpoint: ...


class HeldOut(Protocol):
    """The held-out loss of a run, as `Validation`."""

    @property
    def is_over(self) -> bool: ...

    def is_due(self, step: int) -> bool: ...

    def measure(self, loop: Any) -> float: ...


class SteppingOptions(Protocol):
    """What `run_steps` needs of the options of a run, as `TrainOptions` has it."""

    @property
    def steps(self) -> int: ...

    @property
    def checkpoint_every(self) -> int: ...

    @property
    def sample_every(self) -> int: ...

    @property
    def tracker(self) -> str | None: ...


def run_steps(
    loop: Steps,
    options: SteppingOptions,
    folder: RunFolder,
    preview: Preview | None,
    write_atoms: Callable[[Path], str],
    cached: Mapping[str, str],
    events: Events,
    *,
    continued_by: str,
    validation: HeldOut | None = None,
) -> None:
    """Take the steps that are left, and save the state after the last one.

    Args:
        folder: of the run; its first process alone writes there.
        write_atoms: writes the atoms as they are to a path.
        cached: digests of what the run takes from the cache, for its checkpoints.
        continued_by: the command that goes on with the run.
        validation: the held-out loss, which may end the run.

    Raises:
        Interrupted: a signal came; the state is saved.
        AtomtuneError: a loss is not finite, or a file cannot be written.
    """
    pending: list[dict[str, Any]] = []
    is_main = loop.accelerator.is_main_process
    keeps_atoms = loop.trained_numbers <= MOST_KEPT

    def write_log() -> None:
        if pending:
            folder.append(pending)
            pending.clear()

    def save() -> None:
        if is_main:
            write_log()
            save_checkpoint(folder.checkpoint, loop.checkpoint(cached))
            if options.tracker:
                folder.manifest.add_tree(folder.path / options.tracker)

    measured: list[float] = []

    def measure() -> dict[str, float]:
        if validation is None or not validation.is_due(loop.step):
            return {}
        measured.append(validation.measure(loop))
        return {"held_out_loss": measured[-1]}

    def after_step(loss: float) -> bool:
        last = loop.losses[-_SHOWN_LOSSES:]
        held_out = measure()
        events.advance(f"loss {sum(last) / len(last):.4f}" + (f", held out {measured[-1]:.4f}" if measured else ""))
        if is_main:
            seconds = round(loop.seconds, 3)
            pending.append({"step": loop.step, "loss": loss, "lr": loop.lr, "seconds": seconds, **held_out})
            if len(pending) >= _LOG_EVERY or loop.seconds - pending[0]["seconds"] >= _LOG_SECONDS:
                write_log()
        if options.tracker:
            loop.accelerator.log({"loss": loss, "lr": loop.lr, **held_out}, step=loop.step)
        if preview is not None and is_main and loop.step % options.sample_every == 0:
            with loop.averaged():
                preview.generate(loop.step)
        if loop.step % options.checkpoint_every == 0:
            if is_main and keeps_atoms:  # before the checkpoint, after which nobody would make up for it
                folder.manifest.add(folder.kept(loop.step))
                write_atoms(folder.kept(loop.step))
            save()
        return not loop.any_process(stop.requested or is_over())

    def is_over() -> bool:
        return validation is not None and validation.is_over

    events.begin("train", options.steps, loop.step)
    with GracefulStop() as stop:
        try:
            if loop.step == 0:
                measure()  # of the base model
            if not is_over():
                loop.run(options.steps, after_step)
        finally:
            write_log()
        save()
    events.end()
    if loop.step < options.steps and not is_over():
        raise Interrupted(
            f"stopped after step {loop.step} of {options.steps}; the state is saved",
            f"continue with: {continued_by}",
            exit_code=stop.exit_code,
        )
