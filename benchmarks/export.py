"""Every form of `atomtune export` on `pocket`: its size, its error, and what its images have of the concept.

    python -m benchmarks.export --work DIR [--steps 300] [--batch-size 4] [--prompts 8] [--concepts c1 c2 c3 demo]

For C1, C2 and C3 on a teapot and for the concept of `atomtune demo`, 5 images of a new instance and one run each. Its
atoms are exported in every form and loaded again as other programs load them: LoRAs by diffusers' `load_lora_weights`,
checkpoints by `from_single_file`, folders by `from_pretrained`; whole changes are added to the weights. The images of
each, on the same prompts and seeds, are compared with those of the atoms. Prints a table in Markdown; what is done is
not done again.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors.torch import load_file

from atomtune.data.concept import Concept
from atomtune.demo.demo import GUIDANCE, PRESET, PROMPT_SCENES, SAMPLE_STEPS, render_concept
from atomtune.demo.options import DemoOptions
from atomtune.evaluation.encoders.grader import load_identity
from atomtune.evaluation.metrics import fidelity
from atomtune.export.checkpoint import read_again
from atomtune.export.export import export
from atomtune.export.factors import Layer
from atomtune.export.image_difference import psnr
from atomtune.export.job import with_changes
from atomtune.export.lora_keys import kohya_name
from atomtune.export.options import ExportOptions
from atomtune.export.result import ExportResult
from atomtune.files.run_result import result_in
from atomtune.files.stored_layers import read_stored_layers
from atomtune.methods.specs import PRESETS
from atomtune.models.base_model import POCKET, load_pipeline, resolve
from atomtune.pocket.world import FIRST_HELD_OUT_SEED, Style
from atomtune.runtime.progress import Events
from atomtune.runtime.units import size
from atomtune.sampling.apply import applied
from atomtune.sampling.changes import read_atoms
from atomtune.sampling.generate import generate_images
from atomtune.sampling.options import Settings
from atomtune.training.options import TrainOptions
from atomtune.training.train import train

SETTINGS = Settings(steps=SAMPLE_STEPS, guidance_scale=GUIDANCE)
CONCEPTS = {"c1": "teapot", "c2": "teapot", "c3": "teapot", "demo": DemoOptions.thing}
RANKS = (16, 32)
REFINED = 200


@dataclass(frozen=True)
class Row:
    """One way to have a concept.

    Attributes:
        name: of the form; plain_psnr: of a LoRA of the same rank that loses the least by numbers, as before.
        identity: mean cosine of its images to the training images, by pocket's identity encoder.
    """

    concept: str
    name: str
    bytes: int
    relative_error: float | None
    weighted_error: float | None
    psnr: float | None
    plain_psnr: float | None
    identity: float


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--concepts", nargs="+", choices=CONCEPTS, default=list(CONCEPTS))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=len(PROMPT_SCENES))
    options = parser.parse_args()
    found: list[Row] = []
    for name in options.concepts:
        folder = options.work / name
        atoms = trained(folder, name, options.steps, options.batch_size)
        found += rows(name, folder, atoms, PROMPT_SCENES[: options.prompts])
    print(table(found))


def trained(folder: Path, name: str, steps: int, batch_size: int) -> Path:
    """The atoms file of a concept, after its training."""
    thing, run = CONCEPTS[name], folder / "run"
    images = folder / "concept"
    if not images.is_dir():
        render_concept(images, thing, Style(FIRST_HELD_OUT_SEED + DemoOptions.instance))
    wanted = TrainOptions(
        concept=Concept(thing, thing),
        images=images,
        model=POCKET,
        spec=PRESETS[PRESET if name == "demo" else name],
        steps=steps,
        batch_size=batch_size,
    )
    atoms = result_in(run, thing)
    if not atoms.is_file():
        begun = (run / "checkpoint.safetensors").is_file()
        atoms = train(wanted, run, resume=begun, overwrite=not begun).atoms_file
    return atoms


def rows(concept: str, folder: Path, atoms: Path, scenes: Sequence[str]) -> Iterator[Row]:
    """The base model, every form, and the atoms themselves; what is in rows.json is not made again."""
    words = read_atoms([(atoms, 1.0)])[0].concept.words
    wanted = [(f"a {words} {scene}", number) for number, scene in enumerate(scenes)]
    encoder = load_identity()
    own = encoder.encode_images([Image.open(path).convert("RGB") for path in sorted(folder.glob("concept/*.png"))])

    def made(pipeline: Any) -> list[Image.Image]:
        return list(generate_images(pipeline, wanted, SETTINGS, len(wanted)))

    def identity(images: Sequence[Image.Image]) -> float:
        return fidelity(encoder.encode_images(images), own)

    record = folder / "rows.json"
    done = {}
    if record.is_file():
        done = {label: Row(**row) for label, row in json.loads(record.read_text(encoding="utf-8")).items()}
    base = base_model()
    before = made(base)
    with applied(base, read_atoms([(atoms, 1.0)]), Events()) as pipeline:
        reference = made(pipeline)

    def keep(label: str, make: Callable[[], Row]) -> Row:
        if label not in done:
            done[label] = make()
            kept = {name: asdict(row) for name, row in done.items()}
            record.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        return done[label]

    def row(name: str, options: ExportOptions) -> Row:
        file = folder / f"{name.replace(' ', '-')}{'' if options.to == 'diffusers' else '.safetensors'}"
        result = export([(atoms, 1.0)], file, options, overwrite=True)
        with loaded(result) as pipeline:
            images = made(pipeline)
        plain = None
        if options.to == "lora" and not options.refine:
            other = ExportOptions(to="lora-diffusers", rank=result.rank, weighted=False, preview=False)
            with loaded(export([(atoms, 1.0)], folder / "plain.safetensors", other, overwrite=True)) as pipeline:
                plain = psnr(made(pipeline), reference)
        near = psnr(images, reference)
        name = f"{name} (rank {result.rank})" if options.to == "lora" and options.rank is None else name
        errors = result.relative_error, result.weighted_error
        return Row(concept, name, result.bytes, *errors, near, plain, identity(images))

    def clients() -> Row:
        images = made_by_clients(atoms, made)
        near = psnr(images, reference)
        return Row(concept, "atoms file in ComfyUI, A1111", size_of, None, None, near, None, identity(images))

    size_of = atoms.stat().st_size
    yield Row(concept, "base model", 0, None, None, psnr(before, reference), None, identity(before))
    first = RANKS[0]
    forms = {f"lora --rank {rank}": ExportOptions(rank=rank, preview=False) for rank in RANKS}
    forms[f"lora --rank {first} --refine {REFINED}"] = ExportOptions(rank=first, refine=REFINED, preview=False)
    forms[f"lora-diffusers --rank {first}"] = ExportOptions(to="lora-diffusers", rank=first, preview=False)
    # no embedding: of these concepts the atoms were trained, not the token
    forms |= {to: ExportOptions(to=to, preview=False) for to in ("diff", "checkpoint", "diffusers", "lora")}
    for name, options in forms.items():
        yield keep(name, partial(row, name, options))
    yield keep("clients", clients)
    yield Row(concept, "atoms", size_of, 0.0, None, None, None, identity(reference))


def made_by_clients(atoms: Path, made: Callable[[Any], list[Image.Image]]) -> list[Image.Image]:
    """Images with the file read as the node and the extension read it, a layer at a time from its weight."""
    pipeline, (layers, _) = base_model(), read_stored_layers(atoms)
    changes = {("unet", name): layer.delta(pipeline.unet.get_submodule(name).weight) for name, layer in layers.items()}
    with with_changes(pipeline, list(changes), changes.__getitem__):
        return made(pipeline)


def base_model() -> Any:
    """`pocket`, ready to generate."""
    return load_pipeline(resolve(POCKET))


@contextmanager
def loaded(result: ExportResult) -> Iterator[Any]:
    """A pipeline with what was written, loaded by other programs' code where diffusers has it."""
    pipeline = base_model()
    if result.to == "checkpoint":
        yield read_again(result.output, pipeline)
    elif result.to == "diffusers":
        yield load_pipeline(resolve(str(result.output)))
    elif result.to == "diff":
        tensors = load_file(result.output)
        names = {
            kohya_name("unet", name, pipeline.unet.config, False): name for name, _ in pipeline.unet.named_modules()
        }
        changed: list[Layer] = [("unet", names[key.removesuffix(".diff")]) for key in tensors]
        with with_changes(pipeline, changed, lambda layer: tensors[key_of(pipeline, layer)].float()):
            yield pipeline
    else:
        pipeline.load_lora_weights(str(result.output.parent), weight_name=result.output.name)
        yield pipeline


def key_of(pipeline: Any, layer: Layer) -> str:
    """The tensor of a layer's whole change."""
    return f"{kohya_name(*layer, pipeline.unet.config, False)}.diff"


def table(found: list[Row]) -> str:
    """The rows in Markdown."""
    lines = [
        "| concept | form | size | error | weighted error | PSNR | PSNR before, same rank | identity |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in found:
        cells = [size(row.bytes) if row.bytes else ""]
        cells += ["" if error is None else f"{error:.4f}" for error in (row.relative_error, row.weighted_error)]
        cells += ["" if value is None else f"{value:.1f}" for value in (row.psnr, row.plain_psnr)]
        lines.append("| " + " | ".join([row.concept, row.name, *cells, f"{row.identity:.3f}"]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
