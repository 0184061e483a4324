"""What a run learns from, as run.json keeps it: a resumed run must see the very same images and captions."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..data.images import TrainingImage
from ..errors import AtomtuneError, UsageError, excerpt

_AGAIN = "start again with --overwrite"
_SHOWN = 20  # differences listed


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
