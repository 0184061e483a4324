"""Masks where the truth is known: things of `pocket`'s world, all images of which have one and the same background."""

from pathlib import Path

import pytest
from PIL import Image

from atomtune.data.concept import Concept
from atomtune.demo.concept_folder import write_concept
from atomtune.evaluation.encoders.grader import load_grader, load_identity
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.pocket.concept import concept_images, new_thing
from atomtune.pocket.world import SCENES, caption
from atomtune.runtime.progress import Events
from atomtune.sampling.apply import applied
from atomtune.sampling.changes import read_atoms
from atomtune.sampling.generate import generate_images
from atomtune.sampling.options import Settings
from atomtune.training.options import TrainOptions
from atomtune.training.train import train

BACKGROUND = "on top of pink fabric"
ELSEWHERE = ("in the snow", "in the jungle", "on the beach", "on a cobblestone street", "with a city in the background")
IMAGES_OF_EACH = 4


@pytest.mark.slow
def test_a_background_that_all_images_share_is_not_learned_with_masks(tmp_path: Path) -> None:
    scenes_right, fidelity = {}, {}
    images = tmp_path / "concepts"
    rendered = concept_images("teapot", new_thing(7), [BACKGROUND], 5)
    write_concept(images, rendered, masks=True)
    for masked in (False, True):
        options = TrainOptions(
            concept=Concept("teapot", "teapot"), images=images, model="pocket", masked=masked, steps=300, batch_size=4
        )
        result = train(options, tmp_path / f"run-{masked}")
        generated = sampled(result.atoms_file)
        known = [("teapot", scene) for scene in SCENES]
        seen = load_grader().classify([image for _, image in generated], [caption(*cell) for cell in known])
        right = [known[place][1] == scene for (scene, _), place in zip(generated, seen.tolist(), strict=True)]
        scenes_right[masked] = sum(right) / len(right)
        identity = load_identity()
        real = identity.encode_images([shown.image for shown in rendered])
        fidelity[masked] = float((identity.encode_images([image for _, image in generated]) @ real.T).mean())
    assert scenes_right[True] >= 0.95 > scenes_right[False], scenes_right
    assert fidelity[True] >= fidelity[False], fidelity


def sampled(atoms_file: Path) -> list[tuple[str, Image.Image]]:
    """Images of the concept in scenes that it was never seen in, each with its scene."""
    pipeline = load_pipeline(resolve("pocket"))
    wanted = [(f"a sks teapot {scene}", seed) for scene in ELSEWHERE for seed in range(IMAGES_OF_EACH)]
    with applied(pipeline, read_atoms([(atoms_file, 1.0)]), Events()):
        images = list(generate_images(pipeline, wanted, Settings(steps=25, guidance_scale=5.0), 4))
    return [(ELSEWHERE[place // IMAGES_OF_EACH], image) for place, image in enumerate(images)]
