"""Concepts in prompts: `<castle>` stands for the token and class noun of the concept castle, as "sks castle"."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError, excerpt, is_one_line
from ..runtime.option import option

DEFAULT_TOKEN = "sks"
_REFERENCE = re.compile(r"<([A-Za-z0-9][\w.-]*)>")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Concept:
    """A concept: the words for it in prompts.

    Attributes:
        name: of the folder of images and of the run; `<name>` in prompts stands for `words`.
        class_noun: the base model's word for this kind of thing, as "castle".
        token: the rare word that is trained to mean this one.
    """

    name: str = option(..., "Name of the concept; prompts call it <NAME>.", name="concept", metavar="NAME")
    class_noun: str = option(
        ...,
        "What the base model calls this kind of thing, as dog.",
        shown_default="NAME",
        metavar="NOUN",
        formerly=("class_name",),
    )
    token: str = option(DEFAULT_TOKEN, "The rare word that is tied to the concept.", metavar="WORD")

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"{excerpt(repr(self.name))} cannot be the name of a concept",
                "use letters, digits, '-', '_' and '.', as in my-castle",
            )
        if not self.token.strip() or not self.class_noun.strip():
            raise UsageError("token and class noun must not be empty", "as in --token sks --class-noun castle")
        if not is_one_line(self.words):
            raise UsageError("token and class noun must be words on one line", "as in --token sks --class-noun castle")

    @property
    def words(self) -> str:
        """Token and class noun, as "sks castle"."""
        return f"{self.token} {self.class_noun}"


def expand(prompt: str, concepts: Iterable[Concept]) -> str:
    """Replace every `<name>` by the words of that concept. Raises UsageError for a name that no concept has."""
    words = {concept.name: concept.words for concept in concepts}

    def replace(match: re.Match[str]) -> str:
        if match[1] not in words:
            known = ", ".join(f"<{name}>" for name in sorted(words)) or "none: add --concept or --atoms"
            raise UsageError(f"the prompt names {match[0]}, which is not loaded", f"loaded concepts: {known}")
        return words[match[1]]

    return _REFERENCE.sub(replace, prompt)


def read_prompts(path: Path, concepts: Sequence[Concept]) -> list[str]:
    """Prompts from a file, one a line; `{}` stands for the concept. Empty lines and # comments are skipped.

    Raises UsageError where the file cannot be read, is empty, or has `{}` while no concept or several are loaded.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(
            f"cannot read prompts from {path}: {reason}", "one prompt a line, {} for the concept"
        ) from None
    prompts = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not prompts:
        raise UsageError(f"{path} holds no prompts", "one prompt a line, {} for the concept")
    if any("{}" in prompt for prompt in prompts) and len(concepts) != 1:
        raise UsageError(f"{path} has {{}} for one concept, but {len(concepts)} are loaded", "name one with --concept")
    return [prompt.replace("{}", concepts[0].words) if concepts else prompt for prompt in prompts]


def cut_by_tokenizer(tokenizer: Any, prompt: str) -> str:
    """The end of a prompt that the text encoder will not see because it is over its length; "" where all fits."""
    limit = tokenizer.model_max_length
    ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
    return str(tokenizer.decode(ids[limit - 1 : -1])) if len(ids) > limit else ""


def check_prompts(tokenizer: Any, prompts: Iterable[str], concepts: Sequence[Concept]) -> list[str]:
    """Warnings for prompts that are too long. Raises UsageError where what is cut takes a concept with it."""
    warnings = []
    for prompt in dict.fromkeys(prompts):
        cut = cut_by_tokenizer(tokenizer, prompt)
        if not cut:
            continue
        limit = tokenizer.model_max_length
        kept = tokenizer.decode(tokenizer(prompt, truncation=True, max_length=limit).input_ids[1:-1])
        for concept in concepts:
            words = _normal(concept.words)
            if words in _normal(prompt) and words not in _normal(kept):
                raise UsageError(
                    f"the prompt is over {limit} tokens and {concept.words!r} is in the part that is cut: {cut!r}",
                    "put the concept nearer to the start of the prompt",
                )
        warnings.append(f"the prompt is over {limit} tokens; this is cut: {cut!r}")
    return warnings


def _normal(text: str) -> str:
    return "".join(text.lower().split())
