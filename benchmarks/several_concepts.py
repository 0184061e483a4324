"""Several concepts in one training beside two trainings whose files are added up, for two things of pocket.

python -m benchmarks.several_concepts --work DIR [--noun dog] [--steps 600]

Both are of one class, so that the token alone tells them apart. Asked for one of them, an image is confused where the
identity encoder finds it nearer to what was taught as the other; the margin is how much nearer it is to its own.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from atomtune.data.concept import Concept
from atomtune.data.options import TaughtConcept
from atomtune.evaluation.encoders.grader import load_identity
from atomtune.evaluation.measure import confusion
from atomtune.evaluation.metrics import fidelity_each
from atomtune.files.run_result import result_in
from atomtune.pocket.concept import TRAINING_SCENES, concept_images, new_thing
from atomtune.pocket.world import SCENES, THINGS
from atomtune.sampling.options import SampleOptions, Settings
from atomtune.sampling.sample import sample
from atomtune.training.options import TrainOptions
from atomtune.training.train import train

NAMES = ("rex", "fido")
HELD_OUT = 4  # scenes that are asked for, of those that are not trained on


@dataclass(frozen=True)
class Told:
    """How well two concepts are told apart.

    Attributes:
        confused: share of images that are nearer to the other concept.
        margin: mean cosine with the images of the concept less that with the other's.
        fidelity: mean cosine with the images of the concept.
    """

    confused: float
    margin: float
    fidelity: float


def compare(
    work: Path, noun: str = "dog", steps: int = 600, per_prompt: int = 2, preserve: float = 0.0
) -> dict[str, Told]:
    """One training of both, and the files of two trainings of half as many steps, added up."""
    concepts = [Concept(name, noun) for name in NAMES]
    taught = []
    for number, concept in enumerate(concepts):
        folder = work / "images" / concept.name
        folder.mkdir(parents=True)
        for index, made in enumerate(concept_images(noun, new_thing(number))):
            made.image.save(folder / f"{index}.png")
        taught.append(TaughtConcept(concept=concept, images=folder))

    def run(some: Sequence[TaughtConcept], taken: int) -> Path:
        first, *others = some
        output = work / "-".join(one.concept.name for one in some)
        options = TrainOptions(
            concept=first.concept,
            images=first.images,
            others=tuple(others),
            model="pocket",
            steps=taken,
            batch_size=4,
            train_token=True,
            token_lr=1e-2,
            preserve=preserve,
        )
        train(options, output)
        return result_in(output)

    files = {"one training": [run(taught, steps)], "two, added up": [run([one], steps // 2) for one in taught]}
    return {name: told(some, taught, work / f"images of {name}", per_prompt) for name, some in files.items()}


def told(files: Sequence[Path], taught: Sequence[TaughtConcept], output: Path, per_prompt: int) -> Told:
    """Ask for each concept in scenes that were not trained on, and see whose image it is."""
    scenes = [scene for scene in SCENES if scene and scene not in TRAINING_SCENES][:HELD_OUT]
    identity = load_identity()
    known = [
        identity.encode_images([made.image for made in concept_images(one.concept.class_noun, new_thing(number))])
        for number, one in enumerate(taught)
    ]
    shares, margins, near = [], [], []
    for number, one in enumerate(taught):
        options = SampleOptions(
            atoms=tuple((file, 1.0) for file in files),
            prompts=tuple(f"a <{one.concept.name}> {scene}" for scene in scenes),
            per_prompt=per_prompt,
            seed=100,
            settings=Settings(steps=25, guidance_scale=5.0),
        )
        made, _ = sample(options, output)
        embeddings = identity.encode_images([image.load() for image in made])
        own = fidelity_each(embeddings, known[number])
        others = [group for index, group in enumerate(known) if index != number]
        shares.append(confusion(own, others, embeddings) or 0.0)
        margins.append(own - torch.stack([fidelity_each(embeddings, group) for group in others]).amax(dim=0))
        near.append(own)
    return Told(sum(shares) / len(shares), _mean(margins), _mean(near))


def _mean(values: Sequence[Tensor]) -> float:
    return float(torch.cat(list(values)).mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.several_concepts")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--noun", default="dog", choices=list(THINGS))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--per-prompt", type=int, default=2)
    parser.add_argument("--preserve", type=float, default=0.0)
    given = parser.parse_args(arguments)
    found = compare(given.work, given.noun, given.steps, given.per_prompt, given.preserve)
    print("| | confused | margin | fidelity |\n|---|--:|--:|--:|")
    for name, one in found.items():
        print(f"| {name} | {one.confused:.2f} | {one.margin:.3f} | {one.fidelity:.3f} |")


if __name__ == "__main__":
    main()
