"""Figures of runs, from the files that `evaluate` and `compare` wrote."""

from pathlib import Path
from typing import Any

from ..compare.report import PAGE
from ..errors import AtomtuneError
from ..evaluation.report import FIGURES, MEANINGS, REPORT
from ..files.untrusted_json import read_json
from ..sampling.options import RUNS
from ..training.run_folder import RunFolder
from .run_state import run_path

SHOWN = ("fidelity", "diversity", "alignment", "drift")
HEADER = ["run", "step", *(MEANINGS[name][0].lower() for name in SHOWN), "images"]


def scores_of(name: str) -> dict[str, Any]:
    """What the evaluation of a run says; empty where there is none."""
    try:
        scores = read_json(run_path(name) / "evaluation" / FIGURES)
    except (OSError, ValueError, AtomtuneError):
        return {}
    return scores if isinstance(scores, dict) else {}


def rows(names: list[str]) -> list[list[str]]:
    """A row for each run that was evaluated, and one for its base model."""
    found = []
    for name in names:
        scores = scores_of(name)
        if not scores:
            continue
        found.append([name, _shown(scores.get("step")), *_figures(scores), _shown(scores.get("n"))])
        if isinstance(base := scores.get("base"), dict):
            found.append([f"{name}: base model", "", *_figures(base), _shown(base.get("n"))])
    return found


def _figures(scores: dict[str, Any]) -> list[str]:
    values = [scores.get(name) for name in SHOWN]
    return [f"{value:.2f}" if isinstance(value, int | float) else "–" for value in values]


def _shown(value: Any) -> str:
    return f"{value:,}" if type(value) is int else ""


def checkpoints(names: list[str]) -> list[tuple[int, float, str]]:
    """Step, value and name of every figure of every checkpoint that was evaluated, but diversity, which is large."""
    found = []
    for name in names:
        listed = scores_of(name).get("checkpoints")
        for entry in listed if isinstance(listed, list) else []:
            for figure in ("fidelity", "alignment", "drift"):
                step, value = entry.get("step"), entry.get(figure)
                if type(step) is int and isinstance(value, int | float):
                    label = figure if len(names) == 1 else f"{name}: {figure}"
                    found.append((step, round(float(value), 4), label))
    return found


def steps_of(name: str) -> list[int]:
    """The steps whose atoms a run keeps."""
    return list(RunFolder(run_path(name)).kept_steps())


def selected(name: str) -> tuple[int | None, str]:
    """The step that the evaluation would keep, and why; None and nothing where it did not say."""
    found = scores_of(name).get("selected")
    if not isinstance(found, dict) or type(found.get("step")) is not int:
        return None, ""
    return found["step"], str(found.get("reason", ""))


def reports() -> dict[str, str]:
    """The pages of evaluations and comparisons below runs/: path from there, and what to call it."""
    found = {}
    for path in sorted([*RUNS.glob(f"*/evaluation/{REPORT}"), *RUNS.glob(f"*/{PAGE}")]):
        if path.is_file() and not path.is_symlink() and path.resolve().is_relative_to(RUNS.resolve()):
            place = path.relative_to(RUNS)
            found[place.as_posix()] = _title(place)
    return found


def _title(place: Path) -> str:
    return f"comparison in {place.parent.as_posix()}" if place.name == PAGE else f"evaluation of {place.parts[0]}"
