"""The atoms file: one concept in kilobytes, which with its base model gives the tuned model.

safetensors; tensors are what the method's `export` gives (for atoms: "LAYER.atoms" and "LAYER.delta_…", float16).
Metadata, all strings: the fields of `AtomsInfo`, the checksum of the tensors, and the `modelspec.*` and `ss_*` keys
from which other tools read a title, an architecture and a trigger phrase.
"""

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import __version__
from ..errors import AtomtuneError, excerpt, is_one_line
from . import store
from .untrusted_json import parse_json

KIND = "atoms"

_LONGEST = 4096
"""Characters of a text; the longest that can mean something is a path."""

SS_NAMES = {
    "stable-diffusion-v1": "sd_v1",
    "stable-diffusion-v2": "sd_v2",
    "stable-diffusion-xl-v1-base": "sdxl_base_v1-0",
}
"""kohya's names of the architectures, by modelspec's."""


@dataclass(frozen=True)
class AtomsInfo:
    """The metadata of an atoms file.

    Attributes:
        method, preset, spec: how it was tuned; `spec` is the method's own, as JSON.
        base, base_fingerprint, architecture: the model it was trained on; architecture as in modelspec.
        concept, class_noun, token: what `<concept>` stands for in prompts.
        prompts: the captions it was trained with, each once.
        steps: optimiser steps taken.
        parameters: trained parameters.
        training: the other options of the run, as JSON.
        others: concept, class_noun and token of further concepts.
    """

    method: str
    preset: str
    spec: dict[str, Any]
    base: str
    base_fingerprint: str
    architecture: str
    concept: str
    class_noun: str
    token: str
    prompts: list[str]
    steps: int
    parameters: int
    training: dict[str, Any]
    created: str = ""
    tool_version: str = __version__
    others: list[dict[str, str]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The names of all concepts, the first one first."""
        return [self.concept, *(other["concept"] for other in self.others)]

    @property
    def triggers(self) -> list[str]:
        """The words for each concept in a prompt, as in "choa castle"."""
        each = [(self.token, self.class_noun), *((other["token"], other["class_noun"]) for other in self.others)]
        return [f"{token} {noun}".strip() for token, noun in each]

    @property
    def tokens(self) -> str:
        """The tokens of all concepts, one after the other, as an embedding of them is."""
        return " ".join([self.token, *(other["token"] for other in self.others)])

    @property
    def trigger(self) -> str:
        """The words for the concept in a prompt; of several, all of them."""
        return ", ".join(self.triggers)


def save_atoms(path: Path, info: AtomsInfo, tensors: Mapping[str, Tensor]) -> str:
    """Write an atoms file; returns the checksum of its tensors."""
    created = info.created or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    values = {one.name: getattr(info, one.name) for one in fields(info)} | {"created": created}
    if not info.others:
        del values["others"]
    metadata = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    metadata |= {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{info.architecture}/atoms",
        "modelspec.implementation": "diffusers",
        "modelspec.title": " + ".join(info.names),
        "modelspec.date": created,
        "modelspec.trigger_phrase": info.trigger,
        "ss_base_model_version": SS_NAMES.get(info.architecture, info.architecture),
    }
    return store.save(path, KIND, tensors, metadata)


def load_atoms(path: Path) -> tuple[dict[str, Tensor], AtomsInfo, str]:
    """Tensors, description and checksum of an atoms file.

    Raises AtomtuneError where it is missing, damaged, altered, foreign or not finite.
    """
    tensors, header = store.load(path, KIND)
    return tensors, info_from(path, header), header["sha256"]


def info_from(path: Path, header: Mapping[str, str]) -> AtomsInfo:
    """The description in a header read by `store.read_header`."""
    values: dict[str, Any] = {}
    try:
        for one in fields(AtomsInfo):
            text = header.get("others", "[]") if one.name == "others" else header[one.name]
            values[one.name] = text if one.type is str else parse_json(text)
            if not _is_right(one.name, values[one.name]):
                raise ValueError(f"{one.name} is not what it should be")
    except (KeyError, ValueError) as problem:
        raise AtomtuneError(
            f"the metadata of {path} is incomplete ({excerpt(problem)})", "fetch or train it again"
        ) from None
    return AtomsInfo(**values)


def _is_right(name: str, value: Any) -> bool:
    if name in ("spec", "training"):
        return isinstance(value, dict)
    if name == "others":
        return isinstance(value, list) and all(map(_is_concept, value))
    if name == "prompts":
        return isinstance(value, list) and all(isinstance(prompt, str) for prompt in value)
    if name in ("steps", "parameters"):
        return type(value) is int and 0 <= value < 2**63  # True is an int too
    return isinstance(value, str) and len(value) <= _LONGEST and is_one_line(value)


def _is_concept(value: Any) -> bool:
    words = ("concept", "class_noun", "token")
    return isinstance(value, dict) and value.keys() == set(words) and all(_is_right("", value[word]) for word in words)
