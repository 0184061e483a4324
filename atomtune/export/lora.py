"""What atoms change, as a LoRA file that other programs load."""

import datetime
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import __version__
from ..core.fingerprint import fingerprint
from ..core.precision import DTYPES
from ..errors import AtomtuneError, UsageError
from ..files import store
from ..files.atoms_file import SS_NAMES
from ..models.architecture import architecture_of
from ..models.base_model import ModelSource, load_pipeline, pick_device, resolve_base
from ..models.conditioning import text_encoders
from ..runtime.disk_space import DiskNeed, check_disk_space
from ..runtime.progress import Events
from ..sampling.changes import LoadedAtoms, read_atoms
from .lora_keys import diffusers_name, kohya_name
from .lora_svd import Factors, Total, factors_of
from .merged_model import PRECISIONS, MergedAtoms, facts_of
from .options import FORMATS, LoraOptions

KIND = "lora"
MUCH = 0.5
"""The relative error from which on the result comes with a warning."""


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes:
        rank: of all layers: as asked for, or less where less is all that the largest layer can have.
        layers: how many the file changes.
        relative_error: ‖ΔW − BA‖ / ‖ΔW‖ over all layers, of the factors as they are in the file.
        worst_layer, worst_error: the layer whose own relative error is largest.
        base, base_fingerprint: the model the change was computed for.
        sha256: the checksum of the tensors.
        seconds: from the first file read to the file written.
    """

    output: Path
    bytes: int
    format: str
    precision: str
    rank: int
    layers: int
    relative_error: float
    worst_layer: str
    worst_error: float
    base: str
    base_fingerprint: str
    atoms: list[MergedAtoms]
    sha256: str
    seconds: float


def export_lora(
    atoms: Sequence[tuple[Path, float]],
    output: Path,
    *,
    rank: int = LoraOptions.rank,
    format: str = LoraOptions.format,
    model: str | None = None,
    precision: str = LoraOptions.precision,
    device: str | None = None,
    overwrite: bool = False,
    events: Events | None = None,
) -> ExportResult:
    """Write what atoms change as a LoRA: for each layer the nearest matrix of this rank, in two factors.

    Changes of several files add up before they are approximated. Text encoders are in the file where they were tuned.

    Args:
        atoms: files and scales.
        format: "kohya", which ComfyUI and A1111 read, or "diffusers".
        model: as for `models.resolve`; None for the model that the first file was trained on.
        precision: type of the factors, "fp16" or "fp32".
        device: where the factors are computed; None for the CPU.
        overwrite: replace a file that this function wrote. Nothing else is ever replaced.

    Raises:
        UsageError: no atoms, options that cannot be, or `output` is occupied.
        AtomtuneError: the model or a file cannot be loaded, they do not fit each other, something changes that no LoRA
            can hold, a factor is not finite at this precision, or the file cannot be written.
    """
    events = events or Events()
    began = time.perf_counter()
    _check_options(atoms, rank, format, precision)
    _check_free(output, [path for path, _ in atoms], overwrite)
    where = pick_device(device or "cpu")
    loaded = read_atoms(atoms, events)
    source = resolve_base(model, loaded[0].info.base, loaded[0].path)
    hint = "--output names another place"
    check_disk_space([DiskNeed(output.parent, 0, hint)])  # fail before the model loads
    events.phase(f"loading {source.name}")
    pipeline = load_pipeline(source)
    base = fingerprint(pipeline.unet)
    total = Total(pipeline, loaded, events)
    layers, factors = total.layers(), []
    events.begin("export", len(layers))
    for part, layer in layers:
        found = factors_of(part, layer, total.change(part, f"{layer}.weight"), rank, DTYPES[precision], where)
        factors += [found] if found else []
        events.advance()
    events.end()
    if not factors:
        raise AtomtuneError("these atoms change nothing", "train them for longer, or give another scale")
    error = math.sqrt(sum(item.lost for item in factors) / sum(item.size for item in factors))
    worst = max(factors, key=lambda item: item.error)
    merged = [facts_of(item) for item in loaded]
    rank = min(rank, max(len(item.down) for item in factors))
    tensors = _named(pipeline, factors, rank, format)
    header = _about_pipeline(pipeline, source, format) | _about_concepts(loaded)
    if format == "kohya":
        header |= _about_network(factors, rank)
    header |= {
        "ss_output_name": output.stem,
        "rank": str(rank),
        "precision": precision,
        "relative_error": f"{error:.6f}",
        "base_fingerprint": base,
        "atoms": json.dumps([asdict(item) for item in merged]),
    }
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    check_disk_space([DiskNeed(output.parent, needed, f"a lower --rank needs less, {hint}")])
    events.phase(f"writing {output}")
    digest = store.save(output, KIND, tensors, header)
    if error > MUCH:
        events.warn(f"the relative error is {error:.2f}: a higher --rank comes nearer to what was learned")
    return ExportResult(
        output=output,
        bytes=output.stat().st_size,
        format=format,
        precision=precision,
        rank=rank,
        layers=len(factors),
        relative_error=error,
        worst_layer=f"{worst.part}.{worst.layer}",
        worst_error=worst.error,
        base=source.name,
        base_fingerprint=base,
        atoms=merged,
        sha256=digest,
        seconds=time.perf_counter() - began,
    )


def _check_options(atoms: Sequence[object], rank: int, format: str, precision: str) -> None:
    if not atoms:
        raise UsageError("there is nothing to export", "give --concept NAME or --atoms FILE[:SCALE]")
    if rank < 1:
        raise UsageError(f"the rank must be at least 1, not {rank}", "as in --rank 32")
    if format not in FORMATS:
        raise UsageError(f"there is no format {format!r} of LoRA files", f"one of {', '.join(FORMATS)}")
    if precision not in PRECISIONS:
        raise UsageError(f"there is no precision {precision!r} to write", f"one of {', '.join(PRECISIONS)}")


def _check_free(output: Path, sources: Sequence[Path], overwrite: bool) -> None:
    """Raise UsageError where the output is no name for the file, or holds anything but what `overwrite` may replace."""
    if output.suffix != ".safetensors":
        raise UsageError(f"{output} is no name for a LoRA", "--output names a .safetensors file")
    if not output.exists():
        return
    if not output.is_file():
        raise UsageError(f"{output} is not a file", "--output names another one")
    if output.resolve() in [path.resolve() for path in sources] or not _is_ours(output):
        raise UsageError(f"{output} holds something that atomtune export did not write", "--output names a new file")
    if not overwrite:
        raise UsageError(f"{output} is already there", "--overwrite replaces it, --output names another file")


def _is_ours(path: Path) -> bool:
    try:
        return store.read_header(path)["format"] == f"atomtune.{KIND}"
    except AtomtuneError:
        return False


def _named(pipeline: Any, factors: Sequence[Factors], rank: int, format: str) -> dict[str, Tensor]:
    """The tensors of the file. All layers get the same rank, the shorter ones with zeros.

    The factors then count as they are, for everybody: alpha is the rank in the one format and unknown in the other, and
    of alphas and ranks that differ from layer to layer diffusers loses some.
    """
    is_xl = len(text_encoders(pipeline)) > 1
    tensors = {}
    for item in factors:
        more, sides = rank - len(item.down), [0, 0] * (item.down.dim() - 2)
        down, up = nn.functional.pad(item.down, [*sides, 0, 0, 0, more]), nn.functional.pad(item.up, [*sides, 0, more])
        if format == "kohya":
            name = kohya_name(item.part, item.layer, pipeline.unet.config, is_xl)
            tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"] = down, up
            tensors[f"{name}.alpha"] = torch.tensor(float(rank))
        else:
            name = diffusers_name(item.part, item.layer)
            tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"] = down, up
    return tensors


def _about_pipeline(pipeline: Any, source: ModelSource, format: str) -> dict[str, str]:
    """What other programs show of the base model, and sort files by."""
    architecture = architecture_of(pipeline.unet)
    prediction = str(pipeline.scheduler.config.prediction_type)
    as_original = format == "kohya" and len(text_encoders(pipeline)) > 1
    about = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{architecture}/lora",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models" if as_original else "diffusers",
        "modelspec.prediction_type": "v" if prediction == "v_prediction" else prediction,
        "ss_base_model_version": SS_NAMES.get(architecture, architecture),
        "ss_sd_model_name": source.public_name,
    }
    return about | ({"ss_v2": str(architecture == "stable-diffusion-v2")} if architecture in SS_NAMES else {})


def _about_concepts(loaded: Sequence[LoadedAtoms]) -> dict[str, str]:
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {
        "modelspec.title": " + ".join(dict.fromkeys(item.info.concept for item in loaded)),
        "modelspec.trigger_phrase": ", ".join(dict.fromkeys(item.info.trigger for item in loaded)),
        "modelspec.date": created,
        "created": created,
        "tool_version": __version__,
    }


def _about_network(factors: Sequence[Factors], rank: int) -> dict[str, str]:
    """What kohya's scripts say of a network: its module, rank and alpha, and those of its k×k convolutions."""
    about = {"ss_network_module": "networks.lora", "ss_network_dim": str(rank), "ss_network_alpha": str(rank)}
    if any(item.down[0, 0].numel() > 1 for item in factors):
        about["ss_network_args"] = json.dumps({"conv_dim": str(rank), "conv_alpha": str(rank)})
    return about
