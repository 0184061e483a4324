"""The model card beside the weights: what they are, how they came about, and their figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atomtune.pocket.world import SCENES, THINGS

from .dataset import named_images
from .names import NAMES, named_class
from .recipe import Recipe
from .training import save_json

COMMAND = "python -m pretrain --work DIR"

_TEXT = """# pocket

A miniature text-to-image pipeline (64x64 pixels) and the encoder that grades its images, both trained from nothing on
renderings made by `atomtune/pocket/world`. No photo, no outside data and no outside weights went in.

| part | what | parameters |
|---|---|---|
| `pipeline/unet` | UNet2DConditionModel, channels {unet_channels}; attention {attention} | {unet:,} |
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
{n_names} rare words are names (`pretrain/names.py`): "a {a_name} {a_class}" is always the same {a_class}. Any
other rare word, such as `sks`, is a name of nothing yet.

## Figures
By the grader, which picks one of all {n_cells} pairs of class and scene for each image:

| images | number | class right | scene right | worst class | worst scene |
|---|---|---|---|---|---|
{fresh}
{samples}

{verdict}

The same pipeline by other measures, on things and views that no training saw{beside}:

{measures}

Identity is the cosine of embeddings by `grader/identity`, of two images in different scenes. The Frechet distances are
of embeddings by the grader and by `grader/identity`, less what as many other fresh renders come to. A word's shift is
the mean square change of the prediction by the word before the noun, relative to that by another noun.

## How it was trained
    {command}

{begun}{images:,} rendered images and {named:,} of named things; autoencoder {autoencoder_steps:,} steps of
{autoencoder_batch}{of_decoder}, denoiser and text encoder {denoiser_steps:,} steps of {denoiser_batch},
{grader_steps}; bfloat16 autocast where the processor has it. All numbers are in `recipe.json` and, with the figures
by class and scene, in `figures.json`. The recipe resumes where it was stopped and uses a GPU if there is one.
"""


_MEASURES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("autoencoder, PSNR of fresh renders, dB", ("autoencoder_psnr",), ".2f"),
    ("identity of two renders of one thing", ("fidelity", "same_thing"), ".3f"),
    ("the same, one of them through the autoencoder", ("fidelity", "reconstructed_thing"), ".3f"),
    ("identity of two renders of two things of a class", ("fidelity", "other_thing"), ".3f"),
    ("identity of samples by a thing's name with its renders", ("names", "with_name"), ".3f"),
    ("the same without the name in the prompt", ("names", "without_name"), ".3f"),
    ("Frechet distance of samples to fresh renders, grader", ("distance", "all"), ".4f"),
    ("Frechet distance of samples to fresh renders, identity", ("thing_distance", "all"), ".4f"),
    ("shift by the word `sks`", ("words", "reserved"), ".4f"),
    ("shift by another unbound word, median", ("words", "unbound_median"), ".4f"),
    ("shift by a name, median", ("words", "names_median"), ".4f"),
)
"""What the table of measures shows: words, where the figure is, how it is written."""


def write_card(
    weights: Path, recipe: Recipe, figures: Mapping[str, Any], before: Mapping[str, Any] | None = None
) -> None:
    """Write README.md, recipe.json and figures.json into the folder of the weights.

    `before` are the figures of other weights, which the card shows beside these.
    """
    fresh, samples = figures["fresh"], figures["samples"]
    text = _TEXT.format(
        unet_channels=", ".join(map(str, recipe.unet_channels)),
        latent_channels=recipe.latent_channels,
        attention=" and ".join(
            [f"at {16 >> level}x{16 >> level}" for level, has in enumerate(recipe.unet_attention) if has]
            + ["in the middle"]
        ),
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
        n_names=len(NAMES),
        a_name=NAMES[0],
        a_class=named_class(NAMES[0]),
        measures=measures(figures, before),
        beside=", those of the earlier weights beside them" if before else "",
        begun="Begun from the earlier weights, not from nothing. " if recipe.begins_from else "",
        named=named_images(recipe),
        command=COMMAND,
        images=recipe.images,
        autoencoder_steps=recipe.autoencoder_steps,
        autoencoder_batch=recipe.autoencoder_batch,
        of_decoder=f" and its decoder {recipe.decoder_steps:,} more of {recipe.decoder_batch}"
        if recipe.decoder_steps
        else "",
        denoiser_steps=recipe.denoiser_steps,
        denoiser_batch=recipe.denoiser_batch,
        grader_steps=f"grader {recipe.grader_steps:,} steps of {recipe.grader_batch}"
        if recipe.grader_steps
        else "the grader as it was",
    )
    (weights / "README.md").write_text(text, encoding="utf-8")
    # paths would say nothing to others
    begun = "the earlier weights" if recipe.begins_from else ""
    taken, went_on = ("an earlier training" if path else "" for path in (recipe.autoencoder_from, recipe.denoiser_from))
    origins = {"begins_from": begun, "autoencoder_from": taken, "denoiser_from": went_on}
    save_json(weights / "recipe.json", recipe.as_dict() | origins)
    save_json(weights / "figures.json", figures)


def measures(figures: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> str:
    """The table of `_MEASURES`, and the worst class of each Frechet distance."""
    columns = [figures] if before is None else [before, figures]
    lines = [
        "| measure | " + " | ".join(("figure",) if before is None else ("before", "now")) + " |",
        "|---|" + "--:|" * len(columns),
    ]
    for words, path, form in _MEASURES:
        lines.append(f"| {words} | " + " | ".join(format(_at(column, path), form) for column in columns) + " |")
    for words, key in (("grader", "distance"), ("identity", "thing_distance")):
        farthest = [max(column[key]["by_class"].items(), key=lambda item: item[1]) for column in columns]
        cells = " | ".join(f"{value:.4f} ({name})" for name, value in farthest)
        lines.append(f"| the worst class's Frechet distance, {words} | {cells} |")
    return "\n".join(lines)


def _at(figures: Mapping[str, Any], path: Sequence[str]) -> float:
    for key in path:
        figures = figures[key]
    return float(figures)  # type: ignore[arg-type]


def _row(name: str, shares: Mapping[str, Any]) -> str:
    cells = (name, shares["images"], f"{shares['class']:.1%}", f"{shares['scene']:.1%}")
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
