"""What an evaluation is about: a run's atoms, the prompts, the concept's images. Read before anything is generated."""

from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from ..data.concept import Concept, read_prompts
from ..data.images import load_images
from ..errors import UsageError, did_you_mean, excerpt
from ..models.architecture import native_resolution
from ..models.base_model import ModelSource, resolve_base
from ..runtime.units import counted
from ..sampling.changes import LoadedAtoms, read_atoms_file
from ..sampling.options import RUNS, no_such_concept
from ..training.options import TrainOptions
from ..training.resources import MOST_KEPT
from ..training.run_folder import RunFolder
from .options import EvaluateOptions


@dataclass(frozen=True)
class Inputs:
    """What is scored, and against what.

    Attributes:
        atoms: by step, in order, the run's result last.
        concept: that is scored.
        prompts: with the concept's words in them.
        references: the images it was trained on, squares as training saw them.
        source: the base model.
        losses: of the run, step by step; held_out: of images that it kept out, by step.
        others: the images of the other concepts of the run, concept by concept.
    """

    atoms: list[tuple[int, LoadedAtoms]]
    concept: Concept
    prompts: list[str]
    references: list[Image.Image]
    source: ModelSource
    losses: list[float]
    held_out: dict[int, float]
    others: list[list[Image.Image]]


def read_inputs(options: EvaluateOptions) -> Inputs:
    """Read what is to be scored.

    Raises:
        UsageError: no such run or concept in it, no prompts, or no checkpoints to choose from.
        AtomtuneError: a file cannot be read, or the model is not there.
    """
    folder = RunFolder(options.run)
    if options.concept and options.run == RUNS / options.concept and not folder.path.is_dir():
        raise no_such_concept(options.concept)
    files = _atoms_files(folder, options.checkpoints)
    trained = TrainOptions.from_dict(folder.read_record().get("options", {}))
    loaded = [read_atoms_file(path, options.scale) for _, path in files]
    final = loaded[-1]
    known = {concept.name: concept for concept in final.concepts}
    name = options.of or final.concept.name
    if name not in known:
        raise UsageError(
            f"the run has no concept {excerpt(name)}{did_you_mean(name, known)}", f"it has {', '.join(known)}"
        )
    prompts = read_prompts(options.prompts, final.concepts, own=known[name])
    source = replace(resolve_base(options.model, final.info.base, final.path), vae=options.vae)
    side = trained.resolution or native_resolution(source)
    images = {
        taught.concept.name: [
            item.image for item in load_images(taught.images, side, crop=trained.crop, seed=trained.seed)
        ]
        for taught in trained.taught
    }
    if name not in images:  # another run's file under this run's name
        raise UsageError(f"{folder.record} says nothing of the images of {name}", "train again")
    references = images.pop(name)
    return Inputs(
        atoms=[(step, atoms) for (step, _), atoms in zip(files, loaded, strict=True)],
        concept=known[name],
        prompts=prompts,
        references=references,
        source=source,
        losses=folder.losses(),
        held_out=folder.held_out_losses(),
        others=list(images.values()),
    )


def _atoms_files(folder: RunFolder, with_checkpoints: bool) -> list[tuple[int, Path]]:
    """Steps and atoms files to score, the final one last."""
    if not folder.atoms.is_file():
        raise UsageError(
            f"there is no {folder.atoms}", "atomtune train makes it; atomtune concepts lists what is there"
        )
    info = read_atoms_file(folder.atoms).info
    final = (info.steps, folder.atoms)
    if not with_checkpoints:
        return [final]
    earlier = [(step, path) for step, path in folder.kept_steps().items() if step < info.steps]
    if earlier:
        return [*earlier, final]
    if info.parameters > MOST_KEPT:
        raise UsageError(
            f"{folder.path} keeps no checkpoints: {counted(info.parameters, 'number')} were trained, and atoms of "
            f"every checkpoint are kept up to {MOST_KEPT:,}",
            "leave out --checkpoints, or train a smaller preset, as --preset c2",
        )
    raise UsageError(
        f"{folder.path} keeps no checkpoint before the last step, {info.steps}, so there is nothing to choose from",
        "leave out --checkpoints, or train again with a --checkpoint-every below the number of steps",
    )
