"""The concepts of a fleet: a file of [[jobs]], or a folder of folders with images."""

import tomllib
from pathlib import Path
from typing import Any

from ...data.concept import Concept
from ...errors import UsageError, excerpt
from ...fleet.options import FleetJob
from ...runtime.options import OptionError, options_of
from ...training.options import TrainOptions
from .config_file import read_values

_HINT = 'as in: steps = 500, then [[jobs]] with concept = "mug" for each; keys are the options of train'
_LONGEST = 64_000_000  # bytes; a million jobs


def read_jobs(source: Path, training: Path | None = None) -> list[FleetJob]:
    """The jobs of a file or a folder.

    Args:
        source: a TOML file of options of `train`, at the top those of all jobs, in [[jobs]] those of one; or a folder,
            whose folders are the concepts' images and are called as the concepts.
        training: TOML file with options of all jobs.

    Raises UsageError that says what is wrong with a file, job by job, or that there are no concepts.
    """
    common = _toml(training) if training is not None else {}
    if source.is_dir():
        folders = sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))
        said = [{"concept": path.name, "images": str(path)} for path in folders]
        return _jobs(source, common, said)
    written = _toml(source)
    jobs = written.pop("jobs", [])
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise UsageError(f"{source}: 'jobs' is no list of tables", _HINT)
    return _jobs(source, common | written, jobs)


def _jobs(source: Path, common: dict[str, Any], said: list[dict[str, Any]]) -> list[FleetJob]:
    if not said:
        raise UsageError(f"{source} names no concepts", _HINT)
    options = options_of(TrainOptions)
    jobs, problems = [], []
    for number, job in enumerate(said, 1):
        images = job.get("images")
        address = images if isinstance(images, str) and "://" in images else ""
        own = {key: value for key, value in job.items() if key != "images" or not address}
        place = Path(f"{source}, job {number}")
        try:
            values = read_values(place, common | own, options)
            if ("concept", "name") not in values:
                raise UsageError(f"{place}: 'concept' is required")
            Concept(str(values["concept", "name"]))
            jobs.append(FleetJob(TrainOptions.from_values(values), address))
        except OptionError as problem:
            problems += [f"{place}: {line}" for line in problem.message.splitlines()]
        except UsageError as problem:
            problems += problem.message.splitlines()
    if problems:
        more = [f"and {len(problems) - 20} more"] if len(problems) > 20 else []
        raise UsageError("\n".join([*problems[:20], *more]), _HINT)
    return jobs


def _toml(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
        if len(content) > _LONGEST:
            raise ValueError(f"it has over {_LONGEST:,} bytes")
        return tomllib.loads(content.decode("utf-8-sig"))
    except OSError as problem:
        raise UsageError(f"cannot read {path}: {problem.strerror}", _HINT) from None
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"{path} is not valid TOML: {excerpt(problem)}", _HINT) from None
