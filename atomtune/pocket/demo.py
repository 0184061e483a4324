"""The demo: `pocket` learns a thing it has never seen, and a page shows it."""

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from .. import __version__
from ..core.fingerprint import fingerprint
from ..diffusion.concept import Concept
from ..diffusion.decomposition import obtain
from ..diffusion.events import Events
from ..diffusion.models import POCKET, load_pipeline, resolve
from ..diffusion.sampling.generate import Settings
from ..diffusion.sampling.sample import SampleOptions, sample
from ..diffusion.training.options import TrainOptions
from ..diffusion.training.train import TrainResult, train
from ..errors import UsageError
from ..evaluate.grader import Grader, load_grader
from ..evaluate.page import render_page
from ..files.atomic import write_atomically, write_text
from ..methods.atoms import PRESETS
from .world import FIRST_HELD_OUT_SEED, SCENES, THINGS, Style, render

PRESET = "c2"
TRAINING_SCENES = (
    "",
    "on a cobblestone street",
    "with a mountain in the background",
    "on top of a dirt road",
    "with a city in the background",
)
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
        likeness: mean cosine to the training pictures, by the grader: base model, atomtune, fresh drawings of it.
        scenes_right: how many of the prompts' scenes the grader names right in each of them.
    """

    index: Path
    trainable_parameters: int
    atoms_file: Path
    atoms_bytes: int
    decompose_seconds: float
    train_seconds: float
    seconds: float
    likeness: tuple[float, float, float]
    scenes_right: tuple[int, int, int]


def run_demo(
    output: Path,
    *,
    thing: str = "castle",
    instance: int = 7,
    steps: int = 300,
    batch_size: int = 4,
    lr: float = 1e-3,
    seed: int = 0,
    overwrite: bool = False,
    events: Events | None = None,
) -> DemoResult:
    """Draw a new thing, train on it, sample with and without it, and write `output`/index.html.

    Args:
        thing: a class of things of the world.
        instance: which one of it; all of them are held out from the training of `pocket`.

    Raises UsageError for an unknown thing, or where the page is there and `overwrite` is not set.
    """
    events = events or Events()
    began = time.perf_counter()
    if thing not in THINGS:
        raise UsageError(f"pocket knows no {thing!r}", f"things: {', '.join(THINGS)}")
    index = output / "index.html"
    if index.exists() and not overwrite:
        raise UsageError(f"{index} is there already", "--overwrite replaces it, --output names another folder")
    style = Style(FIRST_HELD_OUT_SEED + instance)
    pictures = _draw_concept(output / "concept", thing, style)
    concept = Concept(thing, thing)

    source = resolve(POCKET)
    options = TrainOptions(
        concept=concept,
        images=output / "concept",
        model=POCKET,
        spec=PRESETS[PRESET],
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
    )
    unet: Any = load_pipeline(source).unet
    _, decomposition = obtain(unet, source, options.spec, base_fingerprint=fingerprint(unet), events=events)
    result = train(options, output / "run", overwrite=True, events=events)

    prompts = tuple(f"a <{thing}> {scene}" for scene in PROMPT_SCENES)
    drawn, _ = sample(
        SampleOptions(
            atoms=((result.atoms_file, 1.0),),
            prompts=prompts,
            model=POCKET,
            seed=seed,
            settings=Settings(steps=25),
            batch_size=len(prompts),
            base=True,
        ),
        output / "samples",
        events,
    )
    base = [item.image for item in drawn if item.base]
    ours = [item.image for item in drawn if not item.base]
    truth = [render(thing, style, scene, FIRST_HELD_OUT_SEED + 100 + i) for i, scene in enumerate(PROMPT_SCENES)]
    grader = load_grader()
    graded = [_grade(grader, pictures, thing, group) for group in (base, ours, truth)]
    seconds = time.perf_counter() - began
    shown = [item.prompt for item in drawn if item.base]
    rows = [
        {"prompt": prompt, "base": b, "ours": o, "truth": t}
        for prompt, b, o, t in zip(shown, base, ours, truth, strict=True)
    ]
    page = render_page(
        "demo.html",
        concept=concept,
        pictures=pictures,
        rows=rows,
        train=result,
        decomposition=decomposition,
        likeness=[likeness for likeness, _ in graded],
        scenes_right=[right for _, right in graded],
        unet_parameters=sum(parameter.numel() for parameter in unet.parameters()),
        preset=PRESET.upper(),
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        seconds=seconds,
        machine=f"{os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()}",
        curve=(output / "run" / "loss.svg").read_text(encoding="utf-8"),
        version=__version__,
    )
    write_text(index, page)
    return _result(index, result, decomposition.seconds, seconds, graded)


def _result(
    index: Path, result: TrainResult, decompose_seconds: float, seconds: float, graded: list[tuple[float, int]]
) -> DemoResult:
    (base, base_right), (ours, ours_right), (truth, truth_right) = graded
    return DemoResult(
        index=index,
        trainable_parameters=result.trainable_parameters,
        atoms_file=result.atoms_file,
        atoms_bytes=result.atoms_bytes,
        decompose_seconds=decompose_seconds,
        train_seconds=result.seconds,
        seconds=seconds,
        likeness=(base, ours, truth),
        scenes_right=(base_right, ours_right, truth_right),
    )


def _draw_concept(folder: Path, thing: str, style: Style) -> list[Image.Image]:
    pictures = [render(thing, style, scene, FIRST_HELD_OUT_SEED + i) for i, scene in enumerate(TRAINING_SCENES)]
    for number, picture in enumerate(pictures, start=1):
        _save(folder / f"{number:02d}.png", picture)
    return pictures


def _save(path: Path, picture: Image.Image) -> None:
    write_atomically(path, lambda temporary: picture.save(temporary, format="PNG"))


def _grade(grader: Grader, pictures: list[Image.Image], thing: str, group: list[Image.Image]) -> tuple[float, int]:
    likeness = float((grader.encode_images(group) @ grader.encode_images(pictures).T).mean())
    scenes = [scene for scene in SCENES if scene]
    named = grader.classify(group, [f"a {thing} {scene}" for scene in scenes]).tolist()
    right = sum(scenes[answer] == scene for answer, scene in zip(named, PROMPT_SCENES, strict=True))
    return likeness, right
