"""Textual inversion: learn the embedding of the concept's token (Gal et al. 2022, arXiv 2208.01618).

The token is the concept's own rare word and starts as what the model has for it, so that no tokenizer changes and the
output is the base model's at the start. More vectors are as many rare words, one after the other in prompts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.decompose import Decomposition
from ..errors import AtomtuneError
from .base import LayerPlan, halved, held
from .specs import Spec

TOKEN_CHANGE = "token_embedding.change"
"""The tensor in the file: what is added to the token's row, (width); to the rows of several, (vectors, width)."""

_PARAMETER = "token_change"


class TokenTuning:
    """A `Tuning` of rows of a text encoder's token embedding.

    Args:
        encoder: a text encoder of transformers.
        tokens: the numbers of the concept's words, all different; see `components.token_ids`.
    """

    def __init__(self, encoder: nn.Module, tokens: Sequence[int]) -> None:
        _, self._table = token_table(encoder)
        shape = change_shape(len(tokens), self._table.weight.shape[1])
        change = nn.Parameter(torch.zeros(shape, device=self._table.weight.device))
        self._table.register_parameter(_PARAMETER, change)
        self.parameters = {TOKEN_CHANGE: change}
        self._scale = 1.0

        def add(_table: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            result = output
            for token, row in zip(tokens, change.view(len(tokens), -1), strict=True):
                moved = output + (self._scale * row).to(output.dtype)
                result = torch.where((inputs[0] == token).unsqueeze(-1), moved, result)
            return result

        self._hook = self._table.register_forward_hook(add)

    def export(self) -> dict[str, Tensor]:
        """See `Tuning.export`."""
        return halved(self.parameters)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Startable.load`."""
        for name, parameter in self.parameters.items():
            parameter.copy_(held(tensors, name, tuple(parameter.shape)))

    def detach(self) -> None:
        """See `Tuning.detach`."""
        self._hook.remove()
        del self._table._parameters[_PARAMETER]

    def set_scale(self, scale: float) -> None:
        """See `Tuning.set_scale`."""
        self._scale = scale


@torch.no_grad()
def token_changes(encoder: nn.Module, tokens: Sequence[int], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a file adds to a text encoder's parameters: ΔW of its token embedding, by the parameter's name."""
    path, table = token_table(encoder)
    rows = held(tensors, TOKEN_CHANGE, change_shape(len(tokens), table.weight.shape[1])).float()
    change = torch.zeros_like(table.weight, dtype=torch.float32)
    change[list(tokens)] = rows.view(len(tokens), -1).to(change.device)
    return {f"{path}.weight": change}


def change_shape(vectors: int, width: int) -> tuple[int, ...]:
    """The shape of `TOKEN_CHANGE` for so many vectors; one vector has no dimension for them, as up to version 0.1."""
    return (width,) if vectors == 1 else (vectors, width)


def vectors_in(change: Tensor) -> int:
    """How many vectors a file's `TOKEN_CHANGE` holds."""
    return 1 if change.dim() == 1 else change.shape[0]


def token_table(encoder: Any) -> tuple[str, nn.Embedding]:
    """The token embedding of a text encoder and its dotted name."""
    table = encoder.get_input_embeddings()
    if not isinstance(table, nn.Embedding):
        raise AtomtuneError(f"the text encoder {type(encoder).__name__} has no table of tokens", "CLIP's have")
    return next(name for name, module in encoder.named_modules() if module is table), table


class TextualInversion:
    """The method. The UNet stays as it is; see `TokenTuning` for what is trained."""

    name = "textual-inversion"
    title = "the embedding of the concept's token"
    learning_rate = 5e-3
    spec: type[Spec] = Spec

    def plan(self, model: nn.Module, spec: Any) -> list[LayerPlan]:
        """See `Method.plan`: nothing of the UNet."""
        return []

    def attach(
        self, model: nn.Module, spec: Any, *, seed: int = 0, decomposition: Mapping[str, Decomposition] | None = None
    ) -> "Untouched":
        """See `Method.attach`."""
        return Untouched()

    def changes(self, model: nn.Module, spec: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Method.changes`."""
        return {}


class Untouched:
    """The `Tuning` of a model of which nothing is trained."""

    def __init__(self) -> None:
        self.parameters: dict[str, nn.Parameter] = {}

    def export(self) -> dict[str, Tensor]:
        """See `Tuning.export`."""
        return {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Startable.load`."""

    def detach(self) -> None:
        """See `Tuning.detach`."""

    def set_scale(self, scale: float) -> None:
        """See `Tuning.set_scale`."""


TEXTUAL_INVERSION = TextualInversion()
