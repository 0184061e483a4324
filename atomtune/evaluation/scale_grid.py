"""One prompt over steps and scales, on one sheet: how a concept arrives, and how far its scale can go."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ..data.concept import expand
from ..data.contact_sheet import contact_sheet
from ..errors import UsageError, excerpt
from ..files.numbered import write_numbered
from ..models.base_model import pick_device, pick_precision, resolve_base
from ..runtime.out_of_memory import as_out_of_memory_error, in_order, sampling_memory_hints
from ..runtime.progress import Events
from ..sampling.apply import applied_at
from ..sampling.changes import LoadedAtoms, read_atoms_file
from ..sampling.generate import generate_images, load_sampler
from ..sampling.options import SampleOptions, Settings
from ..training.preview import spread
from ..training.run_folder import RunFolder

MOST_STEPS, MOST_SCALES = 8, 12


def parse_scales(text: str) -> tuple[float, ...]:
    """ "0.5,1,1.5". Raises UsageError for anything but a few numbers."""
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not 0 < len(scales) <= MOST_SCALES or not all(abs(scale) <= 100 for scale in scales):
        raise UsageError(
            f"--scale-grid takes up to {MOST_SCALES} scales, not {excerpt(text, 60)!r}", "as in --scale-grid 0.5,1,1.5"
        )
    return scales


def scale_grid_of_run(
    run: Path, options: SampleOptions, scales: Sequence[float], output: Path, events: Events | None = None
) -> Path:
    """Write a sheet of the first prompt over the kept steps of a run and these scales; returns its path.

    Raises as `sample`.
    """
    events = events or Events()
    folder = RunFolder(run)
    kept = folder.kept_steps()
    files = {step: kept[step] for step in spread(list(kept), MOST_STEPS)}
    last = read_atoms_file(folder.atoms)
    atoms = {step: read_atoms_file(path) for step, path in files.items()} | {last.info.steps: last}
    source = resolve_base(options.model, last.info.base, last.path)
    events.phase(f"loading {source.name}")
    precision = pick_precision(options.precision, pick_device(options.device))
    remedies = sampling_memory_hints(1, precision, options.settings.size)
    with as_out_of_memory_error("sampling", lambda: in_order(remedies)):
        pipeline = load_sampler(source, options.scheduler, options.device, precision)
        sheet = scale_grid(
            pipeline, sorted(atoms.items()), scales, options.prompts[0], options.seed, options.settings, events
        )
    return write_numbered(
        output, lambda number: f"grid-{number}.png", lambda temporary: sheet.save(temporary, format="PNG")
    )


def scale_grid(
    pipeline: Any,
    steps: Sequence[tuple[int, LoadedAtoms]],
    scales: Sequence[float],
    prompt: str,
    seed: int,
    settings: Settings,
    events: Events | None = None,
) -> Image.Image:
    """A sheet with a row for each step and a column for each scale, all from one loaded pipeline.

    Args:
        steps: atoms by step, of one concept; their own scales do not count.
        prompt: `<name>` or `{}` stands for the concept, `{}` for the first of several.
    """
    events = events or Events()
    of = steps[0][1]
    wanted = [(expand(prompt, of.concepts, own=of.concept), seed)]
    events.begin("evaluate", len(steps) * len(scales))
    rows = []
    for _, atoms in steps:
        row: list[Image.Image] = []
        with applied_at(pipeline, atoms, events) as at:
            for scale in scales:
                with at(scale):
                    row += generate_images(pipeline, wanted, settings, 1)
                events.advance()
        rows.append(row)
    events.end()
    return contact_sheet(rows, [f"step {step}" for step, _ in steps], [f"scale {scale:g}" for scale in scales])
