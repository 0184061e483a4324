"""Preservation: the model keeps its own predictions for what does not name the concept, without any images.

On extra rows of a batch, noisy latents of the concept under other prompts, the adapted model is pulled to its own
prediction at scale 0, which takes a forward pass without gradients. As in learning without forgetting (Li & Hoiem 2016,
arXiv 1606.09282) the model before training is the teacher.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import torch

from ..data.concept import Concept
from ..errors import AtomtuneError, UsageError
from ..models.conditioning import Embeddings, Tokens
from ..runtime.seeds import derived_generator, derived_seed
from .data import Batch
from .options import TrainOptions
from .preservation_options import PreservationOptions
from .preservation_prompts import default_prompts, read_preservation_prompts, words_of
from .shaped_batches import AnyBatches

KEY = "preservation_prompts"
"""Where run.json keeps the prompts."""

_TOGETHER = 8  # prompts that are encoded at a time


@dataclass(frozen=True)
class Preservation:
    """The extra rows of a run's steps.

    Attributes:
        batches: of the concept's noisy latents, as many examples in a step as there are extra rows.
        condition: of every distinct prompt, embedded or as tokens, on the device; numbers: of the prompts among them,
            each as likely as the others.
        weight: of their loss; every: they are there on every `every`-th step.
        base_model: a context within which the model computes as before training.
    """

    batches: AnyBatches
    condition: Embeddings | Tokens
    numbers: tuple[int, ...]
    weight: float
    every: int
    base_model: Callable[[], AbstractContextManager[Any]]

    def is_due(self, step: int) -> bool:
        """Whether a step has the extra rows."""
        return step % self.every == 0

    def draw(self, step: int, first: int, count: int) -> Batch:
        """Rows first, …, first + count − 1 of a step; `captions` are numbers of the prompts in `condition`."""
        chosen = [self._prompt(step, first + row) for row in range(count)]
        return replace(self.batches.draw(step, first, count), captions=torch.tensor(chosen), weights=None)

    def _prompt(self, step: int, place: int) -> int:
        generator = derived_generator(self.batches.seed, "prompt", step, place)
        return self.numbers[int(torch.randint(len(self.numbers), (), generator=generator))]


@dataclass(frozen=True)
class EncodedPrompts:
    """Prompts as `Preservation` has them: the distinct ones encoded, and the number of each prompt among those."""

    condition: Embeddings | Tokens
    numbers: tuple[int, ...]


def encode_each(prompts: Sequence[str], encode: Callable[[list[str]], Any]) -> EncodedPrompts:
    """Encode prompts, each once and a few at a time: the hidden states of hundreds would take gigabytes."""
    numbers = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts))}
    parts = [encode(list(numbers)[first : first + _TOGETHER]) for first in range(0, len(numbers), _TOGETHER)]
    return EncodedPrompts(reduce(operator.add, parts), tuple(numbers[prompt] for prompt in prompts))


def preservation_of(
    prompts: EncodedPrompts,
    batches: AnyBatches,
    options: TrainOptions,
    base_model: Callable[[], AbstractContextManager[Any]],
) -> Preservation:
    """The extra rows of a run, beside its `batches` of the concept. `base_model`: see `Preservation`."""
    rows = options.preserve_rows or max(1, options.batch_size // 2)
    extra = batches.changed(
        size=batches.size // options.batch_size * rows,
        seed=derived_seed(options.seed, "preservation"),
        captions=(),
        dropped=None,
    )
    return Preservation(extra, prompts.condition, prompts.numbers, options.preserve, options.preserve_every, base_model)


def prompts_for(
    options: PreservationOptions, concepts: Sequence[Concept], model: str, seed: int, record: Mapping[str, Any] | None
) -> list[str]:
    """The prompts of a run of some concepts; none without preservation.

    Args:
        model: name of the base model.
        record: run.json of a run that goes on: its prompts count, whatever lists a newer version has.

    Raises:
        UsageError: the file of prompts cannot be read, or is not what it was when the run began.
        AtomtuneError: `record` is damaged.
    """
    if not options.preserve:
        return []
    path = options.preserve_prompts
    if record is None:
        if path is not None:
            return read_preservation_prompts(path, concepts)
        return default_prompts(concepts, words_of(model), seed, with_class_noun=options.preserve_class_noun)
    stored = record.get(KEY)
    if not isinstance(stored, list) or not stored or not all(isinstance(prompt, str) for prompt in stored):
        raise AtomtuneError("run.json does not say which prompts are preserved", "start again with --overwrite")
    if path is not None and path.exists() and read_preservation_prompts(path, concepts) != stored:
        raise UsageError(
            f"the run cannot go on with other prompts than it was begun with, and {path} was changed",
            "change it back, or start again with --overwrite",
        )
    return stored
