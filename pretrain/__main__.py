"""Train `pocket` from nothing: `python -m pretrain --work DIR` (some 2.5 hours on two CPU cores).

The work folder (about 1 GB) holds pictures, latents and checkpoints; the same command continues where it was stopped.
The result goes to atomtune/pocket/weights, or to --weights.
"""

import argparse
import json
import logging
import shutil
import sys
from pathlib import Path

from atomtune.pocket import pipeline_folder

from .recipe import Recipe, trial
from .training import save_json

STAGES = ("draw", "autoencoder", "latents", "denoiser", "grader", "export", "evaluate", "card")


def main(arguments: list[str] | None = None) -> int:
    """Run all stages, or the one asked for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pretrain", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures, latents and checkpoints")
    parser.add_argument("--weights", type=Path, default=pipeline_folder().parent, help="folder for the result")
    parser.add_argument("--stage", choices=STAGES, help="run this stage alone (those before it must be done)")
    parser.add_argument(
        "--trial", action="store_true", help="a few steps of everything: checks the recipe, trains nothing"
    )
    parser.add_argument(
        "--compile", action="store_true", help="compile the networks: a quarter less time a step, minutes to start"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)

    recipe = trial() if options.trial else Recipe()
    kept = options.work / "recipe.json"
    if kept.exists() and json.loads(kept.read_text()) != recipe.as_dict():
        parser.error(f"{options.work} was begun with other numbers than this recipe's: name another folder")
    save_json(kept, recipe.as_dict())
    run(options.work, options.weights, recipe, (options.stage,) if options.stage else STAGES, options.compile)
    return 0


def run(work: Path, weights: Path, recipe: Recipe, stages: tuple[str, ...], compiled: bool = False) -> None:
    """Run the stages named, in order."""
    from .autoencoder import encode_pictures, train_autoencoder
    from .card import write_card
    from .dataset import draw_partners, draw_pictures, load_partners, load_pictures
    from .denoiser import train_denoiser
    from .evaluate import evaluate
    from .export import export_pipeline
    from .grader import export_grader, train_grader

    if "draw" in stages:
        draw_pictures(work, recipe)
        draw_partners(work, recipe)
    if set(stages) & {"autoencoder", "latents", "denoiser", "grader", "export"}:
        pictures = load_pictures(work, recipe)
    if "autoencoder" in stages:
        train_autoencoder(work, recipe, pictures)
    if set(stages) & {"latents", "denoiser", "export"}:
        autoencoder = train_autoencoder(work, recipe, pictures)
        means, deviations, scaling = encode_pictures(work, recipe, autoencoder, pictures)
    if "denoiser" in stages:
        train_denoiser(work, recipe, means, deviations, scaling, compiled)
    if "grader" in stages:
        train_grader(work, recipe, pictures, load_partners(work, recipe), compiled)
    if "export" in stages:
        unet, text_encoder = train_denoiser(work, recipe, means, deviations, scaling)
        grader, identity = train_grader(work, recipe, pictures, load_partners(work, recipe))
        shutil.rmtree(weights, ignore_errors=True)
        export_pipeline(weights / "pipeline", work, recipe, autoencoder, scaling, unet, text_encoder)
        export_grader(weights / "grader", grader, identity)
    if "evaluate" in stages:
        evaluate(weights / "pipeline", weights / "grader", work, recipe)
    if "card" in stages:
        write_card(weights, recipe, json.loads((work / "figures.json").read_text()))


if __name__ == "__main__":
    sys.exit(main())
