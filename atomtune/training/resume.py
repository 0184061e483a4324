"""Resuming a run: which run of a folder goes on, what may change, and the check that it is the same run."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..data.concept import FORMER_TOKEN
from ..data.options import TaughtConcept
from ..data.tokens import default_token
from ..errors import AtomtuneError, UsageError, excerpt
from ..models.base_model import ModelSource
from ..models.options import AUTO
from ..runtime.options import flattened, unrecorded
from ..runtime.progress import Events
from ..runtime.units import counted
from .optimizers import ENDLESS
from .options import TrainOptions
from .overwrite import active, replacement
from .prior_preservation import OWN
from .run_folder import RunFolder

MAY_CHANGE = frozenset(
    {
        *("images", "model", "prior_dir"),  # the paths: what is found there must be the same, see `check_images`
        *("device", "cuda_graph", "compile", "gradient_checkpointing"),  # the same result, but for rounding
        *("checkpoint_every", "sample_every", "sample_prompts", "sample_steps", "tracker"),
    }
)
"""Options that a resumed run may have others of, beside `steps`."""

_IMAGES_OF = "images of "

_AGAIN = "start again with --overwrite"
_SHOWN = 20  # differences listed


def run_to_resume(
    output: Path, concept: str, *, resume: bool, overwrite: bool
) -> tuple[RunFolder, dict[str, Any] | None]:
    """The folder that a run's files go to, and the record of the run that goes on there; None for a new run.

    Without `resume` and `overwrite` a run that was begun in `output` and did not end goes on, see `same_run`. With
    `overwrite` a run that is there stays until the new one is complete, see `overwrite.py`.

    Raises UsageError where there is nothing to resume, AtomtuneError where run.json is damaged.
    """
    folder = RunFolder(output, concept)
    if overwrite:
        new = replacement(folder, concept)
        if new.path.is_symlink():
            raise UsageError(f"{new.path} is a link", "move it away, or --output names another folder")
        return (new if folder.holds_run() else folder), None
    if resume:
        folder = active(output)
        return folder, folder.read_record()
    is_begun = folder.record.is_file() and folder.holds_run() and not folder.is_finished()
    return folder, folder.read_record() if is_begun else None


def same_run(stored: TrainOptions, asked: TrainOptions, output: Path) -> TrainOptions:
    """The options of a run that goes on because the same command was given again.

    Raises UsageError where another one was given: anything differs that may not change.
    """
    asked, concept = with_stored_precision(asked, stored), asked.concept
    if stored.concept.token == FORMER_TOKEN and concept.token == default_token(concept.name, concept.token_vectors):
        asked = replace(asked, concept=replace(concept, token=FORMER_TOKEN))  # begun when that was the default
    differences = _differences(stored, asked, frozenset(stored.flat_dict()) - MAY_CHANGE)
    if differences:
        raise UsageError(
            f"{output} already holds a run that did not end, with other options:\n" + "\n".join(differences),
            "--resume goes on with it, --overwrite starts again, --output names another folder",
        )
    changes = {name: getattr(asked, name) for name in MAY_CHANGE}
    return replace(stored, **changes, others=_with_places(stored.others, asked.others))


def with_stored_precision(asked: TrainOptions, stored: TrainOptions) -> TrainOptions:
    """Options that leave the precision open (auto) with the one that a run was begun with, on whatever device."""
    return replace(asked, precision=stored.precision) if asked.precision == AUTO else asked


def as_recorded(
    record: Mapping[str, Any], stored: TrainOptions, asked: TrainOptions, explicit: frozenset[str]
) -> TrainOptions:
    """Options as the record of a run means them that was begun before some of them existed.

    Args:
        explicit: names of the fields that the user really gave, which stay.
    """
    known = flattened(TrainOptions, record.get("options", {}))
    missing = unrecorded(TrainOptions).keys() - known.keys() - explicit
    return replace(asked, **{name: getattr(stored, name) for name in missing})


def changed_fields(options: TrainOptions) -> frozenset[str]:
    """The fields of options that are not what they would be by default; the concept is left out."""
    concept = replace(options.concept, token_vectors=1)  # more would need other options than the usual ones
    usual = TrainOptions(concept=concept, method=options.method)
    names = {field.name for field in fields(options)} - {"concept"}
    changed = {name for name in names if getattr(options, name) != getattr(usual, name)}
    is_usual_method = options.method == TrainOptions(concept=concept).method
    return frozenset(changed if is_usual_method else {*changed, "method"})


def resumed(stored: TrainOptions, asked: TrainOptions, explicit: frozenset[str], taken: int = 0) -> TrainOptions:
    """The options of a run that `--resume` goes on with: those it was begun with, but for `steps` and `MAY_CHANGE`.

    Args:
        stored: from run.json.
        asked: from the command line, defaults included.
        explicit: names of the fields of `asked` (and "spec") that the user really gave.
        taken: steps that the run has taken.

    Raises UsageError that lists every option given that differs, or where the number of steps cannot be had: the run is
    beyond it, or the learning rates of the steps taken would have been others.
    """
    if stored.concept.name != asked.concept.name:
        raise UsageError(
            f"the run in this folder is of the concept {stored.concept.name!r}, not {asked.concept.name!r}",
            f"--concept {stored.concept.name} resumes it, --output names another folder",
        )
    asked = with_stored_precision(asked, stored)
    if differences := _differences(stored, asked, explicit - MAY_CHANGE - {"steps"}):
        raise UsageError(
            "the run cannot be resumed with other options:\n" + "\n".join(differences),
            "leave them out, or start again with --overwrite",
        )
    if "steps" in explicit and asked.steps != stored.steps:
        if stored.lr_scheduler not in ENDLESS:
            raise UsageError(
                f"the run was begun with {counted(stored.steps, 'step')}, which its {stored.lr_scheduler} learning "
                f"rate depends on; it cannot be resumed with {asked.steps}",
                f"leave out --steps, or start again with --overwrite; {' and '.join(sorted(ENDLESS))} runs can go on",
            )
        if asked.steps < taken:
            raise UsageError(
                f"the run has taken {counted(taken, 'step')}, so it cannot be resumed with --steps {asked.steps}",
                "sample --step N uses the atoms of an earlier checkpoint; --overwrite starts again",
            )
    changes = {name: getattr(asked, name) for name in explicit & (MAY_CHANGE | {"steps"})}
    if "others" in explicit:
        changes["others"] = _with_places(stored.others, asked.others)
    if changes.get("sample_every") == 0:
        changes.setdefault("sample_prompts", ())
    return replace(stored, **changes)


def tell_where_it_goes_on(
    folder: RunFolder, record: Mapping[str, Any], options: TrainOptions, taken: int, events: Events
) -> None:
    """Say after which step a run goes on, or that it is finished.

    Raises UsageError where it is finished and its checkpoint was deleted.
    """
    result = record.get("result")
    if isinstance(result, Mapping) and result.get("stopped_early"):
        events.warn(f"the run in {folder.path} is finished: its held-out loss stopped it after step {taken}")
    elif "result" in record and options.steps <= taken:
        more = f"; --steps N with more than {taken} goes on" if options.lr_scheduler in ENDLESS else ""
        events.warn(f"the run in {folder.path} is finished: it has taken its {counted(taken, 'step')}{more}")
    elif "result" in record and not folder.checkpoint.is_file():
        raise UsageError(
            f"the run in {folder.path} is finished and its checkpoint was deleted, so it cannot go on",
            "start again with --overwrite",
        )
    else:
        events.phase(f"going on with the run in {folder.path} after step {taken}")


def _differences(stored: TrainOptions, asked: TrainOptions, names: frozenset[str]) -> list[str]:
    was, now = _comparable(stored), _comparable(asked)
    return [
        f"{name} was {was[name]!r}, now {now[name]!r}"
        for name in sorted(names)
        if name in now and was[name] != now[name]
    ]


def _comparable(options: TrainOptions) -> dict[str, Any]:
    """Options to compare, by name; where the images of further concepts are may change as `MAY_CHANGE` may."""
    others = [{**other.flat_dict(), "images": "", "prior_dir": bool(other.prior_dir)} for other in options.others]
    return options.flat_dict() | {"others": others}


def _with_places(stored: Sequence[TaughtConcept], asked: Sequence[TaughtConcept]) -> tuple[TaughtConcept, ...]:
    """The further concepts of a run with the folders that are asked for, where there are such."""
    if len(stored) != len(asked):
        return tuple(stored)
    return tuple(
        replace(was, images=now.images if now.images.is_dir() else was.images, prior_dir=now.prior_dir)
        for was, now in zip(stored, asked, strict=True)
    )


def paths_from(output: Path, options: TrainOptions, source: ModelSource) -> dict[str, str]:
    """Where the images and a local model are, as seen from the run's folder, for run.json."""
    places = {"images": str(options.images)}
    places |= {_IMAGES_OF + other.concept.name: str(other.images) for other in options.others}
    if source.is_local and source.name == options.model and Path(source.name).exists():
        places["model"] = source.name
    home = output.resolve()
    try:
        return {name: os.path.relpath(Path(place).resolve(), home) for name, place in places.items()}
    except ValueError:  # on another drive of Windows
        return {}


def found_again(stored: TrainOptions, output: Path, record: Mapping[str, Any]) -> TrainOptions:
    """Options out of run.json, with relative paths as they are seen from the folder that is worked in now."""
    paths = record.get("paths")
    known = paths if isinstance(paths, Mapping) else {}

    def found(name: str, was: Path | str | None) -> Any:
        place = known.get(name)
        if not isinstance(place, str) or was is None:
            return was
        before, here = Path(was), output / place
        moved = here.exists() and not (before.exists() and before.samefile(here))
        return type(was)(here.resolve()) if moved else was

    others = [replace(one, images=found(_IMAGES_OF + one.concept.name, one.images)) for one in stored.others]
    images, model = found("images", stored.images), found("model", stored.model)
    return replace(stored, images=images, model=model, others=tuple(others))


def recorded_images(record: Mapping[str, Any]) -> Any:
    """What run.json says of the images; versions up to 0.1 kept it under "pictures"."""
    return record.get("images", record.get("pictures"))


def check_material(stored: Any, now: Sequence[Mapping[str, str]]) -> None:
    """Compare with what the run was begun with, `stored` in run.json.

    Raises UsageError that lists every difference, a line each; AtomtuneError where `stored` is missing or damaged.
    """
    try:
        before = {
            str(entry["file"]): (str(entry["digest"]), str(entry["caption"]), str(entry.get("mask", "")))
            for entry in stored
        }
    except (TypeError, KeyError, AttributeError):
        raise AtomtuneError("run.json does not say which images the run was begun with", _AGAIN) from None
    after = {entry["file"]: (entry["digest"], entry["caption"], entry.get("mask", "")) for entry in now}
    differences = [f"{_shown(name)} was added" for name in after if name not in before]
    differences += [f"{_shown(name)} is missing" for name in before if name not in after]
    both = [name for name in before if name in after]
    differences += [f"{_shown(name)} was changed" for name in both if before[name][0] != after[name][0]]
    differences += [f"the mask of {_shown(name)} was changed" for name in both if before[name][2] != after[name][2]]
    differences += [
        f"the caption of {_shown(name)} was {excerpt(repr(before[name][1]))}, now {excerpt(repr(after[name][1]))}"
        for name in both
        if before[name][1] != after[name][1]
    ]
    if differences:
        more = [f"and {len(differences) - _SHOWN} more"] if len(differences) > _SHOWN else []
        listed = "\n".join([*differences[:_SHOWN], *more])
        raise UsageError(
            f"the run cannot be resumed with other images or captions:\n{listed}", f"put them back, or {_AGAIN}"
        )


def check_base(
    record: Mapping[str, Any], stored: TrainOptions, source: ModelSource, base: str, components: Mapping[str, str]
) -> None:
    """Raise AtomtuneError where the model is not the one that the run was begun with.

    Args:
        base: fingerprint of its UNet.
        components: fingerprints of the other components; version 0.1 did not record them, and nothing is compared.
    """
    recorded = record.get("components")
    before = {**recorded, "unet": record.get("base_fingerprint")} if isinstance(recorded, Mapping) else {}
    for name, digest in {"unet": base, **(components if before else {})}.items():
        was = before.get(name) if before else record.get("base_fingerprint")
        if was != digest:
            raise AtomtuneError(
                f"the base model is {source.name} with the {name} {digest[:12]}, the run began with "
                f"{excerpt(stored.model)} with the {name} {excerpt(was)[:12]}",
                "bring that model back, or start again with --overwrite",
            )


def recorded_digests(record: Mapping[str, Any]) -> dict[str, str]:
    """What run.json says of the cache; empty where version 0.1 wrote it. Raises AtomtuneError where it is damaged."""
    found = record.get("cached", {})
    if not isinstance(found, dict) or not all(isinstance(digest, str) for digest in found.values()):
        raise AtomtuneError("run.json does not say what the run took from the cache", _AGAIN)
    return found


def check_cached(stored: Mapping[str, str], now: Mapping[str, str], where: Path) -> None:
    """Compare what a run takes from the cache with what it was begun with, by digests.

    Args:
        stored: from run.json or a checkpoint; empty where version 0.1 wrote it, and nothing is compared.
        now: digests of each decomposition and of the class images.
        where: the cache.

    Raises AtomtuneError where one is another.
    """
    for name, digest in now.items() if stored else ():
        if stored.get(name) != digest:
            place, mend = " than those in the cache", f"delete them in {where} so that they are made again"
            if name == OWN:
                place, mend = "", "put them back"
            raise AtomtuneError(
                f"the run was begun with other {name}{place} ({excerpt(stored.get(name))[:12]}, now {digest[:12]})",
                f"{mend}, or {_AGAIN}",
            )


def _shown(name: str) -> str:
    return name if name.isprintable() else ascii(name)
