"""Changes written into the weights of a loaded model, with its own weights kept for the way back."""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..methods.merging import PartChanges, merged_tensors


@dataclass(eq=False)
class Summand:
    """One of several changes that add up.

    Attributes:
        changes: computes them for a model that has its own weights. It must hold no reference to that model.
        scale: their factor.
    """

    changes: Callable[[nn.Module], PartChanges]
    scale: float


class Overlay:
    """The weights of one model with changes on top. It takes the memory of a copy of those that change, on the CPU."""

    def __init__(self, model: nn.Module) -> None:
        self._model = weakref.ref(model)
        self._own: dict[str, Tensor] = {}
        self._summands: list[Summand] = []

    def holds(self, summands: Sequence[Summand]) -> bool:
        """Whether these changes are on top."""
        return all(any(own is summand for own in self._summands) for summand in summands)

    def add(self, summands: Sequence[Summand]) -> None:
        """Add changes. Raises AtomtuneError where they do not fit or give no finite weight; nothing changes then."""
        self._set([*self._summands, *summands])

    def remove(self, summands: Sequence[Summand]) -> None:
        """Take changes away; without any left the weights are the model's own, bit for bit."""
        self._set([own for own in self._summands if not any(own is summand for summand in summands)])

    def rescale(self, summands: Sequence[Summand], scale: float) -> None:
        """Give changes another scale. Raises as `add`."""
        before = [summand.scale for summand in summands]
        try:
            for summand in summands:
                summand.scale = scale
            self._set(list(self._summands))
        except BaseException:
            for summand, old in zip(summands, before, strict=True):
                summand.scale = old
            self._set(list(self._summands))
            raise

    def settle(self) -> None:
        """Make all changes permanent: what was kept for the way back is dropped."""
        self._own.clear()
        self._summands.clear()

    @contextmanager
    def own_weights(self) -> Iterator[None]:
        """A context within which the model has its own weights."""
        self._restore()
        try:
            yield
        finally:
            self._write()

    def _set(self, summands: list[Summand]) -> None:
        before, self._summands = self._summands, summands
        try:
            self._restore()
            self._write()
        except BaseException:
            self._restore()
            self._summands = before
            self._write()
            raise

    @torch.no_grad()
    def _write(self) -> None:
        if not self._summands:
            return
        model = self._model()
        assert model is not None  # whoever calls holds it
        made = [(summand.changes(model), summand.scale) for summand in self._summands]
        for name, tensor, value in merged_tensors(model, made):
            if tensor.is_meta:
                raise UsageError(
                    f"the weights of {name} are not there, only their shapes",
                    "load into a pipeline before its weights are offloaded",
                )
            self._own[name] = tensor.data.to("cpu")
            tensor.data = value

    def _restore(self) -> None:
        model = self._model()
        assert model is not None
        state: Mapping[str, Tensor] = model.state_dict(keep_vars=True)
        for name, own in self._own.items():
            # wherever the model is by now, and in the type that it has by now
            state[name].data = own.to(state[name].device, state[name].dtype)
        self._own.clear()


_OVERLAYS: "weakref.WeakKeyDictionary[nn.Module, Overlay]" = weakref.WeakKeyDictionary()


def overlay_of(model: nn.Module) -> Overlay:
    """The overlay of a model, the same each time."""
    return _OVERLAYS.setdefault(model, Overlay(model))
