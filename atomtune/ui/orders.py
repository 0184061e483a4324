"""What the page asks for: options checked at once, then a job with the words of the command line."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..data.image_files import find_images
from ..errors import UsageError
from ..export.options import TARGETS, ExportOptions
from ..publish.options import PublishOptions
from ..runtime.option import Option
from ..runtime.options import OptionError, Options, options_of
from ..sampling.options import RUNS, SampleOptions
from ..training.estimate import options_of_run
from ..training.options import TrainOptions
from ..training.run_folder import RunFolder
from . import jobs
from .jobs import Job
from .queue import device_name
from .run_state import run_path

Made = TypeVar("Made", bound=Options)


def known_options(kind: type[Options]) -> dict[str, Option]:
    """Every option of a class by its name."""
    return {option.name: option for option in options_of(kind)}


def checked(kind: type[Made], given: Mapping[str, Any]) -> Made:
    """The object of what a form holds, by the options' names.

    Raises OptionError that lists all that is wrong, by the options' names.
    """
    known = known_options(kind)
    if unknown := [name for name in given if name not in known]:
        raise OptionError([(name, "is no option of this") for name in unknown], f"options: {', '.join(sorted(known))}")
    problems, values = [], {}
    for name, value in given.items():
        option = known[name]
        try:
            wrong = option.problem(value)
            values[option.path] = option.read(value) if option.read is not None and not wrong else value
        except ValueError as problem:
            wrong = str(problem)
        if wrong:
            problems.append((name, wrong))
    problems += [
        (option.name, "is required") for option in known.values() if option.is_required and not given.get(option.name)
    ]
    if problems:
        raise OptionError(problems, kind.hint)
    return kind.from_values(values)


def flags(kind: type[Options], given: Mapping[str, Any]) -> list[str]:
    """The words of a command line that say what a form holds."""
    known = known_options(kind)
    words: list[str] = []
    for name, value in given.items():
        option = known[name]
        if option.kind is bool:
            words.append(option.flag if value else option.flag.replace("--", "--no-", 1))
        else:
            # one word each, so that a value that begins with a dash is no option
            listed = value if option.many and isinstance(value, list | tuple) else [value]
            words += [f"{option.flag}={_text(item)}" for item in listed]
    return words


def train(given: Mapping[str, Any], *, again: bool = False) -> Job:
    """Teach a concept. Raises as `checked`, AtomtuneError where there are no images or the run is in the queue."""
    options = checked(TrainOptions, given)
    find_images(options.images)
    name = options.concept.name
    words = ["train", *flags(TrainOptions, given), *(["--overwrite"] if again else []), "--json"]
    return jobs.add(f"teach {name}", words, name, device_name(options.device))


def resume(name: str) -> Job:
    """Go on with a run, with its own options. Raises UsageError where there is nothing to go on from."""
    path = run_path(name)
    RunFolder(path).read_record()
    device = options_of_run(RunFolder(path)).get("device")
    words = ["train", f"--concept={path.name}", "--resume", "--json"]
    return jobs.add(f"resume {path.name}", words, path.name, device_name(device))


@dataclass(frozen=True)
class Wanted:
    """A concept in an image: a run's name and its scale."""

    name: str
    scale: float


def sample(concepts: list[Wanted], step: int | None, given: Mapping[str, Any]) -> Job:
    """Generate images. Raises as `checked`, and where a run has no such atoms."""
    options = checked(SampleOptions, given)
    files = [(RunFolder(run_path(item.name)).atoms_at(step), item.scale) for item in concepts]
    if missing := [file for file, _ in files if not file.is_file()]:
        raise UsageError(f"{missing[0]} is not there", "teach the concept first")
    if len(concepts) == 1:
        (only,) = concepts
        of = [f"--concept={only.name}", f"--scale={_text(only.scale)}", *([f"--step={step}"] if step else [])]
    else:
        of = [f"--atoms={file.as_posix()}:{_text(scale)}" for file, scale in files]
    words = [
        "sample",
        *of,
        *flags(SampleOptions, given),
        f"--output={samples_of([c.name for c in concepts]).as_posix()}",
    ]
    title = f"generate {' and '.join(item.name for item in concepts) or 'with the base model'}"
    return jobs.add(
        title, [*words, "--json"], concepts[0].name if len(concepts) == 1 else "", device_name(options.device)
    )


def grid(concepts: list[Wanted], scales: str, given: Mapping[str, Any]) -> Job:
    """A sheet of kept steps × scales of one concept. Raises as `sample`, UsageError for several concepts."""
    if len(concepts) != 1:
        raise UsageError("a sheet of steps and scales is of one concept", "choose one, and none beside it")
    options = checked(SampleOptions, given)
    words = ["sample", f"--concept={concepts[0].name}", *flags(SampleOptions, given), f"--scale-grid={scales.strip()}"]
    words += [f"--output={samples_of([concepts[0].name]).as_posix()}", "--json"]
    return jobs.add(f"steps × scales of {concepts[0].name}", words, concepts[0].name, device_name(options.device))


def samples_of(names: list[str]) -> Path:
    """Where images of these concepts go, as `atomtune sample` has it."""
    return run_path(names[0]) / "samples" if len(names) == 1 else RUNS / "samples"


def export(name: str, step: int | None, given: Mapping[str, Any], *, again: bool = False) -> Job:
    """Write a concept for other programs."""
    options = checked(ExportOptions, given)
    RunFolder(run_path(name)).atoms_at(step)
    words = ["export", f"--concept={name}", *([f"--step={step}"] if step else []), *flags(ExportOptions, given)]
    return jobs.add(
        f"export {name} as {options.to}",
        [*words, *(["--overwrite"] if again else []), "--json"],
        name,
        device_name(options.device or "cpu"),
    )


def exported(name: str) -> list[Path]:
    """Files of a run that exports wrote; folders are left out."""
    path = run_path(name)
    found = [file for end in TARGETS.values() for file in path.glob(f"{name}*{end}")] if path.is_dir() else []
    return sorted(file for file in found if file.is_file() and not file.is_symlink())


def publish(name: str, step: int | None, given: Mapping[str, Any], *, sure: bool, again: bool = False) -> Job:
    """Publish a concept. Raises UsageError where it would leave this machine and nobody said yes to that."""
    options = checked(PublishOptions, given)
    if options.to == "hub" and not sure:
        raise UsageError("nothing was uploaded", "say that you want this to leave this machine")
    words = ["publish", f"--concept={name}", *([f"--step={step}"] if step else []), *flags(PublishOptions, given)]
    words += ["--yes"] if options.to == "hub" else []
    return jobs.add(
        f"publish {name}",
        [*words, *(["--overwrite"] if again else []), "--json"],
        name,
        device_name(options.device or "cpu"),
    )


def command(words: list[str], title: str, run: str, device: str | None) -> Job:
    """Any other command."""
    return jobs.add(title, [*words, "--json"], run, device_name(device))


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
