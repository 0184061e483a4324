"""Train `pocket` from nothing: `python -m pretrain --work DIR` (some hours on two CPU cores).

The work folder (about 1 GB) holds images, latents and checkpoints; the same command continues where it was stopped.
The result goes to atomtune/pocket/weights, or to --weights. The trained autoencoder stands in the work folder as `vae`:
with --autoencoder another training takes it as it is. pretrain/vae is the one for the recipe's latents. With
--denoiser the denoiser goes on from averaged weights that --stage keep wrote; pretrain/denoiser.safetensors are some.
Several processes share the denoiser's batches: after `--stage latents`, `torchrun --nproc-per-node 2 -m pretrain
--work DIR --stage denoiser`.
"""

import argparse
import json
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch.distributed

from atomtune.pocket import pipeline_folder

from .recipe import Recipe, trial
from .training import save_json, share_of_work

STAGES = ("render", "autoencoder", "latents", "decoder", "denoiser", "grader", "export", "evaluate", "card")


def main(arguments: list[str] | None = None) -> int:
    """Run all stages, or the one asked for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pretrain", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for images, latents and checkpoints")
    parser.add_argument("--weights", type=Path, default=pipeline_folder().parent, help="folder for the result")
    parser.add_argument(
        "--stage", choices=(*STAGES, "keep"), help="run this stage alone (those before it must be done)"
    )
    parser.add_argument("--begin-from", type=Path, help="pipeline folder whose weights are the start, not nothing")
    parser.add_argument("--autoencoder", type=Path, help="folder of a trained autoencoder, which is then not trained")
    parser.add_argument("--denoiser", type=Path, help="averaged weights of a denoiser, from which the training goes on")
    parser.add_argument("--before", type=Path, help="figures.json of other weights, for the card to show beside these")
    parser.add_argument("--numbers", type=Path, help="JSON file of numbers that depart from the recipe's")
    parser.add_argument(
        "--trial", action="store_true", help="a few steps of everything: checks the recipe, trains nothing"
    )
    parser.add_argument(
        "--compile", action="store_true", help="compile the networks: a quarter less time a step, minutes to start"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)

    recipe = trial() if options.trial else Recipe()
    if options.numbers:
        recipe = replace(recipe, **json.loads(options.numbers.read_text()))
    recipe = replace(
        recipe,
        begins_from=str(options.begin_from or ""),
        autoencoder_from=str(options.autoencoder or ""),
        denoiser_from=str(options.denoiser or ""),
    )
    kept = options.work / "recipe.json"
    if kept.exists() and fixed(json.loads(kept.read_text())) != fixed(recipe.as_dict()):
        parser.error(f"{options.work} was begun with other numbers than this recipe's: name another folder")
    if "LOCAL_RANK" in os.environ:
        if options.stage != "denoiser":
            parser.error("several processes train the denoiser alone: add --stage denoiser, after the stages before it")
        torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    stages = (options.stage,) if options.stage else STAGES
    if share_of_work()[0] == 0:
        save_json(kept, recipe.as_dict())
    run(options.work, options.weights, recipe, stages, options.compile, options.before)
    if share_of_work()[1] > 1:
        torch.distributed.destroy_process_group()
    return 0


def fixed(numbers: dict[str, object]) -> dict[str, object]:
    """The numbers that may not change between two runs in one folder: a training can be prolonged."""
    return {name: value for name, value in numbers.items() if not name.endswith("_steps")}


def run(
    work: Path,
    weights: Path,
    recipe: Recipe,
    stages: tuple[str, ...],
    compiled: bool = False,
    before: Path | None = None,
) -> None:
    """Run the stages named, in order."""
    from .autoencoder import encode_latents, train_autoencoder, train_decoder, unit_scaling
    from .card import write_card
    from .dataset import load_images, load_named, load_partners, render_images, render_named, render_partners
    from .denoiser import Latents, train_denoiser
    from .evaluate import evaluate
    from .export import export_autoencoder, export_pipeline
    from .grader import export_grader, train_grader
    from .training import keep_averages

    if "render" in stages:
        render_images(work, recipe)
        render_named(work, recipe)
        if recipe.grader_steps:
            render_partners(work, recipe)
    if set(stages) & {"autoencoder", "latents", "decoder", "denoiser", "grader", "export"}:
        images = load_images(work, recipe)
    if "autoencoder" in stages:
        export_autoencoder(work / "vae", train_autoencoder(work, recipe, images))
    if set(stages) & {"latents", "decoder", "denoiser", "export"}:
        autoencoder = train_autoencoder(work, recipe, images)
        means, deviations = encode_latents(work / "latents", autoencoder, images)
        of_named = encode_latents(work / "latents-named", autoencoder, load_named(work, recipe))
        scaling = unit_scaling(means, deviations)
        latents = Latents(torch.cat([means, of_named[0]]), torch.cat([deviations, of_named[1]]), len(means), scaling)
    # a trained autoencoder is taken as it is, unless its decoder is asked for by name
    if stages == ("decoder",) or (set(stages) & {"decoder", "export"} and not recipe.autoencoder_from):
        autoencoder = train_decoder(work, recipe, autoencoder, images, means, deviations)
        export_autoencoder(work / "vae", autoencoder)
    if "denoiser" in stages:
        train_denoiser(work, recipe, latents, compiled)
    if "keep" in stages:
        keep_averages(work / "denoiser.safetensors", work / "kept.safetensors")
    if "grader" in stages and recipe.grader_steps:
        train_grader(work, recipe, images, load_partners(work, recipe), compiled)
    if "export" in stages:
        unet, text_encoder = train_denoiser(work, recipe, latents)
        export_pipeline(weights / "pipeline", work, recipe, autoencoder, scaling, unet, text_encoder)
        if recipe.grader_steps:
            export_grader(weights / "grader", *train_grader(work, recipe, images, load_partners(work, recipe)))
    if "evaluate" in stages:
        evaluate(weights / "pipeline", weights / "grader", work, recipe)
    if "card" in stages:
        kept = json.loads(before.read_text()) if before else None
        write_card(weights, recipe, json.loads((work / "figures.json").read_text()), kept)


if __name__ == "__main__":
    sys.exit(main())
