"""The endpoints of the page's HTTP API, for programs: what the tabs do, by name. docs/ui.md has an example.

Errors reach the caller as gradio_client's AppError, with the command line's line and hint.
"""

import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_file_to_cache

from ..errors import AtomtuneError, without_folders
from ..sampling.options import RUNS
from ..training.run_folder import RunFolder
from ..training.runs import learned
from . import jobs, orders, run_state, uploads
from .environment import FILES
from .jobs import QUEUED, RUNNING, Job
from .orders import Wanted

_EVERY = 0.5  # seconds between two looks of `watch`


def endpoints() -> None:
    """Add the endpoints to the page that is being laid out."""
    for function in (upload, train, resume, sample, export, stop, job, watch, runs, concepts, atoms, files):
        gr.api(_told(function), api_name=function.__name__, concurrency_limit=8)


def upload(concept: str, files: list[gr.FileData]) -> dict[str, Any]:
    """Put images into concepts/CONCEPT. Returns names: kept, refused (with the reason)."""
    taken = uploads.take([uploads.uploaded(_path(file)) for file in files], concept)
    return {"kept": list(taken.kept), "refused": list(taken.refused)}


def train(concept: str, options: dict[str, Any]) -> dict[str, Any]:
    """Teach a concept; options are those of `atomtune train`, by their names in files. Returns the job."""
    return facts_of(orders.train({**_options(options), "concept": concept}, again=bool(options.get("overwrite"))))


def resume(concept: str) -> dict[str, Any]:
    """Go on with a run that was stopped. Returns the job."""
    return facts_of(orders.resume(concept))


def sample(concepts: dict[str, float], options: dict[str, Any]) -> dict[str, Any]:
    """Generate images of concepts with their scales; options are those of `atomtune sample`. Returns the job."""
    wanted = [Wanted(name, float(scale)) for name, scale in concepts.items()]
    step = options.get("step")
    given = _options({name: value for name, value in options.items() if name != "step"})
    return facts_of(orders.sample(wanted, int(step) if step else None, given))


def export(concept: str, options: dict[str, Any]) -> dict[str, Any]:
    """Write a concept for other programs; options are those of `atomtune export`. Returns the job."""
    return facts_of(orders.export(concept, None, _options(options), again=bool(options.get("overwrite"))))


def stop(number: int) -> dict[str, Any]:
    """Ask a job to save and stop. Returns the job."""
    found = jobs.job_of(number)
    found.stop()
    return facts_of(found)


def job(number: int) -> dict[str, Any]:
    """How a job stands: state, progress, warnings, problem, result as --json prints it, but `file` for `path`."""
    return facts_of(jobs.job_of(number))


def watch(number: int) -> Iterator[dict[str, Any]]:
    """How a job stands, each time that it changes, until it has ended."""
    found = jobs.job_of(number)
    before = None
    while True:
        now = facts_of(found)
        if now != before:
            yield now
            before = now
        if now["state"] not in (QUEUED, RUNNING):
            return
        time.sleep(_EVERY)


def runs(concept: str) -> dict[str, Any]:
    """How a run stands: state, step, steps, losses, speed."""
    state = run_state.run_state(concept)
    return {
        "state": state.state,
        "step": state.step,
        "steps": state.steps,
        "losses": [step.loss for step in state.log],
        "steps_per_second": state.speed,
        "seconds_left": state.seconds_left,
        "previews": len(state.previews),
    }


def concepts() -> list[dict[str, Any]]:
    """What has been learned, as `atomtune concepts --json` has it, but `file` for `path`."""
    return [
        _without_files({key: str(value) if isinstance(value, Path) else value for key, value in vars(run).items()})
        for run in learned(RUNS)
    ]


def atoms(concept: str) -> gr.FileData:
    """The atoms file of a concept."""
    return _file(RunFolder(run_state.run_path(concept)).atoms)


def files(number: int) -> list[gr.FileData]:
    """The images that a job of `sample` generated, or the file of an export."""
    result = jobs.job_of(number).result
    paths = [item["path"] for item in result.get("images", []) if isinstance(item, dict) and "path" in item]
    paths += [result[key] for key in ("grid", "output") if isinstance(result.get(key), str)]
    inside = RUNS.resolve()
    found = [Path(path) for path in paths]
    return [_file(path) for path in found if path.is_file() and path.resolve().is_relative_to(inside)]


def facts_of(found: Job) -> dict[str, Any]:
    """A job for programs."""
    state, problem = found.state, found.problem
    return {
        "number": found.number,
        "title": found.title,
        "run": found.run,
        "device": found.device,
        "state": state,
        "progress": found.progress if state == RUNNING else "",
        "warnings": found.warnings,
        "problem": None if problem is None else {"message": problem.message, "hint": problem.hint},
        "result": _without_files(found.result),
        "command": found.command_line,
    }


def _without_files(value: Any) -> Any:
    """A result whose paths are called `file`: of a `path`, clients think that it is theirs to download."""
    if isinstance(value, dict):
        return {"file" if name == "path" else name: _without_files(item) for name, item in value.items()}
    return [_without_files(item) for item in value] if isinstance(value, list) else value


def _options(options: dict[str, Any]) -> dict[str, Any]:
    given = {name.replace("-", "_"): value for name, value in options.items() if name != "overwrite"}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def _path(file: Any) -> str:
    return str(file["path"] if isinstance(file, dict) else getattr(file, "path", file))


def _file(path: Path) -> Any:
    if not path.is_file():
        raise AtomtuneError(f"{path} is not there", "teach the concept first")
    # Gradio gives away what is among its own files alone, and copies what components return, not what endpoints do
    return gr.FileData(path=save_file_to_cache(path, str(FILES)), orig_name=path.name)


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose errors reach the caller in the command line's words, and nothing else of this machine."""
    if function is watch:

        @wraps(function)
        def each(*values: Any) -> Iterator[Any]:
            try:
                yield from function(*values)
            except AtomtuneError as problem:
                raise _error(problem) from None

        return each

    @wraps(function)
    def told(*values: Any) -> Any:
        try:
            return function(*values)
        except AtomtuneError as problem:
            raise _error(problem) from None

    return told


def _error(problem: AtomtuneError) -> gr.Error:
    hint = f"\nHint: {problem.hint}" if problem.hint else ""
    return gr.Error(without_folders(f"{problem.message}{hint}"), print_exception=False)
