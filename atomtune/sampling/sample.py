"""Generate images with concepts, and the base model's answers, and keep each as soon as it is made."""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from ..data.concept import check_prompts, expand, read_prompts
from ..data.contact_sheet import contact_sheet
from ..errors import Interrupted
from ..files.numbered import write_numbered
from ..models.base_model import ModelSource, pick_device, pick_precision, resolve, resolve_base
from ..runtime.disk_space import DiskNeed, check_disk_space
from ..runtime.out_of_memory import as_out_of_memory_error, in_order, sampling_memory_hints
from ..runtime.progress import Events
from ..runtime.units import counted
from .apply import merge_atoms
from .changes import LoadedAtoms, concepts_of, read_atoms, unused
from .generate import GeneratedImage, generate_images, load_sampler
from .image_texts import image_texts
from .options import SampleOptions

_MAX_SLUG = 60  # bytes of a file's name that come from the prompt


@dataclass(frozen=True)
class SampledImage(GeneratedImage):
    """An image of `sample`; `base` says that it is the base model's answer."""

    base: bool


def sample(
    options: SampleOptions, output: Path | str, events: Events | None = None
) -> tuple[list[SampledImage], Path | None]:
    """Generate images; returns them, prompt by prompt, and the path of the grid if one was asked for.

    Each is written as soon as it is made, so that what is interrupted keeps what it has. Files are numbered on from
    what the folder holds, and created exclusively: nothing is overwritten, not even by two calls at once. Each PNG
    carries its settings in the text chunks "parameters" (as other tools read it) and "atomtune" (JSON).

    Raises:
        UsageError: no prompts, an unknown scheduler or concept.
        AtomtuneError: the folder cannot be written; the model or an atoms file cannot be loaded, do not fit each other,
            or give no finite image; no memory is left.
        Interrupted: stopped by the user; the images written so far stay.
    """
    events, output = events or Events(), Path(output)
    loaded = read_atoms(options.atoms, events)
    concepts = concepts_of(loaded)
    prompts = [expand(prompt, concepts) for prompt in options.prompts]
    if options.prompt_file is not None:
        prompts += read_prompts(options.prompt_file, concepts)
    source = resolve_base(options.model, loaded[0].info.base, loaded[0].path) if loaded else resolve(options.model)
    source = replace(source, vae=options.vae)
    options = replace(options, precision=pick_precision(options.precision, pick_device(options.device)))
    check_disk_space([DiskNeed(output, 0, "--output names another folder")])  # known before the model loads
    events.phase(f"loading {source.name}")
    with _explained_memory(options):
        pipeline = load_sampler(source, options.scheduler, options.device, options.precision)
    for warning in check_prompts(pipeline.tokenizer, prompts, concepts, options.settings.negative_prompt):
        events.warn(warning)
    for concept in unused(prompts, loaded):
        events.warn(f"no prompt names {concept.words!r}: <{concept.name}> stands for it")
    wanted = [(prompt, options.seed + k) for prompt in prompts for k in range(options.per_prompt)]
    writer = _Writer(output, options, source, loaded)
    passes = [True, False] if options.base and loaded else [not loaded]
    images: list[SampledImage] = []
    events.begin("sample", len(wanted) * len(passes))
    try:
        for is_base in passes:
            if not is_base:
                merge_atoms(pipeline, loaded, events)
            with _explained_memory(options):
                made = generate_images(pipeline, wanted, options.settings, options.batch_size)
                for (prompt, seed), image in zip(wanted, made, strict=True):
                    images.append(writer.save(prompt, seed, image, is_base))
                    events.advance()
    except KeyboardInterrupt as stop:
        if not images:
            raise
        raise Interrupted(
            f"stopped after {len(images)} of {counted(len(wanted) * len(passes), 'image')}; they are kept in {output}",
            exit_code=getattr(stop, "exit_code", None),
        ) from None
    events.end()
    return images, writer.save_grid(images) if options.grid else None


def _explained_memory(options: SampleOptions) -> AbstractContextManager[None]:
    remedies = sampling_memory_hints(options.batch_size, options.precision, options.settings.size)
    return as_out_of_memory_error("sampling", lambda: in_order(remedies))


class _Writer:
    """Names and saves images."""

    def __init__(self, folder: Path, options: SampleOptions, source: ModelSource, atoms: Sequence[LoadedAtoms]) -> None:
        self.folder = folder
        self.options = options
        self.source = source
        self.atoms = atoms

    def save(self, prompt: str, seed: int, image: Image.Image, is_base: bool) -> SampledImage:
        """Write one image with its settings."""
        name = "-".join([str(seed), *_slug(prompt), *(["base"] if is_base else [])])
        options = self.options
        applied = [] if is_base else self.atoms
        text = image_texts(prompt, seed, image.size, options.settings, options.scheduler, self.source, applied)
        path = write_numbered(
            self.folder,
            lambda number: f"{number}-{name}.png",
            lambda temporary: image.save(temporary, format="PNG", pnginfo=text),
        )
        return SampledImage(path, prompt, seed, is_base)

    def save_grid(self, images: Sequence[SampledImage]) -> Path:
        """Write one sheet: a row for each prompt, the base model's answers first."""
        prompts = list(dict.fromkeys(item.prompt for item in images))
        rows = [[item.load() for item in images if item.prompt == prompt] for prompt in prompts]
        columns = [
            ("base, " if item.base else "") + f"seed {item.seed}" for item in images if item.prompt == prompts[0]
        ]
        sheet = contact_sheet(rows, prompts, columns)
        return write_numbered(
            self.folder,
            lambda number: f"grid-{number}.png",
            lambda temporary: sheet.save(temporary, format="PNG"),
        )


def _slug(prompt: str) -> list[str]:
    """The first words of a prompt for the name of a file, in any script."""
    words, length = [], 0
    for word in re.findall(r"\w+", prompt.lower()):
        length += len(word.encode()) + 1
        if length > _MAX_SLUG:
            break
        words.append(word)
    return words
