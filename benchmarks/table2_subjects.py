"""The thirty subjects of the DreamBooth benchmark (Ruiz et al. 2023), and the unseen things that stand in on pocket.

The photos are not part of this project: https://github.com/google/dreambooth has them, a folder for each subject.
CustomConcept101's concepts are in `table2_customconcept`.
"""

from collections.abc import Sequence
from pathlib import Path

from atomtune.compare.options import Subject
from atomtune.data.concept import Concept
from atomtune.data.image_files import find_images
from atomtune.demo.demo import PROMPT_SCENES, render_concept
from atomtune.errors import AtomtuneError, UsageError
from atomtune.evaluation.prompt_sets import prompt_set
from atomtune.pocket.world import FIRST_HELD_OUT_SEED, THINGS, Style

OBJECTS = {
    "backpack": "backpack",
    "backpack_dog": "backpack",
    "bear_plushie": "stuffed animal",
    "berry_bowl": "bowl",
    "can": "can",
    "candle": "candle",
    "clock": "clock",
    "colorful_sneaker": "sneaker",
    "duck_toy": "toy",
    "fancy_boot": "boot",
    "grey_sloth_plushie": "stuffed animal",
    "monster_toy": "toy",
    "pink_sunglasses": "glasses",
    "poop_emoji": "toy",
    "rc_car": "toy",
    "red_cartoon": "cartoon",
    "robot_toy": "toy",
    "shiny_sneaker": "sneaker",
    "teapot": "teapot",
    "vase": "vase",
    "wolf_plushie": "stuffed animal",
}
"""Folders of the photos of objects, with what the base model calls each."""

LIVE = {"cat": "cat", "cat2": "cat", **{f"dog{number}": "dog" for number in ("", 2, 3, 5, 6, 7, 8)}}
"""The same of the live subjects, which have prompts of their own."""

SUBJECTS = OBJECTS | LIVE

POCKET_THINGS = ("castle", "robot", "teapot", "car", "dog", "backpack")
POCKET_SWEEP = ("boat", "clock")
"""Things that the learning rates are chosen on; never among those of the table."""

_INSTANCE, _SWEEP_INSTANCE = 11, 12  # of what pocket was never trained on; the demo's is another


def photographed(photos: Path, subjects: Sequence[str] = ()) -> tuple[Subject, ...]:
    """The subjects of the benchmark, or those named, with their photos in `photos`/SUBJECT.

    Raises UsageError for a subject that there is not, AtomtuneError that names every folder that lacks its photos.
    """
    if unknown := [name for name in subjects if name not in SUBJECTS]:
        raise UsageError(f"the benchmark has no subject {unknown[0]!r}", f"subjects are {', '.join(SUBJECTS)}")
    wanted = list(subjects) or list(SUBJECTS)
    missing = [name for name in wanted if not has_images(photos / name)]
    if missing:
        raise AtomtuneError(
            f"{len(missing)} of {len(wanted)} subjects have no photos in {photos}: {', '.join(missing)}",
            "each has a folder of that name in the data set of google/dreambooth; --subjects A,B takes some only",
        )
    return tuple(
        Subject(
            Concept(name, SUBJECTS[name]),
            photos / name,
            prompt_set("dreambooth_live_subjects.txt" if name in LIVE else "dreambooth_objects.txt"),
        )
        for name in wanted
    )


def drawn(work: Path, count: int) -> tuple[Subject, ...]:
    """Unseen things of pocket's world for the table, their images drawn into `work`."""
    things = [*POCKET_THINGS, *(thing for thing in THINGS if thing not in POCKET_THINGS + POCKET_SWEEP)]
    if not 1 <= count <= len(things):
        raise UsageError(f"--concepts must be from 1 to {len(things)}, not {count}", "6 is the table's")
    return _drawn(work, things[:count], _INSTANCE)


def drawn_for_sweep(work: Path) -> tuple[Subject, ...]:
    """The things that learning rates are chosen on."""
    return _drawn(work, POCKET_SWEEP, _SWEEP_INSTANCE)


def _drawn(work: Path, things: Sequence[str], instance: int) -> tuple[Subject, ...]:
    prompts = work / "prompts.txt"
    prompts.parent.mkdir(parents=True, exist_ok=True)
    prompts.write_text("".join(f"a {{}} {scene}\n" for scene in PROMPT_SCENES), encoding="utf-8")
    for thing in things:
        render_concept(work / "concepts" / thing, thing, Style(FIRST_HELD_OUT_SEED + instance))
    return tuple(Subject(Concept(thing, thing), work / "concepts" / thing, prompts) for thing in things)


def has_images(folder: Path) -> bool:
    """Whether a folder has images that can be found."""
    try:
        return bool(find_images(folder)[0])
    except AtomtuneError:
        return False
