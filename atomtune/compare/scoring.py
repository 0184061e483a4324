"""The score of a run: evaluate's, kept beside the run, and told again while what it rests on is the same."""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..data.concept import read_prompts
from ..evaluate.checkpoint_selection import worth
from ..evaluate.encoders.base import Encoders
from ..evaluate.encoders.grader import Grader, scenes_named
from ..evaluate.evaluate import Evaluation, evaluate_concept
from ..evaluate.image_sets import Picture
from ..evaluate.inputs import EvaluateOptions
from ..evaluate.measure import Measures
from ..files.atomic import write_text
from ..files.untrusted_json import read_json
from ..runtime.progress import Events
from .options import CompareOptions, Job
from .runs import Trained

SCORE = "score.json"
"""In a run's folder."""


@dataclass(frozen=True)
class Score:
    """What a run's pictures score, and the base model's of the same prompts and seeds.

    Attributes:
        real: mean cosine between different pictures of the concept; None where there is one only.
        worth: see `picking.worth`.
        scenes_right, base_scenes_right: share of the pictures in which pocket's grader names the scene asked for, of
            all scenes; None for other models, or where no prompt names one.
        pictures, base_pictures: prompt by prompt.
        encoders: names, by what they tell; preprocessing: of the one that tells fidelity.
    """

    measures: Measures
    base: Measures
    real: float | None
    worth: float
    scenes_right: float | None
    base_scenes_right: float | None
    pictures: list[Picture]
    base_pictures: list[Picture]
    encoders: dict[str, str]
    preprocessing: str


def score_run(job: Job, done: Trained, options: CompareOptions, encoders: Encoders, events: Events) -> Score:
    """Score a run; pictures that are missing are drawn, the base model's once for all runs of a concept.

    Raises AtomtuneError where pictures are not finite, or files cannot be read.
    """
    asked = replace(options.scoring, run=job.folder, prompts=job.taught.prompts, checkpoints=False)
    evaluation = evaluate_concept(asked, lambda _name: encoders, job.pictures, events)
    score = _score(evaluation)
    stored = asdict(score) | {
        "key": _key(job, done, options),
        "pictures": [_packed(picture, job.pictures) for picture in score.pictures],
        "base_pictures": [_packed(picture, job.pictures) for picture in score.base_pictures],
    }
    write_text(job.folder / SCORE, json.dumps(stored, indent=1) + "\n")
    return score


def stored_score(
    job: Job, done: Trained, options: CompareOptions, encoders: dict[str, str] | None = None
) -> Score | None:
    """The score of a run that was scored before in the same way and whose pictures are there; else None.

    Args:
        encoders: names of those that a score must be told by; None for whichever they are.
    """
    try:
        told = read_json(job.folder / SCORE)
        if told.pop("key") != _key(job, done, options):
            return None
        told["measures"], told["base"] = (Measures(**told[name]) for name in ("measures", "base"))
        for name in ("pictures", "base_pictures"):
            told[name] = [Picture(job.pictures / one["file"], one["prompt"], one["seed"]) for one in told[name]]
        score = Score(**told)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # not there, or of another version: it is told anew
    there = all(picture.path.is_file() for picture in (*score.pictures, *score.base_pictures))
    return score if there and encoders in (None, score.encoders) else None


def names_of(encoders: Encoders) -> dict[str, str]:
    """The names of encoders, by what they tell."""
    names = {name: getattr(encoders, name).name for name in ("fidelity", "diversity", "alignment")}
    return names | ({"dino": encoders.dino.name} if encoders.dino else {})


def _key(job: Job, done: Trained, options: CompareOptions) -> dict[str, Any]:
    """What decides a score."""
    scoring = options.scoring
    settings = {field.name: getattr(scoring, field.name) for field in fields(EvaluateOptions)}
    for name in ("run", "prompts", "checkpoints", "strengths", "device", "batch_size"):
        settings.pop(name)
    return {
        "atoms": done.sha256,
        "base": done.base_fingerprint,
        "prompts": read_prompts(job.taught.prompts, [job.taught.concept]),
        "encoders": dict(sorted(options.encoder_paths.items())),
        **(settings | {"settings": str(scoring.settings)}),
    }


def _score(evaluation: Evaluation) -> Score:
    encoders, base, ours = evaluation.encoders, evaluation.base.measures, evaluation.final.scored.measures
    return Score(
        measures=ours,
        base=base,
        real=evaluation.real,
        worth=worth(ours, base, 1.0 if evaluation.real is None else evaluation.real),
        scenes_right=_scenes_right(evaluation, evaluation.final.pictures),
        base_scenes_right=_scenes_right(evaluation, evaluation.base_pictures),
        pictures=evaluation.final.pictures,
        base_pictures=evaluation.base_pictures,
        encoders=names_of(encoders),
        preprocessing=encoders.fidelity.preprocessing,
    )


def _scenes_right(evaluation: Evaluation, pictures: list[Picture]) -> float | None:
    grader = evaluation.encoders.alignment
    if not isinstance(grader, Grader):
        return None
    noun, words = evaluation.concept.class_noun, evaluation.concept.words
    asked = [picture.prompt.replace(words, noun).removeprefix(f"a {noun} ") for picture in pictures]
    named = scenes_named(grader, noun, asked, [picture.load() for picture in pictures])
    return sum(named) / len(named) if named else None


def _packed(picture: Picture, below: Path) -> dict[str, Any]:
    return {"file": picture.path.relative_to(below).as_posix(), "prompt": picture.prompt, "seed": picture.seed}
