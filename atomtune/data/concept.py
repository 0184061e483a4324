"""Concepts in prompts: `<castle>` stands for the token and class noun of the concept castle, as "choa castle"."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError, excerpt, is_one_line
from ..runtime.option import UNSET, option
from .text_files import problem_of, read_lines
from .tokens import default_token

FORMER_TOKEN = "sks"
"""DreamBooth's, which was every concept's by default up to version 0.1."""

_REFERENCE = re.compile(r"<([^\W_][^\s<>/\\:]*)>|\{\}")
_TAG = re.compile(r"<(?:lora|lyco|lycoris|hypernet|embedding):[^<>]*>", re.IGNORECASE)
_MAX_NAME = 100  # characters; folders are called so
MOST_VECTORS = 16
"""A prompt has 77 tokens."""


@dataclass(frozen=True)
class Concept:
    """A concept: the words for it in prompts.

    Attributes:
        name: of the folder of images and of the run; `<name>` in prompts stands for `words`.
        class_noun: the base model's word for this kind of thing, as "castle"; the name where it is not given.
        token: the rare word that is trained to mean this one; as many as `token_vectors` where it is not given. By
            default the one that follows from the name, see `tokens.default_token`.
        token_vectors: how many vectors are trained where the embedding of the token is.
    """

    name: str = option(
        ...,
        "Name of the concept; <NAME> in prompts stands for it. NAME=NOUN says its class noun too.",
        name="concept",
        metavar="NAME",
        word="first",
        essential=True,
    )
    class_noun: str = option(
        None,
        "Class noun: what the base model calls this kind of thing, as dog.",
        derived=lambda concept: concept.name,
        shown_default="NAME",
        metavar="NOUN",
        formerly=("class_name",),
        essential=True,
    )
    token: str = option(
        None,
        "Rare word that is tied to the concept.",
        derived=lambda concept: default_token(concept.name, concept.token_vectors),
        shown_default="one that follows from NAME",
        metavar="WORD",
    )
    token_vectors: int = option(
        1,
        "Vectors of the trained token; it is as many rare words.",
        at_least=1,
        at_most=MOST_VECTORS,
        metavar="N",
        aliases=("num_vectors", "num_vectors_per_token"),
    )

    def __post_init__(self) -> None:
        # é is one letter or two, by the system that it was typed on
        object.__setattr__(self, "name", unicodedata.normalize("NFC", self.name))
        if "=" in self.name and self.class_noun is UNSET:
            name, _, noun = self.name.partition("=")
            object.__setattr__(self, "name", name.strip())
            object.__setattr__(self, "class_noun", noun.strip())
        if self.class_noun is UNSET:
            object.__setattr__(self, "class_noun", self.name)
        if type(self.token_vectors) is not int or not 1 <= self.token_vectors <= MOST_VECTORS:
            raise UsageError(
                f"token_vectors must be a whole number from 1 to {MOST_VECTORS}", "as in --token-vectors 2"
            )
        if self.token is UNSET:
            object.__setattr__(self, "token", default_token(self.name, self.token_vectors))
        if not _is_name(self.name):
            raise UsageError(
                f"{excerpt(repr(self.name))} cannot be the name of a concept",
                "use letters and digits of any script, then '-', '_' and '.' too, as in my-castle or 猫; "
                f"{_MAX_NAME} characters at most",
            )
        if not self.token.strip() or not self.class_noun.strip():
            raise UsageError("token and class noun must not be empty", "as in --token ohwx --class-noun castle")
        if not is_one_line(self.words):
            raise UsageError("token and class noun must be words on one line", "as in --token ohwx --class-noun castle")

    @property
    def words(self) -> str:
        """Token and class noun, as "choa castle"."""
        return f"{self.token} {self.class_noun}"


def _is_name(text: str) -> bool:
    def fits(letter: str) -> bool:
        return letter.isalnum() or letter in "-_." or unicodedata.category(letter).startswith("M")

    return 0 < len(text) <= _MAX_NAME and text[0].isalnum() and all(map(fits, text))


def expand(prompt: str, concepts: Sequence[Concept], *, own: Concept | None = None, with_token: bool = True) -> str:
    """A prompt as the text encoder gets it: `<name>` becomes the words of that concept, `{}` those of `own`.

    Args:
        own: which of several concepts `{}` stands for; by default the only one.
        with_token: False for prompts of the class rather than the concept: both become the class noun alone.

    Raises UsageError for a name that no concept has, for `{}` where it is not clear which concept it stands for, and
    for the tags by which other programs load LoRA files.
    """
    words = {concept.name: concept.words if with_token else concept.class_noun for concept in concepts}
    if tag := foreign_tag(prompt):
        raise UsageError(
            f"the prompt holds the tag {tag}, by which other programs load files",
            "--concept NAME or --atoms FILE:SCALE loads a concept here, and <NAME> stands for it in prompts",
        )

    def replace(match: re.Match[str]) -> str:
        if match[1] is None:
            if own is not None:
                return words[own.name]
            if len(words) != 1:
                raise UsageError(
                    f"{{}} in a prompt stands for one concept, and {len(words) or 'none'} are loaded",
                    f"name it as in {' or '.join(f'<{name}>' for name in words)}"
                    if words
                    else "load one with --concept or --atoms",
                )
            return next(iter(words.values()))
        name = unicodedata.normalize("NFC", match[1])
        if not _is_name(name):
            return match[0]  # no reference, as in <3!>
        if name not in words:
            known = ", ".join(f"<{name}>" for name in sorted(words)) or "none: add --concept or --atoms"
            raise UsageError(f"the prompt names {match[0]}, which is not loaded", f"loaded concepts: {known}")
        return words[name]

    return _REFERENCE.sub(replace, prompt)


def foreign_tag(text: str) -> str | None:
    """The first tag by which other programs load a file, as <lora:castle:0.8>; None where there is none."""
    found = _TAG.search(text)
    return None if found is None else excerpt(found[0])


def names(text: str, concept: Concept) -> bool:
    """Whether a text, expanded or not, names a concept: by `{}`, `<name>` or its token as a word of its own."""
    references = {unicodedata.normalize("NFC", found[1] or concept.name) for found in _REFERENCE.finditer(text)}
    return concept.name in references or _has_words(text, concept.token)


def unnamed(prompts: Iterable[str], concepts: Sequence[Concept]) -> list[Concept]:
    """The concepts that none of some expanded prompts names. Where a token is shared, its noun must follow it."""
    tokens = [concept.token.lower() for concept in concepts]
    prompts = list(prompts)

    def is_named(concept: Concept) -> bool:
        sought = concept.words if tokens.count(concept.token.lower()) > 1 else concept.token
        return any(_has_words(prompt, sought) for prompt in prompts)

    return [concept for concept in concepts if not is_named(concept)]


def _has_words(text: str, words: str) -> bool:
    # as text encoders read them: whatever the case, and whatever the spaces between them
    pattern = r"\s+".join(map(re.escape, words.split()))
    return re.search(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE) is not None


def read_prompts(path: Path, concepts: Sequence[Concept], own: Concept | None = None) -> list[str]:
    """Prompts from a file, one a line, expanded, `own` as for `expand`. Empty lines and # comments are skipped.

    Raises UsageError where the file cannot be read or is empty, and as `expand`.
    """
    try:
        lines = read_lines(path)
    except (OSError, ValueError) as problem:
        raise UsageError(
            f"cannot read prompts from {path}: {problem_of(problem)}", "one prompt a line, {} for the concept"
        ) from None
    prompts = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not prompts:
        raise UsageError(f"{path} holds no prompts", "one prompt a line, {} for the concept")
    try:
        return [expand(prompt, concepts, own=own) for prompt in prompts]
    except UsageError as problem:
        raise UsageError(f"{path}: {problem.message}", problem.hint) from None


def cut_by_tokenizer(tokenizer: Any, prompt: str) -> str:
    """The end of a prompt that the text encoder will not see because it is over its length; "" where all fits."""
    limit = tokenizer.model_max_length
    ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
    return str(tokenizer.decode(ids[limit - 1 : -1])) if len(ids) > limit else ""


def check_prompts(
    tokenizer: Any, prompts: Iterable[str], concepts: Sequence[Concept], negative_prompt: str = ""
) -> list[str]:
    """Warnings for prompts that are too long. Raises UsageError where what is cut takes a concept with it."""
    warnings = []
    limit = tokenizer.model_max_length
    for prompt in dict.fromkeys(prompts):
        cut = cut_by_tokenizer(tokenizer, prompt)
        if not cut:
            continue
        kept = tokenizer.decode(tokenizer(prompt, truncation=True, max_length=limit).input_ids[1:-1])
        for concept in concepts:
            words = _normal(concept.words)
            if words in _normal(prompt) and words not in _normal(kept):
                raise UsageError(
                    f"the prompt is over {limit} tokens and {concept.words!r} is in the part that is cut: {cut!r}",
                    "put the concept nearer to the start of the prompt",
                )
        warnings.append(f"the prompt is over {limit} tokens; this is cut: {cut!r}")
    if cut := cut_by_tokenizer(tokenizer, negative_prompt):
        warnings.append(f"the negative prompt is over {limit} tokens; this is cut: {cut!r}")
    return warnings


def _normal(text: str) -> str:
    return "".join(text.lower().split())
