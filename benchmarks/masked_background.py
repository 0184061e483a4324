"""What masks are for: five images of a thing of pocket on one and the same background, learned with and without.

python -m benchmarks.masked_background --work DIR [--scene "on top of pink fabric"]

For each training: how many of the other scenes the grader names right when they are asked for, and how near the
thing is to what was taught, by the identity encoder against fresh renderings of it.
"""

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from atomtune.data.concept import Concept
from atomtune.evaluation.encoders.grader import load_grader, load_identity, scenes_named
from atomtune.files.run_result import result_in
from atomtune.pocket.concept import new_thing
from atomtune.pocket.world import FIRST_HELD_OUT_SEED, SCENES, render, render_with_mask
from atomtune.pocket.world.canvas import Canvas
from atomtune.sampling.options import SampleOptions, Settings
from atomtune.sampling.sample import sample
from atomtune.training.options import TrainOptions
from atomtune.training.train import train

THING, IMAGES, SIDE = "castle", 5, 64
SCENE = "on top of pink fabric"
ANOTHER_VIEW = 50  # after the views that are trained on


@dataclass(frozen=True)
class Learned:
    """What came of a training.

    Attributes:
        right: scenes that the grader names right, of `asked`.
        identity: mean cosine to fresh renderings of the thing.
    """

    right: int
    asked: int
    identity: float


def write_images(folder: Path, scene: str) -> Path:
    """Five views of one thing on the very same background, each with its exact mask; returns `folder`."""
    folder.mkdir(parents=True)
    canvas = Canvas()
    SCENES[scene].back(canvas, random.Random("background"))
    background = canvas.image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    for number in range(IMAGES):
        image, mask = render_with_mask(THING, new_thing(0), "", FIRST_HELD_OUT_SEED + number, SIDE)
        Image.composite(image, background, mask).save(folder / f"{number}.png")
        mask.save(folder / f"{number}.mask.png")
    return folder


def learned(images: Path, run: Path, scene: str, masked: bool, steps: int, per_prompt: int) -> Learned:
    """Train on a folder and ask for the thing in every scene but the one of its images."""
    options = TrainOptions(
        concept=Concept(THING, THING), images=images, model="pocket", steps=steps, batch_size=4, masked=masked
    )
    train(options, run)
    scenes = [other for other in SCENES if other and other != scene]
    wanted = SampleOptions(
        atoms=((result_in(run), 1.0),),
        prompts=tuple(f"a <{THING}> {other}" for other in scenes),
        per_prompt=per_prompt,
        seed=100,
        settings=Settings(steps=25, guidance_scale=5.0),
    )
    made, _ = sample(wanted, run / "samples")
    pictures = [image.load() for image in made]
    right = scenes_named(load_grader(), THING, [other for other in scenes for _ in range(per_prompt)], pictures)
    identity = load_identity()
    fresh = [render(THING, new_thing(0), other, FIRST_HELD_OUT_SEED + ANOTHER_VIEW) for other in scenes]
    likeness = identity.encode_images(pictures) @ identity.encode_images(fresh).T
    return Learned(sum(right), len(right), float(likeness.mean()))


def compare(work: Path, scene: str = SCENE, steps: int = 300, per_prompt: int = 2) -> dict[str, Learned]:
    """The trainings without and with masks."""
    images = write_images(work / "images", scene)
    return {
        name: learned(images, work / name, scene, name == "masked", steps, per_prompt) for name in ("plain", "masked")
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each training."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.masked_background")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--scene", default=SCENE, choices=[scene for scene in SCENES if scene])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--per-prompt", type=int, default=2)
    given = parser.parse_args(arguments)
    print("| training | scenes named right | identity |\n|---|---|---|")
    for name, one in compare(given.work, given.scene, given.steps, given.per_prompt).items():
        print(f"| {name} | {one.right} of {one.asked} ({one.right / one.asked:.2f}) | {one.identity:.2f} |")


if __name__ == "__main__":
    main()
