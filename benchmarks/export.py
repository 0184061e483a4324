"""How much of a concept is left in a LoRA of each rank.

    python -m benchmarks.export --work DIR [--things castle teapot] [--ranks 8 32 64] [--steps 300]

On `pocket`, for each thing 5 images of a new instance and one run of C2; its atoms are exported at each rank and at
the full one, loaded in diffusers, and scored on the same prompts and seeds as the atoms themselves. Prints a table in
Markdown, the means over the things; what is done is not done again.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from atomtune.data.concept import Concept
from atomtune.demo.demo import GUIDANCE, PROMPT_SCENES, SAMPLE_STEPS, render_concept
from atomtune.evaluation.encoders.base import encoders_for
from atomtune.evaluation.image_sets import DRIFT_PROMPTS, ImageSet, PipelineContext, generate_missing
from atomtune.evaluation.inputs import Inputs, read_inputs
from atomtune.evaluation.measure import Measures, measure
from atomtune.evaluation.options import EvaluateOptions
from atomtune.export.lora import ExportResult, export_lora
from atomtune.methods.specs import PRESETS
from atomtune.models.base_model import POCKET, resolve
from atomtune.pocket.world import FIRST_HELD_OUT_SEED, Style
from atomtune.runtime.progress import Events
from atomtune.runtime.units import size
from atomtune.sampling.apply import applied
from atomtune.sampling.generate import load_sampler
from atomtune.sampling.options import Settings
from atomtune.training.options import TrainOptions
from atomtune.training.train import train

INSTANCE = 7
WHOLE = 1_000_000
COLUMNS = ("fidelity", "diversity", "alignment", "drift")
SETTINGS = Settings(steps=SAMPLE_STEPS, guidance_scale=GUIDANCE)


@dataclass(frozen=True)
class Row:
    """One line of one thing: a way to have the concept, and what it scores."""

    name: str
    measures: Measures
    lora: ExportResult | None = None


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--things", nargs="+", default=["castle", "teapot"])
    parser.add_argument("--ranks", nargs="+", type=int, default=[8, 32, 64])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--per-prompt", type=int, default=4)
    options = parser.parse_args()
    by_thing = []
    for thing in options.things:
        folder = options.work / thing
        images = folder / "concept"
        if not images.is_dir():
            render_concept(images, thing, Style(FIRST_HELD_OUT_SEED + INSTANCE))
        wanted = TrainOptions(
            concept=Concept(thing, thing),
            images=images,
            model=POCKET,
            spec=PRESETS["c2"],
            steps=options.steps,
            batch_size=options.batch_size,
        )
        if not (folder / "run" / "atoms.safetensors").is_file():
            begun = (folder / "run" / "checkpoint.safetensors").is_file()
            train(wanted, folder / "run", resume=begun, overwrite=not begun)
        by_thing.append(rows(folder, options.ranks, options.per_prompt))
    print(table(by_thing))


def rows(folder: Path, ranks: list[int], per_prompt: int) -> list[Row]:
    """The base model, each rank, the full one, and the atoms themselves."""
    prompts = folder / "prompts.txt"
    prompts.write_text("".join(f"a {{}} {scene}\n" for scene in PROMPT_SCENES), encoding="utf-8")
    inputs = read_inputs(EvaluateOptions(run=folder / "run", prompts=prompts))
    atoms = folder / "run" / "atoms.safetensors"
    loras = {
        str(rank) if rank < WHOLE else "full": export_lora(
            [(atoms, 1.0)], folder / f"rank-{rank}.safetensors", rank=rank, format="diffusers", overwrite=True
        )
        for rank in [*ranks, WHOLE]
    }
    contexts: dict[str, PipelineContext] = {"base model": plain}
    contexts |= {name: partial(with_lora, lora.output) for name, lora in loras.items()}
    contexts["atoms"] = partial(with_atoms, inputs)
    decisive = inputs.atoms[-1][1].sha256
    seeds = list(range(per_prompt))
    sets: dict[str, tuple[ImageSet, ImageSet]] = {}
    for name in contexts:
        key = {"atoms": decisive, "settings": str(SETTINGS), "with": loras[name].sha256 if name in loras else name}
        prompted = ImageSet.under(folder / "images", key, inputs.prompts, seeds)
        sets[name] = prompted, ImageSet.under(folder / "images", key, DRIFT_PROMPTS, seeds[:1])
    generate_missing([(sets[name], context) for name, context in contexts.items()], SETTINGS, 8, Events())
    encoders, undrifted = encoders_for(POCKET), sets["base model"][1].load()
    found = []
    for name, (prompted, drift) in sets.items():
        texts = [image.prompt.replace(inputs.concept.words, inputs.concept.class_noun) for image in prompted.images]
        scored = measure(encoders, prompted.load(), texts, inputs.references, (drift.load(), undrifted))
        found.append(Row(name, scored.measures, loras.get(name)))
    return found


@contextmanager
def plain() -> Iterator[Any]:
    """The base model."""
    yield load_sampler(resolve(POCKET), None, "cpu", "fp32")


@contextmanager
def with_lora(file: Path) -> Iterator[Any]:
    """The base model with a LoRA, as any program that builds on diffusers has it."""
    pipeline = load_sampler(resolve(POCKET), None, "cpu", "fp32")
    pipeline.load_lora_weights(str(file.parent), weight_name=file.name)
    yield pipeline


@contextmanager
def with_atoms(inputs: Inputs) -> Iterator[Any]:
    """The base model with the atoms."""
    with applied(load_sampler(resolve(POCKET), None, "cpu", "fp32"), [inputs.atoms[-1][1]], Events()) as pipeline:
        yield pipeline


def table(by_thing: list[list[Row]]) -> str:
    """Means over the things, in Markdown."""
    lines = ["| rank | size | relative error | worst layer | " + " | ".join(COLUMNS) + " |"]
    lines.append("|---|--:|--:|--:|" + "--:|" * len(COLUMNS))
    for same in zip(*by_thing, strict=True):
        loras = [row.lora for row in same if row.lora is not None]
        cells = [""] * 3
        if loras:
            errors = (mean([lora.relative_error for lora in loras]), mean([lora.worst_error for lora in loras]))
            cells = [size(mean([lora.bytes for lora in loras])), *(f"{error:.3f}" for error in errors)]
        cells += [f"{mean([getattr(row.measures, name) for row in same]):.3f}" for name in COLUMNS]
        lines.append("| " + " | ".join([same[0].name, *cells]) + " |")
    return "\n".join(lines)


def mean(values: list[float]) -> float:
    """The mean."""
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
