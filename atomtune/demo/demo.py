"""The demo: `pocket` learns a thing it has never seen, and a page shows it."""

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from ..core.fingerprint import fingerprint
from ..data.concept import Concept
from ..errors import UsageError, did_you_mean, excerpt
from ..evaluation.encoders.base import encoders_for
from ..evaluation.encoders.grader import Grader, load_grader, scenes_named
from ..evaluation.evaluate import Evaluation, evaluate_concept
from ..evaluation.measure import Measures, measure
from ..evaluation.options import EvaluateOptions
from ..evaluation.report import BASE, OURS, FigureRow, page_values
from ..files.atomic import write_text
from ..files.output_folder import check_replaceable, claim
from ..files.png import save_png
from ..methods.specs import PRESETS
from ..models.base_model import POCKET, load_pipeline, resolve
from ..models.decomposition import load_or_decompose
from ..pocket.concept import TRAINING_SCENES, concept_images
from ..pocket.world import FIRST_HELD_OUT_SEED, THINGS, Style, render
from ..report.html import render_page
from ..runtime.progress import Events
from ..sampling.generate import GeneratedImage
from ..sampling.options import Settings
from ..training.options import TrainOptions
from ..training.train import train
from .options import DemoOptions
from .other_methods import RATES, OtherMethod, train_other_methods

PRESET = "c2"
IMAGES_OF_EACH = 2  # of each prompt; the first is shown
SAMPLE_STEPS = 25
GUIDANCE = 5.0  # what the figures of `pocket` were taken at; more saturates the colours
INDEX, PROMPTS, RUN = "index.html", "prompts.txt", "run"

COLUMNS = (OURS, BASE, "the real one")
"""Of the figures, on page and terminal; the last one is the thing as its program renders it in those scenes."""

IMAGES = tuple(f"concept/{number:02d}.png" for number in range(1, len(TRAINING_SCENES) + 1))
PROMPT_SCENES = (
    "in the snow",
    "in the jungle",
    "on the beach",
    "with the Eiffel Tower in the background",
    "floating on top of water",
    "on top of green grass with sunflowers around it",
)


@dataclass(frozen=True)
class DemoResult:
    """What the demo came to.

    Attributes:
        index: the page.
        fidelity: mean cosine to the training images, by the grader: base model, atomtune, fresh renderings of it.
        scenes_right: how many of the prompts' scenes the grader names right in each of them.
        other_methods: an object for each, with `compare`.
    """

    index: Path
    trainable_parameters: int
    atoms_file: Path
    atoms_bytes: int
    decompose_seconds: float
    train_seconds: float
    seconds: float
    fidelity: tuple[float, float, float]
    scenes_right: tuple[int, int, int]
    other_methods: tuple[dict[str, Any], ...] = ()


def run_demo(
    output: Path,
    *,
    thing: str = DemoOptions.thing,
    instance: int = DemoOptions.instance,
    steps: int = 300,
    batch_size: int = 4,
    lr: float = 1e-3,
    seed: int = 0,
    compare: bool = False,
    overwrite: bool = False,
    events: Events | None = None,
) -> DemoResult:
    """Render a new thing, train on it, sample with and without it, and write `output`/index.html.

    Args:
        thing: a class of things of the world.
        instance: which one of it; all of them are held out from the training of `pocket`.
        compare: train and show other methods too, see `other_methods`.

    Raises UsageError for an unknown thing, where the page is there and `overwrite` is not set, and where the demo would
    replace files or runs that it did not write.
    """
    events = events or Events()
    began = time.perf_counter()
    if thing not in THINGS:
        raise UsageError(
            f"pocket knows no {excerpt(thing)!r}{did_you_mean(thing, THINGS)}", f"things: {', '.join(THINGS)}"
        )
    index = output / INDEX
    if index.exists() and not overwrite:
        raise UsageError(f"{index} is there already", "--overwrite replaces it, --output names another folder")
    folders = ["concept", "images", RUN, *(f"{RUN}-{name}" for name in RATES if compare)]
    names = [INDEX, PROMPTS, *IMAGES]
    check_replaceable(output, [*names, *folders])
    manifest = claim(output, names)
    for folder in folders:
        manifest.add_folder(output / folder)
    style = Style(FIRST_HELD_OUT_SEED + instance)
    images = render_concept(output / "concept", thing, style)
    options = TrainOptions(
        concept=Concept(thing, thing),
        images=output / "concept",
        model=POCKET,
        spec=PRESETS[PRESET],
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
    )
    source = resolve(POCKET)
    unet: Any = load_pipeline(source).unet
    _, decomposition = load_or_decompose(
        unet, source, PRESETS[PRESET], base_fingerprint=fingerprint(unet), events=events
    )
    result = train(options, output / RUN, overwrite=True, events=events)
    evaluation = _evaluate(output, output / RUN, seed, events)
    others: list[OtherMethod] = []
    if compare:
        others += train_other_methods(options, output, lambda run: _evaluate(output, run, seed, events), events)
    comparison = _compare(evaluation, thing, style, images, others)
    seconds = time.perf_counter() - began
    values = page_values(evaluation, {})
    values |= {
        "images": images,
        "rows": comparison.rows,
        "train": result,
        "atoms_file": result.atoms_file.relative_to(output).as_posix(),
        "decomposition": decomposition,
        "table": _with_the_real_one(values["table"], comparison.fidelity[2]),
        "columns": COLUMNS,
        "scenes_right": comparison.scenes_right,
        "unet_parameters": sum(parameter.numel() for parameter in unet.parameters()),
        "preset": PRESET.upper(),
        "batch_size": batch_size,
        "lr": lr,
        "seed": seed,
        "ours": evaluation.final.scored.measures,
        "other_methods": [
            {**vars(other), **shown} for other, shown in zip(others, comparison.other_methods, strict=True)
        ],
        "seconds": seconds,
        "machine": f"{os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()}",
    }
    write_text(index, render_page("demo.html", **values))
    ours, base, truth = comparison.scenes_right
    return DemoResult(
        index=index,
        trainable_parameters=result.trainable_parameters,
        atoms_file=result.atoms_file,
        atoms_bytes=result.atoms_bytes,
        decompose_seconds=decomposition.seconds,
        train_seconds=result.seconds,
        seconds=seconds,
        fidelity=comparison.fidelity,
        scenes_right=(base, ours, truth),
        other_methods=tuple(comparison.other_methods),
    )


def render_concept(folder: Path, thing: str, style: Style) -> list[Image.Image]:
    """Render a thing in the scenes of its training images, as 01.png, …, in `folder`; returns the images."""
    images = [shown.image for shown in concept_images(thing, style)]
    for name, image in zip(IMAGES, images, strict=True):
        save_png(folder / Path(name).name, image)
    return images


def _evaluate(output: Path, run: Path, seed: int, events: Events) -> Evaluation:
    """Generate the demo's prompts with a run and without it, and score both."""
    prompts = output / PROMPTS
    write_text(prompts, "".join(f"a {{}} {scene}\n" for scene in PROMPT_SCENES))
    options = EvaluateOptions(
        run=run,
        prompts=prompts,
        per_prompt=IMAGES_OF_EACH,
        seed=seed,
        settings=Settings(steps=SAMPLE_STEPS, guidance_scale=GUIDANCE),
    )
    return evaluate_concept(options, lambda name: encoders_for(name, device="cpu"), output, events)


@dataclass(frozen=True)
class _Comparison:
    """The images, and fresh renderings of the same thing.

    Attributes:
        rows: for each prompt the images of it, for the page.
        scenes_right: with the concept, base model, fresh renderings, in the order of `COLUMNS`.
        fidelity, other_methods: as in DemoResult.
    """

    rows: list[dict[str, Any]]
    scenes_right: tuple[int, int, int]
    fidelity: tuple[float, float, float]
    other_methods: list[dict[str, Any]]


def _compare(
    evaluation: Evaluation, thing: str, style: Style, images: list[Image.Image], others: Sequence[OtherMethod]
) -> _Comparison:
    truth = [render(thing, style, scene, FIRST_HELD_OUT_SEED + 100 + i) for i, scene in enumerate(PROMPT_SCENES)]
    real = measure(evaluation.encoders, truth, [None] * len(truth), images).measures
    ours, base = (_first_of_each(group) for group in (evaluation.final.images, evaluation.base_images))
    grader = load_grader()
    words = evaluation.concept.words
    theirs = [_first_of_each(other.evaluation.final.images) for other in others]
    return _Comparison(
        rows=[
            {
                "prompt": f"a {words} {scene}",
                "ours": ours[i],
                "base": base[i],
                "truth": truth[i],
                "others": [
                    {"name": other.name, "image": group[i]} for other, group in zip(others, theirs, strict=True)
                ],
            }
            for i, scene in enumerate(PROMPT_SCENES)
        ],
        scenes_right=(
            _scenes_right(grader, thing, ours),
            _scenes_right(grader, thing, base),
            _scenes_right(grader, thing, truth),
        ),
        fidelity=(_fidelity(evaluation.base.measures), _fidelity(evaluation.final.scored.measures), _fidelity(real)),
        other_methods=[
            {
                "method": other.name,
                "lr": other.lr,
                "trainable_parameters": other.train.trainable_parameters,
                "atoms_bytes": other.train.atoms_bytes,
                "train_seconds": other.train.seconds,
                "fidelity": _fidelity(other.evaluation.final.scored.measures),
                "scenes_right": _scenes_right(grader, thing, group),
            }
            for other, group in zip(others, theirs, strict=True)
        ],
    )


def _with_the_real_one(rows: Sequence[FigureRow], fidelity: float) -> list[FigureRow]:
    """The rows of the page, with the fidelity of fresh renderings in place of that of the training images."""
    return [replace(row, real=None if row.real is None else fidelity) for row in rows]


def _fidelity(measures: Measures) -> float:
    """Fidelity, which is always known where there are images."""
    assert measures.fidelity is not None
    return measures.fidelity


def _first_of_each(images: Sequence[GeneratedImage]) -> list[Image.Image]:
    """The first image of each prompt."""
    firsts = {image.prompt: image for image in reversed(images)}
    return [image.load() for image in reversed(firsts.values())]


def _scenes_right(grader: Grader, thing: str, group: list[Image.Image]) -> int:
    """In how many images the grader names the scene that was asked for, out of all scenes."""
    return sum(scenes_named(grader, thing, PROMPT_SCENES, group))
