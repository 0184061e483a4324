"""What the page shows of a run, from its state: words, curve, images, and which buttons can be pressed."""

from pathlib import Path
from typing import Any

from ..report.charts import smoothed
from ..runtime.units import counted
from . import messages, texts
from .estimate import minutes
from .jobs import QUEUED, RUNNING
from .queue import waiting_before
from .run_state import RunState

_POINTS = 300  # of the curve
_SHOWN = 24  # previews


def status(state: RunState) -> str:
    """How a run stands, in words."""
    words = texts.STATES[state.state]
    if state.state == QUEUED and state.job is not None:
        before = waiting_before(state.job)
        words += f", {before} before it" if before else ", next"
    pairs = {"state": words}
    if state.step or state.steps:
        pairs["step"] = f"{state.step:,} of {state.steps:,}" if state.steps else f"{state.step:,}"
    if state.log:
        last = [step.loss for step in state.log[-25:]]
        pairs["loss"] = f"{sum(last) / len(last):.4f}, the mean of {counted(len(last), 'step')}"
    if state.state == RUNNING:
        if state.speed:
            pace = f"{state.speed:.1f} steps/s" if state.speed >= 1 else f"{1 / state.speed:.1f} s/step"
            pairs["speed"] = pace
        if state.seconds_left is not None:
            pairs["time left"] = minutes(state.seconds_left)
        if not state.log or state.step == state.steps:
            pairs["now"] = state.doing
    if state.job is not None:
        pairs[texts.COMMAND.lower()] = state.job.command_line
    parts = [f'<div role="status">{messages.facts(pairs)}</div>']
    if state.job is not None:
        parts.append(messages.warnings(state.job.warnings))
    if state.problem is not None:
        parts.append(messages.error(state.problem) if state.state == "failed" else messages.note(_said(state)))
    return "".join(parts)


def _said(state: RunState) -> str:
    assert state.problem is not None
    return ". ".join(filter(None, [state.problem.message, state.problem.hint]))


def curve(states: list[RunState]) -> Any:
    """The losses as a table for the chart: the loss of every step and its running mean, or of several runs the mean."""
    import pandas

    columns: dict[str, list[Any]] = {"step": [], "loss": [], "line": []}
    for state in states:
        every = max(1, len(state.log) // _POINTS)
        even = smoothed([step.loss for step in state.log])
        for number, (step, mean) in enumerate(zip(state.log, even, strict=True)):
            if number % every and number != len(state.log) - 1:
                continue
            lines = [("each step", step.loss), ("running mean", mean)] if len(states) == 1 else [(state.name, mean)]
            for line, loss in lines:
                columns["step"].append(step.number)
                columns["loss"].append(round(loss, 5))
                columns["line"].append(line)
        for step in state.log if len(states) == 1 else ():
            if step.held_out is not None:
                columns["step"].append(step.number)
                columns["loss"].append(round(step.held_out, 5))
                columns["line"].append("held-out images")
    return pandas.DataFrame(columns)


def previews(state: RunState) -> list[tuple[str, str]]:
    """Images with their captions, the newest first."""
    return [(str(path), f"step {step}") for step, path in reversed(state.previews[-_SHOWN:])]


def can(state: RunState) -> dict[str, bool]:
    """Which buttons can be pressed."""
    busy = state.state in (QUEUED, RUNNING)
    return {"stop": busy and state.job is not None, "resume": not busy and state.saved and state.state != "done"}


def signature(state: RunState) -> tuple[Any, ...]:
    """Equal as long as nothing that is shown has changed."""
    job = state.job.number if state.job else None
    waits = waiting_before(state.job) if state.job is not None and state.state == QUEUED else 0
    return (state.name, state.state, state.step, state.steps, len(state.previews), job, state.doing, waits)


def newest_images(folder: Path, most: int = _SHOWN) -> list[Path]:
    """Images of a folder, the newest first."""
    found = [path for path in folder.glob("*.png") if not path.name.startswith(".") and path.is_file()]
    return sorted(found, key=lambda path: (-path.stat().st_mtime_ns, path.name))[:most]
