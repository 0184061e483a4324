"""All that is trained of a pipeline: its UNet, and as asked its text encoders and the embedding of the token."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from ..core.decompose import ALGORITHM, Decomposition
from ..data.concept import Concept
from ..errors import AtomtuneError, UsageError, excerpt
from ..methods import METHODS
from ..methods.base import Startable, Tuning, switched_off
from ..methods.options import MethodOptions
from ..methods.specs import AtomsSpec
from ..methods.textual_inversion import TOKEN_CHANGE, TokenTuning
from ..models.base_model import ModelSource
from ..models.components import encoder_spec, name_in_file, split_parts, token_ids
from ..models.conditioning import text_encoders, tokenizer_of
from ..models.decomposition import DecompositionReport, load_or_decompose
from ..runtime.progress import Events
from ..runtime.seeds import derived_seed


@dataclass(frozen=True)
class PartTuning:
    """One tuning of a component of a pipeline.

    Attributes:
        part: the name of the component.
        name: gives the names of its tensors in the file.
    """

    part: str
    tuning: Tuning
    name: Callable[[str], str]


@dataclass(frozen=True)
class Tunings:
    """All that is trained of a pipeline.

    Attributes:
        parts: the UNet's first.
        digests: of the decompositions, by name; none for methods without.
    """

    parts: list[PartTuning]
    digests: dict[str, str]

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The trained parameters, by their names in the file."""
        return {one.name(key): value for one in self.parts for key, value in one.tuning.parameters.items()}

    def export(self) -> dict[str, Tensor]:
        """The tensors of the atoms file. Raises AtomtuneError where one is not finite."""
        return {one.name(key): value for one in self.parts for key, value in one.tuning.export().items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Begin with what a file holds; a text encoder, or a token, of which it holds nothing begins as it is.

        Raises AtomtuneError where the tensors do not fit or are of more than is trained here, UsageError where the
        method cannot begin with a file.
        """
        in_file, used = split_parts(tensors), set[str]()
        for one in self.parts:
            held = _Renamed(in_file.get(one.part, {}), one, used)
            if one.part != "unet" and not held.holds_some:
                continue
            if not isinstance(one.tuning, Startable):
                raise UsageError("the method cannot begin with a file", "leave out --init")
            one.tuning.load(held)
        for part, own in in_file.items():
            if left := [key for key in own if f"{part}/{key}" not in used]:
                raise AtomtuneError(
                    f"the file holds {excerpt(left[0])}, for which there is no place here",
                    "atomtune inspect shows what it was trained with",
                )

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """Within the context the pipeline computes as before training, without gradients."""
        with ExitStack() as stack:
            for one in self.parts:
                stack.enter_context(switched_off(one.tuning))
            yield


class _Renamed(Mapping[str, Tensor]):
    """A file's tensors of a component by the names that its tuning has for them; `used` gets those it asks for."""

    def __init__(self, tensors: Mapping[str, Tensor], of: PartTuning, used: set[str]) -> None:
        self._tensors = tensors
        self._of = of
        self._used = used

    @property
    def holds_some(self) -> bool:
        """Whether the file has anything of this tuning."""
        token = self._name(TOKEN_CHANGE)
        is_of_token = isinstance(self._of.tuning, TokenTuning)
        return token in self._tensors if is_of_token else any(key != token for key in self._tensors)

    def _name(self, key: str) -> str:
        return key if self._of.part == "unet" else self._of.name(key)

    def __getitem__(self, key: str) -> Tensor:
        value = self._tensors[self._name(key)]
        self._used.add(f"{self._of.part}/{self._name(key)}")
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def make_tunings(
    pipeline: Any,
    source: ModelSource,
    options: MethodOptions,
    base: str,
    accelerator: Any,
    events: Events,
    *,
    concepts: Sequence[Concept],
    seed: int,
    algorithm: int = ALGORITHM,
    began_with: Mapping[str, str] | None = None,
    decompose: Callable[..., tuple[dict[str, Decomposition], DecompositionReport]] = load_or_decompose,
) -> Tunings:
    """Make the UNet of a pipeline, and as asked its text encoders, ready for training.

    Args:
        base: fingerprint of the UNet.
        concepts: whose tokens are trained, as asked.
        seed: of the run; random starts are derived from it.
        algorithm: of the decomposition that the run began with; began_with: the digests, see `Tunings`.
        decompose: `load_or_decompose`, or what gives the same.
    """
    method = METHODS[options.method]
    digests: dict[str, str] = {}

    def tuned(part: nn.Module, spec: Any, place: str, base_fingerprint: str | None = None) -> Tuning:
        decomposition, name = None, f"atoms of the {place}"
        if isinstance(spec, AtomsSpec):
            # the first process fills the cache, the others read it
            with accelerator.main_process_first():
                decomposition, report = decompose(
                    part,
                    source,
                    spec,
                    base_fingerprint=base_fingerprint,
                    events=events,
                    algorithm=algorithm,
                    digest=(began_with or {}).get(name),
                )
            digests[name] = report.digest
        return method.attach(part, spec, seed=derived_seed(seed, place), decomposition=decomposition)

    # atoms stand alone; the names of the others begin as diffusers' begin
    in_unet = str if isinstance(options.spec, AtomsSpec) else partial(name_in_file, "unet")
    parts = [PartTuning("unet", tuned(pipeline.unet, options.spec, "unet", base), in_unet)]
    encoders = text_encoders(pipeline)
    for part, encoder in encoders.items():
        if options.train_text_encoder:
            own = tuned(encoder, encoder_spec(options.spec, encoders, part), part)
            parts.append(PartTuning(part, own, partial(name_in_file, part)))
        if options.trains_token:
            words = " ".join(concept.token for concept in concepts)
            vectors = sum(concept.token_vectors for concept in concepts)
            tokens = token_ids(tokenizer_of(pipeline, part), words, vectors)
            parts.append(PartTuning(part, TokenTuning(encoder, tokens), partial(name_in_file, part)))
    return Tunings(parts, digests)
