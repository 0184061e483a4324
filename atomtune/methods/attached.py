"""Tuning by weight deltas that stand beside the weights of a model."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from ..adapt import attach, detach, set_scale, trainable_parameters
from ..core.deltas import WeightDelta


class AttachedDeltas:
    """A `Tuning` whose parameters are those of attached deltas.

    Args:
        model: frozen; the deltas are attached to it.
        deltas: one a layer.
        export: their tensors for a file; load: the way back, into the deltas.
    """

    def __init__(
        self,
        model: nn.Module,
        deltas: Mapping[str, WeightDelta],
        export: Callable[[Mapping[str, WeightDelta]], dict[str, Tensor]],
        load: Callable[[Mapping[str, WeightDelta], Mapping[str, Tensor]], None],
    ) -> None:
        attach(model, deltas)
        self._model = model
        self._deltas = deltas
        self._export = export
        self._load = load
        self.parameters = trainable_parameters(model)

    def export(self) -> dict[str, Tensor]:
        """See `Tuning.export`."""
        return self._export(self._deltas)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Startable.load`."""
        self._load(self._deltas, tensors)

    def detach(self) -> None:
        """See `Tuning.detach`."""
        detach(self._model)

    def set_scale(self, scale: float) -> None:
        """See `Tuning.set_scale`."""
        set_scale(self._model, scale)
