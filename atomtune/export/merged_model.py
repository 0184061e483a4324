"""A base model with atoms merged in, as a diffusers folder that needs atomtune no more."""

import datetime
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from .. import __version__
from ..core.fingerprint import fingerprint
from ..core.precision import DTYPES
from ..errors import AtomtuneError, UsageError
from ..files.atomic_folder import bytes_in, new_folder, restore_replaced
from ..files.untrusted_json import read_json
from ..models.base_model import load_pipeline, resolve_base
from ..models.hub_files import pipeline_files
from ..models.load_component import load_component
from ..runtime.progress import Events
from ..sampling.changes import read_atoms
from .checkpoint import check_same, merge_and_round, models_of
from .options import PRECISIONS, MergeOptions
from .result import MergedAtoms, facts_of

RECORD = "atomtune.json"
FORMAT = "atomtune.merged"
_WRITTEN_BY_0_1 = (".json", ".safetensors", ".txt")


@dataclass(frozen=True)
class MergeResult:
    """What was written.

    Attributes:
        output: the diffusers folder; bytes: of all its files.
        layers: how many weights change.
        relative_error: what rounding to `precision` costs, ‖round(W + ΔW) − (W + ΔW)‖ / ‖ΔW‖ over these weights.
        worst_layer, worst_error: the weight that loses most of its own change.
        base, base_fingerprint: the model merged into, before.
        seconds: from the first file read to the last one written.
    """

    output: Path
    bytes: int
    precision: str
    layers: int
    relative_error: float
    worst_layer: str
    worst_error: float
    base: str
    base_fingerprint: str
    atoms: list[MergedAtoms]
    seconds: float


def merge_to_folder(
    atoms: Sequence[tuple[Path, float]],
    output: Path,
    *,
    model: str | None = None,
    precision: str = MergeOptions.precision,
    overwrite: bool = False,
    events: Events | None = None,
) -> MergeResult:
    """Write a diffusers folder of the base model with atoms merged in; their changes add up.

    The weights are added in float32 and rounded to `precision` ("fp32", "fp16") once, at the end. The folder appears
    when it is complete and every component was loaded again; its atomtune.json says what was merged. Like all that
    atomtune generates with, it has no safety checker.

    Args:
        atoms: files and scales.
        model: as for `models.resolve`; None for the model that the first file was trained on.
        overwrite: replace a folder that this function wrote. Nothing else is ever replaced.

    Raises:
        UsageError: no atoms, or `output` is occupied.
        AtomtuneError: the model or a file cannot be loaded, they do not fit each other, the merged weights are not
            finite at this precision, or the folder cannot be written.
    """
    events = events or Events()
    began = time.perf_counter()
    if not atoms:
        raise UsageError("there is nothing to merge", "give --concept NAME or --atoms FILE[:SCALE]")
    if precision not in PRECISIONS:
        raise UsageError(f"there is no precision {precision!r} to write", f"one of {', '.join(PRECISIONS)}")
    loaded = read_atoms(atoms, events)
    source = resolve_base(model, loaded[0].info.base, loaded[0].path)
    if source.is_local and Path(source.location).resolve() == output.resolve():
        raise UsageError(f"{output} is the base model itself", "--output names another folder")
    restore_replaced(output)  # what a killed merge had moved away
    _check_free(output, overwrite)
    with new_folder(output) as folder:  # before the model is loaded: a folder that cannot be written is known at once
        events.phase(f"loading {source.name}")
        pipeline = load_pipeline(source)
        base = fingerprint(pipeline.unet)
        events.phase("merging")
        compared, count = merge_and_round(pipeline, loaded, DTYPES[precision], events)
        _check_space(pipeline, output)
        events.phase(f"writing {output}")
        try:
            pipeline.save_pretrained(folder, safe_serialization=True)
            _write_vocabularies(pipeline, folder)
        except SafetensorError as problem:  # how safetensors reports a full disk
            raise OSError(str(problem)) from problem
        merged = [facts_of(item) for item in loaded]
        record = {
            "format": FORMAT,
            "format_version": 1,
            "tool_version": __version__,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "base": source.public_name,
            "base_fingerprint": base,
            "precision": precision,
            "atoms": [asdict(item) for item in merged],
            "files": [*_files_in(folder), RECORD],
        }
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        size = bytes_in(folder)
        events.phase("reading it again")
        _check_written(folder, output, pipeline)
    quality = compared.quality(count)
    return MergeResult(
        output=output,
        bytes=size,
        precision=precision,
        layers=count,
        relative_error=quality.relative_error,
        worst_layer=quality.worst_layer,
        worst_error=quality.worst_error,
        base=source.name,
        base_fingerprint=base,
        atoms=merged,
        seconds=time.perf_counter() - began,
    )


def _check_written(folder: Path, output: Path, pipeline: Any) -> None:
    """Raise AtomtuneError where a component that is loaded again is not the one that was written."""
    files = pipeline_files(str(output), str(folder))
    for name, part in models_of(pipeline).items():
        again = load_component(str(output), files.folder, name, files.index.components[name], files.weights[name])
        check_same(str(output), name, part, again)


def _write_vocabularies(pipeline: Any, folder: Path) -> None:
    """Write vocab.json and merges.txt of each tokenizer, which transformers 5 leaves out and earlier ones need."""
    for name, part in pipeline.components.items():
        if name.startswith("tokenizer") and part is not None and not (folder / name / "vocab.json").is_file():
            part.backend_tokenizer.model.save(str(folder / name))


def _check_free(output: Path, overwrite: bool) -> None:
    """Raise UsageError where the output folder holds anything but what `overwrite` may replace."""
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is not a folder", "--output names another one")
    if not output.is_dir() or not any(output.iterdir()):
        return
    record = _record_of(output)
    foreign = _foreign(output, record) if record is not None else []
    if record is None or foreign:
        what = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
        raise UsageError(
            f"{output} holds {what or 'something'} that atomtune merge did not write",
            "move that away, or --output names a new or empty folder",
        )
    if not overwrite:
        raise UsageError(
            f"{output} already holds a merged model", "--overwrite replaces it, --output names another folder"
        )


def _record_of(folder: Path) -> dict[str, Any] | None:
    """What a merged model says of itself; None where the folder is none."""
    try:
        record = read_json(folder / RECORD)
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("format") == FORMAT else None


def _foreign(folder: Path, record: dict[str, Any]) -> list[str]:
    """Files and links in a merged model's folder that its record does not list."""
    ours = record.get("files")
    found = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    if isinstance(ours, list):
        return sorted(name for path in found if (name := path.relative_to(folder).as_posix()) not in ours)
    # version 0.1 listed no files: what is of the kinds that it wrote counts as written by it
    return sorted(path.relative_to(folder).as_posix() for path in found if path.suffix not in _WRITTEN_BY_0_1)


def _files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _check_space(pipeline: Any, output: Path) -> None:
    needed = sum(p.numel() * p.element_size() for part in models_of(pipeline).values() for p in part.parameters())
    free = shutil.disk_usage(output.resolve().parent).free
    if free < needed:
        raise AtomtuneError(
            f"{output} needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free there",
            "--precision fp16 needs half, --output names another place",
        )
