"""The figures of the model card: does the grader name what images show, and how near are samples to fresh renders?"""

import logging
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from atomtune.evaluation.encoders.base import ImageEncoder
from atomtune.evaluation.encoders.grader import Grader, load_grader, load_identity
from atomtune.pocket.world import SCENES, THINGS, caption

from .dataset import subject
from .export import load_pipeline
from .figures import excess_distance, mean_psnr, named_things, reconstructions, same_thing, word_figures
from .recipe import Recipe
from .sampling import Cell, cells, sample_cells, sheet
from .training import save_json, training_device

log = logging.getLogger(__name__)


def named(grader: Grader, images: Sequence[Image.Image]) -> list[Cell]:
    """What the grader sees in each image, out of every class in every scene."""
    known = cells()
    return [known[i] for i in grader.classify(images, [caption(*cell) for cell in known]).tolist()]


def accuracy(shown: Sequence[Cell], seen: Sequence[Cell]) -> dict[str, object]:
    """How often class and scene are right, over all and for the worst of each."""
    pairs = list(zip(shown, seen, strict=True))
    things = {thing: [a[0] == b[0] for a, b in pairs if a[0] == thing] for thing in THINGS}
    scenes = {scene: [a[1] == b[1] for a, b in pairs if a[1] == scene] for scene in SCENES if scene}
    by_thing = {name: sum(right) / len(right) for name, right in things.items() if right}
    by_scene = {name: sum(right) / len(right) for name, right in scenes.items() if right}
    return {
        "images": len(pairs),
        "class": sum(a[0] == b[0] for a, b in pairs) / len(pairs),
        "scene": sum(a[1] == b[1] for a, b in pairs) / len(pairs),
        "by_class": by_thing,
        "by_scene": by_scene,
    }


def evaluate(pipeline_folder: Path, grader_folder: Path, work: Path, recipe: Recipe) -> dict[str, object]:
    """All figures; they are kept in work/figures.json, and a sheet of samples in work/sheet.png."""
    device = training_device()
    grader, identity = load_grader(grader_folder, device), load_identity(grader_folder, device)
    pipeline = load_pipeline(pipeline_folder, device)
    sheet(pipeline, recipe).save(work / "sheet.png")
    count = recipe.samples_per_cell * len(THINGS) * len(SCENES)
    shown = [one for one in (subject(n, held_out=True) for n in range(2 * count)) if one.scene]
    images = [Image.fromarray(one.render(64)) for one in shown]
    half = len(images) // 2
    cells_shown = [(one.thing, one.scene) for one in shown]
    figures: dict[str, object] = {
        "fresh": accuracy(cells_shown[:half], named(grader, images[:half])),
        "autoencoder_psnr": round(mean_psnr(images[:500], reconstructions(pipeline, images[:500])), 2),
        "fidelity": same_thing(identity, pipeline),
        "words": word_figures(pipeline),
        "names": named_things(identity, pipeline, recipe),
    }
    log.info("evaluate: %s", figures)
    samples = sample_cells(pipeline, pipeline_folder, work, recipe)
    seen = named(grader, [image for _, image in samples])
    figures["samples"] = {
        **accuracy([cell for cell, _ in samples], seen),
        "steps": recipe.sampling_steps,
        "guidance_scale": recipe.guidance_scale,
        "scheduler": type(pipeline.scheduler).__name__,
    }
    renders = list(zip(cells_shown, images, strict=True))
    figures["distance"] = distances(grader, samples, renders)
    figures["thing_distance"] = distances(identity, samples, renders)
    log.info("evaluate: samples %s, distance %s", figures["samples"], figures["distance"])
    save_json(work / "figures.json", figures)
    return figures


def distances(
    encoder: ImageEncoder, samples: Sequence[tuple[Cell, Image.Image]], fresh: Sequence[tuple[Cell, Image.Image]]
) -> dict[str, object]:
    """Frechet distance of an encoder's embeddings, samples to fresh renders, less that of renders to renders.

    Over all, and by class; the fresh renders are twice as many as the samples: each half is compared with the other.
    """
    half = len(fresh) // 2
    sets = [
        (cells_of, encoder.encode_images(images))
        for cells_of, images in map(_apart, (samples, fresh[:half], fresh[half:]))
    ]

    def of(thing: str | None) -> float:
        parts = [
            vectors[[i for i, cell in enumerate(cells_of) if thing in (None, cell[0])]] for cells_of, vectors in sets
        ]
        return round(excess_distance(*parts), 4)

    return {"all": of(None), "by_class": {thing: of(thing) for thing in THINGS}}


def _apart(pairs: Sequence[tuple[Cell, Image.Image]]) -> tuple[list[Cell], list[Image.Image]]:
    return [cell for cell, _ in pairs], [image for _, image in pairs]
