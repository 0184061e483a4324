"""`atomtune export`: what atoms change, in a form that other programs load, checked after it was written."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from ..core.fingerprint import fingerprint
from ..errors import AtomtuneError, UsageError
from ..files import store
from ..models.base_model import load_pipeline, pick_device, resolve_base
from ..runtime.disk_space import DiskNeed, check_disk_space
from ..runtime.progress import Events
from ..sampling.changes import read_atoms
from .adapters import write_adapter
from .checkpoint import write_checkpoint
from .embedding import write_embedding
from .job import Job, Written
from .merged_model import merge_to_folder
from .options import ExportOptions
from .result import ExportResult, WorseThanPromisedError, facts_of
from .side_files import check_beside, write_beside

MUCH = 0.5
"""The relative error from which on the result comes with a warning."""

WRITERS: dict[str, Callable[[Job], Written]] = {
    "lora": write_adapter,
    "lora-diffusers": write_adapter,
    "diff": write_adapter,
    "checkpoint": write_checkpoint,
    "embedding": write_embedding,
}
"""What writes each form that is one file."""

_KINDS = frozenset({"lora", "diff", "checkpoint", "embedding"})


def export(
    atoms: Sequence[tuple[Path, float]],
    output: Path,
    options: ExportOptions | None = None,
    *,
    overwrite: bool = False,
    events: Events | None = None,
) -> ExportResult:
    """Write what atoms change in a form that other programs load; several files add up.

    What was written is read again and compared with the merged weights. Beside a file NAME.safetensors go NAME.json and
    NAME.preview.png.

    Args:
        atoms: files and scales.
        output: the .safetensors file; for "diffusers" the folder.
        overwrite: replace what this function wrote. Nothing else is ever replaced.

    Raises:
        UsageError: no atoms, options that cannot be, or `output` is occupied.
        AtomtuneError: the model or a file cannot be loaded, they do not fit each other, something changes that this
            form cannot hold, a number is not finite at this precision, or the file cannot be written.
        WorseThanPromisedError: it was written, and differs more from the atoms than it should.
    """
    options, events = options or ExportOptions(), events or Events()
    began = time.perf_counter()
    if not atoms:
        raise UsageError("there is nothing to export", "give --concept NAME or --atoms FILE[:SCALE]")
    if options.to == "diffusers":
        return _folder(atoms, output, options, overwrite, events)
    _check_free(output, [path for path, _ in atoms], overwrite)
    device = pick_device(options.device or "cpu")
    loaded = read_atoms(atoms, events)
    source = resolve_base(options.model, loaded[0].info.base, loaded[0].path)
    check_disk_space([DiskNeed(output.parent, 0, "--output names another place")])  # fail before the model loads
    events.phase(f"loading {source.name}")
    pipeline = load_pipeline(source)
    job = Job(pipeline, source, fingerprint(pipeline.unet), loaded, output, options, device, events)
    pipeline.to(device)
    written = WRITERS[options.to](job)
    quality = asdict(written.quality)
    if quality["weighted_error"] is None and written.quality.relative_error > MUCH:
        events.warn(f"the relative error is {written.quality.relative_error:.2f}: a higher --rank keeps more")
    result = ExportResult(
        output=output,
        bytes=output.stat().st_size,
        beside=write_beside(job),
        to=options.to,
        precision="fp32" if options.to == "embedding" else options.precision,
        rank=written.rank,
        base=source.name,
        base_fingerprint=job.base_fingerprint,
        atoms=[facts_of(item) for item in loaded],
        sha256=written.sha256,
        seconds=time.perf_counter() - began,
        **quality,
    )
    if written.broken is not None:
        raise WorseThanPromisedError(f"{output} is worse than promised: {written.broken[0]}", written.broken[1], result)
    return result


def _folder(
    atoms: Sequence[tuple[Path, float]], output: Path, options: ExportOptions, overwrite: bool, events: Events
) -> ExportResult:
    if options.psnr is not None:
        raise UsageError("--psnr is not measured with --to diffusers", "every weight is compared instead")
    merged = merge_to_folder(
        atoms, output, model=options.model, precision=options.precision, overwrite=overwrite, events=events
    )
    return ExportResult(
        output=output,
        bytes=merged.bytes,
        beside=[],
        to=options.to,
        precision=merged.precision,
        rank=None,
        layers=merged.layers,
        relative_error=merged.relative_error,
        energy_kept=1 - merged.relative_error**2,
        weighted_error=None,
        worst_layer=merged.worst_layer,
        worst_error=merged.worst_error,
        psnr=None,
        base=merged.base,
        base_fingerprint=merged.base_fingerprint,
        atoms=merged.atoms,
        sha256="",
        seconds=merged.seconds,
    )


def _check_free(output: Path, sources: Sequence[Path], overwrite: bool) -> None:
    """Raise UsageError where the output is no name for the file, or holds anything but what `overwrite` may replace."""
    if output.suffix != ".safetensors":
        raise UsageError(f"{output} is no name for an export", "--output names a .safetensors file")
    if output.exists():
        if not output.is_file():
            raise UsageError(f"{output} is not a file", "--output names another one")
        if output.resolve() in [path.resolve() for path in sources] or not _is_ours(output):
            raise UsageError(
                f"{output} holds something that atomtune export did not write", "--output names a new file"
            )
        if not overwrite:
            raise UsageError(f"{output} is already there", "--overwrite replaces it, --output names another file")
    check_beside(output)


def _is_ours(path: Path) -> bool:
    try:
        return store.read_header(path)["format"].removeprefix("atomtune.") in _KINDS
    except AtomtuneError:
        return False
