"""Resuming a run: which options may change, and the check that it sees the images and captions it was begun with."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..data.images import TrainingImage
from ..errors import AtomtuneError, UsageError, excerpt
from .optimizers import ENDLESS
from .options import TrainOptions

_AGAIN = "start again with --overwrite"
_SHOWN = 20  # differences listed


def resumed(stored: TrainOptions, asked: TrainOptions, explicit: frozenset[str]) -> TrainOptions:
    """The options of a resumed run: what it was started with; only `steps` may change, if the schedule allows it, and
    how the steps are carried out.

    Args:
        stored: from run.json.
        asked: from the command line, defaults included.
        explicit: names of the fields of `asked` (and "spec") that the user really gave.

    Raises UsageError that lists every option given that differs, or where the learning rates of the steps taken would
    have been others with the new number of steps.
    """
    if stored.concept.name != asked.concept.name:
        raise UsageError(
            f"the run in this folder is of the concept {stored.concept.name!r}, not {asked.concept.name!r}",
            f"--concept {stored.concept.name} resumes it, --output names another folder",
        )
    was, now = stored.flat_dict(), asked.flat_dict()
    free = {"steps", "cuda_graph", "compile"}
    differing = [name for name in sorted(explicit - free) if name in now and was[name] != now[name]]
    if differing:
        listed = "\n".join(f"{name} was {was[name]!r}, now {now[name]!r}" for name in differing)
        raise UsageError(
            f"the run cannot be resumed with other options:\n{listed}",
            "leave them out, or start again with --overwrite",
        )
    if "steps" in explicit and asked.steps != stored.steps and stored.lr_scheduler not in ENDLESS:
        raise UsageError(
            f"the run was begun with {stored.steps} steps, which its {stored.lr_scheduler} learning rate depends on; "
            f"it cannot be resumed with {asked.steps}",
            f"leave out --steps, or start again with --overwrite; {' and '.join(sorted(ENDLESS))} runs can go on",
        )
    return replace(stored, **{name: getattr(asked, name) for name in explicit & free})


def material_of(images: Sequence[TrainingImage], captions: Sequence[str]) -> list[dict[str, str]]:
    """File name, digest of the pixels and caption of every image, for JSON."""
    return [
        {"file": image.path.name, "digest": image.digest, "caption": caption}
        for image, caption in zip(images, captions, strict=True)
    ]


def recorded_images(record: Mapping[str, Any]) -> Any:
    """What run.json says of the images; versions up to 0.1 kept it under "pictures"."""
    return record.get("images", record.get("pictures"))


def check_material(stored: Any, now: Sequence[Mapping[str, str]]) -> None:
    """Compare with what the run was begun with, `stored` in run.json.

    Raises UsageError that lists every difference, a line each; AtomtuneError where `stored` is missing or damaged.
    """
    try:
        before = {str(entry["file"]): (str(entry["digest"]), str(entry["caption"])) for entry in stored}
    except (TypeError, KeyError):
        raise AtomtuneError("run.json does not say which images the run was begun with", _AGAIN) from None
    after = {entry["file"]: (entry["digest"], entry["caption"]) for entry in now}
    differences = [f"{_shown(name)} was added" for name in after if name not in before]
    differences += [f"{_shown(name)} is missing" for name in before if name not in after]
    both = [name for name in before if name in after]
    differences += [f"{_shown(name)} was changed" for name in both if before[name][0] != after[name][0]]
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


def _shown(name: str) -> str:
    return name if name.isprintable() else ascii(name)
