"""Draw images with concepts, and the base model's answer beside them."""

import functools
import json
import operator
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .. import __version__
from ..data.concept import check_prompts, expand, read_prompts
from ..data.contact_sheet import contact_sheet
from ..errors import UsageError
from ..files.atomic import write_atomically
from ..models.base_model import ModelSource, load_pipeline, pick_device, resolve
from ..models.conditioning import embed, embed_negative
from ..runtime.out_of_memory import as_out_of_memory_error, in_order, sampling_memory_hints
from ..runtime.progress import Events
from .apply import LoadedAtoms, merge_atoms, read_atoms
from .generate import Settings, generate, use_scheduler

MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class SampleOptions:
    """Images to draw.

    Attributes:
        atoms: atoms files and their strengths; their changes add up.
        prompts: `<name>` stands for a loaded concept; prompt_file: more, one a line, `{}` for the concept.
        model: None for the model that the first atoms file was trained on, else for the default.
        num: images of each prompt; image k has the seed `seed` + k.
        batch_size: images drawn at once; of no influence on what they show.
        base: draw each image with the base model too.
        grid: a sheet of all images, prompts × images, beside the single files.
    """

    atoms: tuple[tuple[Path, float], ...] = ()
    prompts: tuple[str, ...] = ()
    prompt_file: Path | None = None
    model: str | None = None
    num: int = 1
    seed: int = 0
    settings: Settings = field(default_factory=Settings)
    scheduler: str | None = None
    batch_size: int = 4
    base: bool = False
    grid: bool = False
    device: str | None = None
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if not self.prompts and self.prompt_file is None:
            raise UsageError("there is nothing to draw", "give --prompt 'a <castle> in the snow' or --prompts FILE")
        if not 0 <= self.seed <= MAX_SEED - self.num:
            raise UsageError(f"the seed must be between 0 and {MAX_SEED}", "--seed 0 is the default")
        size = self.settings.size
        if size and any(side % 8 or side < 8 for side in size):
            raise UsageError(f"width and height must be multiples of 8, not {size[0]}x{size[1]}", "as in 512x512")


@dataclass(frozen=True)
class SampledImage:
    """One image on disk; `base` tells the base model's answer."""

    path: Path
    prompt: str
    seed: int
    base: bool
    image: Image.Image


@dataclass(frozen=True)
class _Job:
    prompt: str
    seed: int


def sample(
    options: SampleOptions, output: Path, events: Events | None = None
) -> tuple[list[SampledImage], Path | None]:
    """Draw and save images; returns them, prompt by prompt, and the path of the grid if one was asked for.

    Files are numbered on from what the folder holds, so nothing is overwritten. Each PNG carries its settings in the
    text chunks "parameters" (as other tools read it) and "atomtune" (JSON).

    Raises:
        UsageError: no prompts, an unknown scheduler or concept.
        AtomtuneError: the model or an atoms file cannot be loaded, do not fit each other, or give no finite image;
            no memory is left.
    """
    events = events or Events()
    loaded = read_atoms(options.atoms)
    concepts = [item.concept for item in loaded]
    prompts = [expand(prompt, concepts) for prompt in options.prompts]
    if options.prompt_file is not None:
        prompts += [expand(prompt, concepts) for prompt in read_prompts(options.prompt_file, concepts)]
    source = resolve(options.model or (loaded[0].info.base if loaded else None))
    events.phase(f"loading {source.name}")
    with _explained_memory(options):
        pipeline = load_sampler(source, options.scheduler, options.device, options.precision)
    for warning in check_prompts(pipeline.tokenizer, prompts, concepts):
        events.warn(warning)
    jobs = [_Job(prompt, options.seed + k) for prompt in prompts for k in range(options.num)]
    writer = _Writer(output, options, source, loaded)
    passes = [True, False] if options.base and loaded else [not loaded]
    events.begin("sample", len(jobs) * len(passes))
    drawn: list[SampledImage] = []
    for is_base in passes:
        if not is_base:
            merge_atoms(pipeline, loaded, events)
        with _explained_memory(options):
            images = draw(pipeline, jobs, options.settings, options.batch_size, events.advance)
        drawn += [writer.save(job, image, is_base) for job, image in zip(jobs, images, strict=True)]
    events.end()
    return drawn, writer.save_grid(drawn, options) if options.grid else None


def _explained_memory(options: SampleOptions) -> AbstractContextManager[None]:
    remedies = sampling_memory_hints(options.batch_size, options.precision, options.settings.size)
    return as_out_of_memory_error("sampling", lambda: in_order(remedies))


def load_sampler(source: ModelSource, scheduler: str | None, device: str | None, precision: str) -> Any:
    """A pipeline on its device, ready to draw."""
    place = pick_device(device)
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    pipeline = load_pipeline(source, dtype)
    if scheduler is not None:
        use_scheduler(pipeline, scheduler)
    return pipeline.to(place)


def draw(
    pipeline: Any,
    jobs: Sequence[Any],
    settings: Settings,
    batch_size: int,
    advance: Callable[[], object],
) -> list[Image.Image]:
    """The images of some jobs (anything with `prompt` and `seed`), in their order."""
    unique = list(dict.fromkeys(job.prompt for job in jobs))
    # one by one, so that an image does not depend on what else is drawn
    embedded = {prompt: embed(pipeline, [prompt]) for prompt in unique}
    negative = embed_negative(pipeline, settings.negative_prompt)
    images: list[Image.Image] = []
    for first in range(0, len(jobs), batch_size):
        part = jobs[first : first + batch_size]
        embeddings = functools.reduce(operator.add, (embedded[job.prompt] for job in part))
        images += generate(pipeline, embeddings, negative, [job.seed for job in part], settings)
        for _ in part:
            advance()
    return images


class _Writer:
    """Names and saves images."""

    def __init__(self, folder: Path, options: SampleOptions, source: ModelSource, atoms: Sequence[LoadedAtoms]) -> None:
        self.folder = folder
        self.options = options
        self.source = source
        self.atoms = atoms
        taken = [int(m[1]) for p in folder.glob("*.png") if (m := re.match(r"(?:grid-)?(\d{5})", p.name))]
        self.next = max(taken, default=-1) + 1

    def save(self, job: _Job, image: Image.Image, is_base: bool) -> SampledImage:
        """Write one image with its settings."""
        slug = re.sub(r"[^a-z0-9]+", "-", job.prompt.lower()).strip("-")[:60]
        path = self.folder / f"{self._number()}-{job.seed}-{slug}{'-base' if is_base else ''}.png"
        text = PngInfo()
        facts = self._facts(job, is_base, image)
        text.add_text("parameters", _parameters(facts))
        text.add_text("atomtune", json.dumps(facts))
        write_atomically(path, lambda temporary: image.save(temporary, format="PNG", pnginfo=text))
        return SampledImage(path, job.prompt, job.seed, is_base, image)

    def save_grid(self, drawn: Sequence[SampledImage], options: SampleOptions) -> Path:
        """Write one sheet: a row for each prompt, the base model's answers first."""
        prompts = list(dict.fromkeys(item.prompt for item in drawn))
        rows = [[item.image for item in drawn if item.prompt == prompt] for prompt in prompts]
        columns = [("base, " if item.base else "") + f"seed {item.seed}" for item in drawn if item.prompt == prompts[0]]
        path = self.folder / f"grid-{self._number()}.png"
        sheet = contact_sheet(rows, prompts, columns)
        write_atomically(path, lambda temporary: sheet.save(temporary, format="PNG"))
        return path

    def _number(self) -> str:
        number, self.next = self.next, self.next + 1
        return f"{number:05d}"

    def _facts(self, job: _Job, is_base: bool, image: Image.Image) -> dict[str, Any]:
        settings = self.options.settings
        applied = [] if is_base else self.atoms
        return {
            "prompt": job.prompt,
            "negative_prompt": settings.negative_prompt,
            "seed": job.seed,
            "steps": settings.steps,
            "guidance_scale": settings.guidance_scale,
            "scheduler": self.options.scheduler or "model",
            "size": list(image.size),
            "base": self.source.name,
            "atoms": [
                {"file": item.path.name, "sha256": item.sha256, "scale": item.scale, "concept": item.info.concept}
                for item in applied
            ],
            "atomtune": __version__,
        }


def _parameters(facts: dict[str, Any]) -> str:
    lines = [facts["prompt"]]
    if facts["negative_prompt"]:
        lines.append(f"Negative prompt: {facts['negative_prompt']}")
    atoms = ", ".join(f"{item['concept']} {item['sha256'][:12]}:{item['scale']:g}" for item in facts["atoms"])
    lines.append(
        f"Steps: {facts['steps']}, Sampler: {facts['scheduler']}, CFG scale: {facts['guidance_scale']:g}, "
        f"Seed: {facts['seed']}, Size: {facts['size'][0]}x{facts['size'][1]}, Model: {facts['base']}"
        + (f", Atoms: {atoms}" if atoms else "")
        + f", Version: atomtune {facts['atomtune']}"
    )
    return "\n".join(lines)
