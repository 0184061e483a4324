"""What an adapter file changes of a pipeline, or of one model: read, checked against it, and given part by part."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..core.fingerprint import fingerprint_of
from ..data.concept import Concept, unnamed
from ..errors import AtomtuneError, UsageError, excerpt
from ..files.atoms_file import AtomsInfo, load_atoms
from ..methods import METHODS
from ..methods.base import Method
from ..methods.merging import PartChanges
from ..methods.textual_inversion import TOKEN_CHANGE, vectors_in
from ..methods.trained_parts import check_parts, split_trained
from ..models.components import encoder_changes, encoder_spec, name_in_file, split_parts, token_ids
from ..models.conditioning import text_encoders, tokenizer_of
from ..models.model_names import architecture_name, is_unet, own_name
from ..runtime.progress import Events


@dataclass(frozen=True)
class LoadedAtoms:
    """An atoms file in memory, with the scale it is to have."""

    path: Path
    scale: float
    info: AtomsInfo
    tensors: dict[str, Any]
    sha256: str

    @property
    def concept(self) -> Concept:
        """The concept it was trained on; of several the first one."""
        return Concept(self.info.concept, self.info.class_noun, self.info.token)

    @property
    def concepts(self) -> list[Concept]:
        """All concepts that it was trained on."""
        others = (Concept(other["concept"], other["class_noun"], other["token"]) for other in self.info.others)
        return [self.concept, *others]


def read_atoms(files: Sequence[tuple[Path, float]], events: Events | None = None) -> list[LoadedAtoms]:
    """Read atoms files that are to be used together, each with its scale.

    Several trainings of one concept (its name, token and class noun are the same) add up, with a warning; so do
    embeddings of the same token.

    Raises AtomtuneError as `read_atoms_file`, and UsageError for two that no prompt tells apart: the same atoms twice,
    and different concepts of one name, or of one token and class noun.
    """
    loaded = [read_atoms_file(path, scale) for path, scale in files]
    for number, item in enumerate(loaded):
        for other in loaded[:number]:
            if warning := _clash(other, item):
                (events or Events()).warn(warning)
    return loaded


def read_atoms_file(path: Path, scale: float = 1.0) -> LoadedAtoms:
    """Read and check one atoms file. Raises AtomtuneError where it is not there, damaged, or of an unknown method."""
    tensors, info, sha256 = load_atoms(path)
    if info.method not in METHODS:
        raise AtomtuneError(f"{path} was tuned by the unknown method {excerpt(info.method)!r}", "update atomtune")
    return LoadedAtoms(path, scale, info, tensors, sha256)


def _clash(one: LoadedAtoms, other: LoadedAtoms) -> str | None:
    """A warning where two files are of one concept, or train the same token. Raises UsageError as `read_atoms`."""
    both = f"{one.path} and {other.path}"
    if one.sha256 == other.sha256:
        raise UsageError(f"{both} hold the same atoms", "give them once; FILE:SCALE makes them stronger")
    for mine, theirs in product(one.concepts, other.concepts):
        same_words = mine.words.lower().split() == theirs.words.lower().split()
        if mine.name == theirs.name:
            if same_words:
                return f"{both} are of one concept, {excerpt(mine.words)!r}: their changes add up in every image"
            raise UsageError(
                f"{both} are different concepts that are both called <{excerpt(mine.name)}>",
                "train one of them under another --concept",
            )
        if same_words:
            raise UsageError(
                f"{both} are different concepts that are both {excerpt(mine.words)!r} in prompts",
                "train one of them with another --token",
            )
    if shared := _trained_words(one) & _trained_words(other):
        listed = ", ".join(sorted(shared))
        return f"{both} both train the embedding of {excerpt(listed)}: each changes what the other learned"
    return None


def _trained_words(item: LoadedAtoms) -> set[str]:
    """The words of a file's token, where it holds embeddings of them."""
    holds = any(key.endswith(f".{TOKEN_CHANGE}") for key in item.tensors)
    return set(item.info.tokens.lower().split()) if holds else set()


def concepts_of(atoms: Sequence[LoadedAtoms]) -> list[Concept]:
    """The concepts that prompts may name, where these files are loaded."""
    return list({concept.name: concept for item in atoms for concept in item.concepts}.values())


def unused(prompts: Sequence[str], atoms: Sequence[LoadedAtoms]) -> list[Concept]:
    """The concepts of those files of which no concept is named by some expanded prompts."""
    missing = unnamed(prompts, concepts_of(atoms))
    return [concept for item in atoms if all(own in missing for own in item.concepts) for concept in item.concepts]


class Target:
    """What files are applied to: a pipeline of diffusers, or one model.

    Attributes:
        pipeline: None for a model alone.
        parts: the pipeline's models by the names of its components; {"": model} for a model alone.
    """

    def __init__(self, target: Any) -> None:
        self._fingerprints: dict[tuple[str, frozenset[str]], str] = {}
        components = getattr(target, "components", None)
        self.pipeline: Any = None
        if isinstance(target, nn.Module):
            self.parts = {"": target}
        elif isinstance(components, Mapping):
            self.pipeline = target
            self.parts = {name: part for name, part in components.items() if isinstance(part, nn.Module)}
        else:
            raise UsageError(
                f"a {type(target).__name__} is neither a diffusers pipeline nor a torch module",
                "give a pipeline, or one of its models",
            )

    def fingerprint(self, name: str, without: Iterable[str]) -> str:
        """The fingerprint of a part that has its own weights, some of them left out; taken once."""
        left_out = frozenset(without)
        if (name, left_out) not in self._fingerprints:
            named = self.parts[name].named_parameters()
            weights = {key: parameter for key, parameter in named if key not in left_out}
            self._fingerprints[name, left_out] = fingerprint_of(weights)
        return self._fingerprints[name, left_out]


def part_changes(target: Target, item: LoadedAtoms, events: Events) -> dict[str, Callable[[nn.Module], PartChanges]]:
    """What a file changes, by the part of the target that it changes: a function of that part, with its base weights.

    Another base of the same architecture is a warning. Raises AtomtuneError for another architecture.
    """
    own, values = split_trained(item.tensors)
    name = _tuned_part(target, item, values)
    model = target.parts[name]
    if item.info.base_fingerprint != target.fingerprint(name, values):
        events.warn(f"{item.path.name} was trained on {excerpt(item.info.base)}; this base has other weights")
    method = METHODS[item.info.method]
    spec = method.spec.from_dict(item.info.spec)
    check_parts(model, values)
    if not is_unet(model):
        return {name: partial(_of_model, method, spec, own, values)}
    by_part = split_parts(own)
    found: dict[str, Callable[[nn.Module], PartChanges]] = {}
    found[name] = partial(_of_model, method, spec, by_part.pop("unet"), values)
    encoders = {} if target.pipeline is None else text_encoders(target.pipeline)
    if lacking := sorted(set(by_part) - set(encoders)):
        lacks = "which the base model lacks" if target.pipeline is not None else "and this is the UNet alone"
        raise AtomtuneError(
            f"{item.path.name} tunes a {lacking[0]}, {lacks}", "use its own base model, as a whole pipeline"
        )
    for part, tensors in by_part.items():
        embedding, tokens = tensors.get(name_in_file(part, TOKEN_CHANGE)), []
        if embedding is not None:
            tokens = token_ids(tokenizer_of(target.pipeline, part), item.info.tokens, vectors_in(embedding))
        own_spec = encoder_spec(spec, encoders, part)
        found[part] = partial(_of_encoder, method, own_spec, part, tensors, tokens)
    return found


def _of_model(
    method: Method, spec: Any, tensors: Mapping[str, Tensor], values: Mapping[str, Tensor], model: nn.Module
) -> PartChanges:
    return PartChanges(method.changes(model, spec, {own_name(model, key): t for key, t in tensors.items()}), values)


def _of_encoder(
    method: Method, spec: Any, part: str, tensors: Mapping[str, Tensor], tokens: Sequence[int], encoder: nn.Module
) -> PartChanges:
    return PartChanges(encoder_changes(method, spec, encoder, part, tensors, tokens))


def _tuned_part(target: Target, item: LoadedAtoms, values: Mapping[str, Tensor]) -> str:
    """The name of the part that a file is for. Raises AtomtuneError where there is none, or more than one."""
    # the shapes of atoms alone do not decide: tiles of wider layers can have the same size
    kinds = {name: architecture_name(part, values) for name, part in target.parts.items()}
    fitting = [name for name, kind in kinds.items() if kind == item.info.architecture]
    if len(fitting) > 1:
        raise AtomtuneError(
            f"{item.path.name} fits the {' and the '.join(fitting)} of the pipeline",
            "load it into the one that is meant",
        )
    if not fitting:
        main = kinds.get("unet") or next(iter(kinds.values()), "of no model at all")
        raise AtomtuneError(
            f"{item.path.name} is for the architecture {excerpt(item.info.architecture)}, the base model is {main}",
            f"use {excerpt(item.info.base)}, or a base model of its architecture",
        )
    return fitting[0]
