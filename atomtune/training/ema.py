"""An exponential moving average of the trained parameters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..files.checkpoint import parameters_of


class Average:
    """Averages parameters over the steps of a run, on their device: diffusers' EMAModel under the parameters' names.

    The decay grows with the steps as (1 + s)/(10 + s) up to `decay`, so that short runs do not average their start.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        from diffusers.training_utils import EMAModel

        self.names = list(parameters)
        self.parameters = list(parameters.values())
        self.model = EMAModel(self.parameters, decay=decay, foreach=True)

    def update(self) -> None:
        """Add the parameters as they are after a step."""
        self.model.step(self.parameters)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the context, the parameters hold their average; after it, their own values to the last bit."""
        self.model.store(self.parameters)
        self.model.copy_to(self.parameters)
        try:
            yield
        finally:
            self.model.restore(self.parameters)

    def state(self) -> dict[str, Tensor]:
        """Copies of the averages by parameter name, on the CPU."""
        return parameters_of(dict(zip(self.names, self.model.shadow_params, strict=True)))

    def restore(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Go on from `state` after this many steps. Raises KeyError where a parameter has no average there."""
        self.model.optimization_step = steps
        with torch.no_grad():
            for name, average in zip(self.names, self.model.shadow_params, strict=True):
                average.copy_(state[name])
