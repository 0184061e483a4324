"""The model card beside the weights: what they are, how they came about, and their figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atomtune.pocket.world import SCENES, THINGS

from .recipe import Recipe
from .training import save_json

COMMAND = "python -m pretrain --work DIR"

_TEXT = """# pocket

A miniature text-to-image pipeline (64x64 pixels) and the encoder that grades its pictures, both trained from nothing on
drawings made by `atomtune/pocket/world`. No photo, no outside data and no outside weights went in.

| part | what | parameters |
|---|---|---|
| `pipeline/unet` | UNet2DConditionModel, block types of Stable Diffusion v1.4, channels {unet_channels} | {unet:,} |
| `pipeline/text_encoder` | CLIPTextModel, {text_layers} layers of width {text_width}, CLIP's vocabulary | {text:,} |
| `pipeline/vae` | AutoencoderKL, {latent_channels} x 16 x 16 latents | {vae:,} |
| `pipeline/scheduler` | {scheduler}, the noise schedule of v1.4, epsilon prediction | |
| `grader` | open_clip model: ModifiedResNet, text width 48; a projection that tells things apart | {grader:,} |

Weights are float16 safetensors: pipeline {pipeline_mb:.1f} MB, grader {grader_mb:.1f} MB.

## What it knows
{n_things} classes: {things}.

{n_scenes} scenes, in the words of DreamBooth's prompts: {scenes}; and a plain studio.

Colour words (red, blue, ...) before the class noun. Every instance of a class is a style seed: proportions, parts, two
colours, a pattern. Style seeds below 1,000,000 are for training; none from there on was ever trained on.
A word it does not know, such as `sks` before the noun, means nothing to it.

## Figures
By the grader, which picks one of all {n_cells} pairs of class and scene for each picture:

| pictures | number | class right | scene right | worst class | worst scene |
|---|---|---|---|---|---|
{fresh}
{samples}

{verdict}

Autoencoder: {psnr} dB PSNR on unseen renders. The grader's eye for things (`grader/identity`), mean cosine of two
pictures in different scenes: the same thing {same:.3f}, two things of one class {other:.3f}.

## How it was trained
    {command}

{pictures:,} drawn pictures; autoencoder {autoencoder_steps:,} steps of {autoencoder_batch}, denoiser and text encoder
{denoiser_steps:,} steps of {denoiser_batch}, grader {grader_steps:,} steps of {grader_batch}; bfloat16 autocast where
the processor has it. All numbers are in `recipe.json` and, with the figures by class and scene, in `figures.json`.
The recipe resumes where it was stopped and uses a GPU if there is one.
"""


def write_card(weights: Path, recipe: Recipe, figures: Mapping[str, Any]) -> None:
    """Write README.md, recipe.json and figures.json into the folder of the weights."""
    fresh, samples = figures["fresh"], figures["samples"]
    text = _TEXT.format(
        unet_channels=", ".join(map(str, recipe.unet_channels)),
        latent_channels=recipe.latent_channels,
        text_layers=recipe.text_layers,
        text_width=recipe.text_width,
        unet=parameters(weights / "pipeline" / "unet"),
        text=parameters(weights / "pipeline" / "text_encoder"),
        vae=parameters(weights / "pipeline" / "vae"),
        grader=parameters(weights / "grader"),
        scheduler=samples["scheduler"],
        pipeline_mb=megabytes(weights / "pipeline"),
        grader_mb=megabytes(weights / "grader"),
        n_things=len(THINGS),
        things=", ".join(THINGS),
        n_scenes=len([scene for scene in SCENES if scene]),
        scenes=", ".join(scene for scene in SCENES if scene),
        n_cells=len(THINGS) * len([scene for scene in SCENES if scene]),
        fresh=_row("fresh renders, unseen seeds", fresh),
        samples=_row(f"samples, {samples['steps']} steps, guidance {samples['guidance_scale']}", samples),
        verdict=_verdict(fresh, samples),
        psnr=figures["autoencoder_psnr"],
        same=figures["fidelity"]["same_thing"],
        other=figures["fidelity"]["other_thing"],
        command=COMMAND,
        pictures=recipe.pictures,
        autoencoder_steps=recipe.autoencoder_steps,
        autoencoder_batch=recipe.autoencoder_batch,
        denoiser_steps=recipe.denoiser_steps,
        denoiser_batch=recipe.denoiser_batch,
        grader_steps=recipe.grader_steps,
        grader_batch=recipe.grader_batch,
    )
    (weights / "README.md").write_text(text, encoding="utf-8")
    save_json(weights / "recipe.json", recipe.as_dict())
    save_json(weights / "figures.json", figures)


def _row(name: str, shares: Mapping[str, Any]) -> str:
    cells = (name, shares["pictures"], f"{shares['class']:.1%}", f"{shares['scene']:.1%}")
    return f"| {' | '.join(map(str, cells))} | {worst(shares['by_class'])} | {worst(shares['by_scene'])} |"


def _verdict(fresh: Mapping[str, Any], samples: Mapping[str, Any]) -> str:
    """Which of the goals are met, in words."""
    goals = (("fresh renders", fresh, 0.97), ("samples", samples, 0.90))
    missed = [
        f"{part} of {name} ({shares[part]:.1%}, goal {goal:.0%})"
        for name, shares, goal in goals
        for part in ("class", "scene")
        if shares[part] < goal
    ]
    return f"Goals missed: {'; '.join(missed)}." if missed else "All goals met: fresh renders 97%, samples 90%."


def worst(shares: Mapping[str, float]) -> str:
    """The name with the lowest share, and the share."""
    name = min(shares, key=shares.__getitem__)
    return f"{name} {shares[name]:.0%}"


def parameters(folder: Path) -> int:
    """How many numbers the safetensors files of a folder hold."""
    from safetensors import safe_open

    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118 - not a mapping
                size = 1
                for part in file.get_slice(key).get_shape():
                    size *= part
                total += size
    return total


def megabytes(folder: Path) -> float:
    """The size of a folder in MB (10^6 bytes)."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
