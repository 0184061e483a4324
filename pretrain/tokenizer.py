"""The tokenizer of `pocket`, which is CLIP's, and the words that its training leaves without a meaning."""

import re
from pathlib import Path

from transformers import CLIPTokenizer

from atomtune.models.tokenizer import vocabulary, write_tokenizer

from .names import NAMES

RESERVED_WORD = "sks"
"""The usual token of a concept: never trained on, so that it starts as a word that says nothing."""


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer in `folder`, written there first if need be."""
    if not (folder / "tokenizer_config.json").exists():
        write_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(folder)


def rare_words() -> list[str]:
    """Short, rare words that are one token each and no names; `RESERVED_WORD` is not among them."""
    known = {RESERVED_WORD, *NAMES}
    pattern = re.compile(r"[a-z]{3,4}</w>")
    tokens = (token for token, number in vocabulary().encoder.items() if number >= 40_000 and pattern.fullmatch(token))
    return sorted(word for word in (token.removesuffix("</w>") for token in tokens) if word not in known)
