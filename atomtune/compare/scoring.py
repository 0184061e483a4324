"""The score of a run: evaluate's, kept in the run's folder, and read again while what it rests on is the same."""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..data.concept import read_prompts
from ..evaluation.checkpoint_selection import worth
from ..evaluation.encoders.base import Encoders
from ..evaluation.encoders.grader import Grader, scenes_named
from ..evaluation.evaluate import Evaluation, evaluate_concept
from ..evaluation.measure import Measures
from ..evaluation.options import EvaluateOptions
from ..files.atomic import write_text
from ..files.untrusted_json import read_json
from ..runtime.progress import Events
from ..sampling.generate import GeneratedImage
from .options import CompareOptions, Job
from .runs import SCORE, Trained


@dataclass(frozen=True)
class Score:
    """What a run's images score, and the base model's of the same prompts and seeds.

    Attributes:
        real: mean cosine between different images of the concept; None where there is one only.
        worth: see `checkpoint_selection.worth`.
        scenes_right, base_scenes_right: share of the images in which pocket's grader names the scene asked for, of
            all scenes; None for other models, or where no prompt names one.
        images, base_images: prompt by prompt.
        encoders: names, by measure; preprocessing: of the one for fidelity.
    """

    measures: Measures
    base: Measures
    real: float | None
    worth: float
    scenes_right: float | None
    base_scenes_right: float | None
    images: list[GeneratedImage]
    base_images: list[GeneratedImage]
    encoders: dict[str, str]
    preprocessing: str


def score_run(job: Job, done: Trained, options: CompareOptions, encoders: Encoders, events: Events) -> Score:
    """Score a run; images that are missing are generated, the base model's once for all runs of a concept.

    Raises AtomtuneError where images are not finite, or files cannot be read.
    """
    asked = replace(options.scoring, run=job.folder, prompts=job.subject.prompts, checkpoints=False)
    evaluation = evaluate_concept(asked, lambda _name: encoders, job.image_folder, events)
    score = _score(evaluation)
    stored = asdict(score) | {
        "key": score_key(job, done, options),
        "images": [_packed(image, job.image_folder) for image in score.images],
        "base_images": [_packed(image, job.image_folder) for image in score.base_images],
    }
    write_text(job.folder / SCORE, json.dumps(stored, indent=1) + "\n")
    return score


def stored_score(
    job: Job, done: Trained, options: CompareOptions, encoders: dict[str, str] | None = None
) -> Score | None:
    """The score of a run that was scored before in the same way and whose images are there; else None.

    Args:
        encoders: names of those that the score must rest on; None for whichever they are.
    """
    try:
        stored = read_json(job.folder / SCORE)
        if stored.pop("key") != score_key(job, done, options):
            return None
        stored["measures"], stored["base"] = (Measures.from_dict(stored[name]) for name in ("measures", "base"))
        for name in ("images", "base_images"):
            stored[name] = [
                GeneratedImage(job.image_folder / one["file"], one["prompt"], one["seed"]) for one in stored[name]
            ]
        score = Score(**stored)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # not there, or of another version: it is computed anew
    there = all(image.path.is_file() for image in (*score.images, *score.base_images))
    return score if there and encoders in (None, score.encoders) else None


def names_of(encoders: Encoders) -> dict[str, str]:
    """The names of encoders, by measure."""
    names = {name: getattr(encoders, name).name for name in ("fidelity", "diversity", "alignment")}
    return names | ({"dino": encoders.dino.name} if encoders.dino else {})


def score_key(job: Job, done: Trained, options: CompareOptions) -> dict[str, Any]:
    """What decides a score, but for the encoders that the hub has."""
    scoring = options.scoring
    settings = {field.name: getattr(scoring, field.name) for field in fields(EvaluateOptions)}
    if scoring.vae is None:  # scores of before know nothing of it
        settings.pop("vae")
    for name in ("concept", "run", "prompts", "checkpoints", "scales", "device", "batch_size"):
        settings.pop(name)
    return {
        "atoms": done.sha256,
        "base": done.base_fingerprint,
        "prompts": read_prompts(job.subject.prompts, [job.subject.concept]),
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
        scenes_right=_scenes_right(evaluation, evaluation.final.images),
        base_scenes_right=_scenes_right(evaluation, evaluation.base_images),
        images=evaluation.final.images,
        base_images=evaluation.base_images,
        encoders=names_of(encoders),
        preprocessing=encoders.fidelity.preprocessing,
    )


def _scenes_right(evaluation: Evaluation, images: list[GeneratedImage]) -> float | None:
    grader = evaluation.encoders.alignment
    if not isinstance(grader, Grader):
        return None
    noun, words = evaluation.concept.class_noun, evaluation.concept.words
    asked = [image.prompt.replace(words, noun).removeprefix(f"a {noun} ") for image in images]
    named = scenes_named(grader, noun, asked, [image.load() for image in images])
    return sum(named) / len(named) if named else None


def _packed(image: GeneratedImage, below: Path) -> dict[str, Any]:
    return {"file": image.path.relative_to(below).as_posix(), "prompt": image.prompt, "seed": image.seed}
