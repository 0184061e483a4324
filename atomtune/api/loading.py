"""Adapter files applied to a pipeline or a model, for good or for a while."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from torch import nn

from ..core.precision import DTYPES
from ..errors import UsageError
from ..models import base_model
from ..models.base_model import pick_device
from ..runtime.malloc import keep_freed_memory
from ..runtime.progress import Events
from ..runtime.units import counted
from ..sampling.changes import LoadedAtoms, Target, part_changes, read_atoms
from .adapter import check_free
from .overlay import Summand, overlay_of
from .sources import find_file

if TYPE_CHECKING:
    from ..models.base_model import Pipeline

Source: TypeAlias = str | os.PathLike[str]


def load_pipeline(model: str | None = None, *, precision: str = "fp32", device: str | None = None) -> "Pipeline":
    """A plain pipeline of diffusers, in evaluation mode, frozen, from safetensors only, without a safety checker.

    Args:
        model: a hub id, a diffusers folder, a .safetensors checkpoint, or "pocket", the miniature in this package; None
            for the environment variable ATOMTUNE_MODEL, else CompVis/stable-diffusion-v1-4.
        precision: "fp32", "fp16" or "bf16".
        device: "cpu", "cuda", "mps", …; the best there is, without one.

    Raises AtomtuneError where the model is not there, the hub cannot be reached, or it is of an unsupported kind.
    """
    if precision not in DTYPES:
        raise UsageError(f"there is no precision {precision!r}", f"one of {', '.join(DTYPES)}")
    where = pick_device(device)
    return base_model.load_pipeline(base_model.resolve(model), DTYPES[precision]).to(where)


class Loaded:
    """Files applied to a pipeline or a model. In a `with` statement they are taken away at the end, unless merged.

    Attributes:
        files: what was loaded, as read.
    """

    def __init__(self, files: list[LoadedAtoms], summands: dict[nn.Module, list[Summand]]) -> None:
        self.files = files
        self._summands = summands
        self._scale = files[0].scale
        self._ended = ""

    @property
    def scale(self) -> float:
        """The factor of ΔW, of the first file: 1 as trained, 0 for the base model. Setting it sets that of all."""
        return self._scale

    @scale.setter
    def scale(self, scale: float) -> None:
        self._check("scaled")
        for model, summands in self._summands.items():
            overlay_of(model).rescale(summands, float(scale))
        self._scale = float(scale)

    def merge(self) -> None:
        """Make it permanent, with what else is loaded into these models; drop what was kept for the way back."""
        self._check("merged")
        for model in self._summands:
            overlay_of(model).settle()
        self._ended = "merged"

    def detach(self) -> None:
        """Take the files away. Without any left the weights are the base model's, bit for bit."""
        self._check("detached")
        for model, summands in self._summands.items():
            overlay_of(model).remove(summands)
        self._ended = "detached"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _problem: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if not self._ended:
            self.detach()

    def __repr__(self) -> str:
        names = ", ".join(f"{' + '.join(item.info.names)} ({item.path.name})" for item in self.files)
        return f"Loaded({names}: {self._ended or f'scale {self.scale:g}'})"

    def _check(self, what: str) -> None:
        if self._ended:
            raise UsageError(f"the files were {self._ended} and cannot be {what}", "load them again")
        for model, summands in self._summands.items():
            check_free(model)
            if not overlay_of(model).holds(summands):
                raise UsageError("the files were merged along with others", "load them again")


def load(
    target: Any,
    *sources: Source,
    scale: float | Sequence[float] = 1.0,
    filename: str | None = None,
    revision: str | None = None,
) -> Loaded:
    """Apply adapter files to a plain diffusers pipeline, or to a model. Several add up, with those of earlier calls.

    The weights become W' = W + Σ scale·ΔW, computed once, in float32, and cast to the dtype of W; nothing is added to
    the model, so that it runs at its own speed and `save_pretrained` writes a plain model with the adapter merged in.
    The base weights that changed are kept in main memory until `Loaded.merge`, for `Loaded.scale` and `Loaded.detach`.

    Args:
        target: a pipeline of diffusers, whose UNet and text encoders the files tune; or one model.
        sources: .safetensors files, folders of runs, or hub ids ("org/mug", "org/mug@revision",
            "org/mug@revision:file.safetensors").
        scale: the factor of ΔW, one for all or one for each file.
        filename, revision: of a hub id or folder; see `find_file`.

    Returns: what was loaded, to scale it, merge it or take it away.

    Raises:
        UsageError: an adapter is attached to the model, or nothing is to be loaded.
        AtomtuneError: a file is missing, damaged or for a model of another architecture or shape, the hub cannot be
            reached, or a merged weight is not finite. The weights stay as they were.

    Warns: AtomtuneWarning where a file was trained on a base of the same shapes with other weights.
    """
    scales = [float(scale)] * len(sources) if isinstance(scale, int | float) else [float(one) for one in scale]
    if not sources or len(scales) != len(sources):
        raise UsageError(
            f"{counted(len(sources), 'source')} and {counted(len(scales), 'scale')}",
            "one scale, or one for each source",
        )
    goal = Target(target)
    for model in goal.parts.values():
        check_free(model)
    found = [find_file(source, filename, revision) for source in sources]
    files = read_atoms(list(zip(found, scales, strict=True)), Events())
    keep_freed_memory()
    by_part: dict[str, list[Summand]] = {}
    with ExitStack() as base:
        for model in goal.parts.values():
            base.enter_context(overlay_of(model).own_weights())
        for item in files:
            for part, changes in part_changes(goal, item, Events()).items():
                by_part.setdefault(part, []).append(Summand(changes, item.scale))
    with ExitStack() as undo:
        for part, summands in by_part.items():
            overlay = overlay_of(goal.parts[part])
            overlay.add(summands)
            undo.callback(overlay.remove, summands)
        undo.pop_all()
    return Loaded(files, {goal.parts[part]: summands for part, summands in by_part.items()})


@contextmanager
def applied(target: Any, *sources: Source, **options: Any) -> Iterator[Loaded]:
    """A context within which adapter files are applied to a pipeline or a model; arguments and errors as for `load`."""
    with load(target, *sources, **options) as loaded:
        yield loaded
