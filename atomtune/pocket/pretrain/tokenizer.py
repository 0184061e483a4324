"""CLIP's tokenizer, put together without network from the vocabulary that open_clip carries."""

import re
from functools import cache
from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer
from transformers import CLIPTokenizer

from .training import save_json

CONTEXT = 77  # tokens, as in every Stable Diffusion
RESERVED_WORD = "sks"
"""The usual token of a concept: never trained on, so that it starts as a word that says nothing."""


def write_tokenizer(folder: Path) -> None:
    """Write vocab.json, merges.txt and tokenizer_config.json as CLIP's tokenizer has them."""
    source = _source()
    folder.mkdir(parents=True, exist_ok=True)
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    save_json(folder / "vocab.json", {names.get(token, token): number for token, number in source.encoder.items()})
    merges = sorted(source.bpe_ranks, key=source.bpe_ranks.__getitem__)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    save_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": CONTEXT,
            "do_lower_case": True,
            "add_prefix_space": False,
            "bos_token": "<|startoftext|>",
            "eos_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
            "unk_token": "<|endoftext|>",
        },
    )


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer in `folder`, written there first if need be."""
    if not (folder / "tokenizer_config.json").exists():
        write_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(folder)


def rare_words() -> list[str]:
    """Short, rare, meaningless words that are one token each; `RESERVED_WORD` is not among them."""
    pattern = re.compile(r"[a-z]{3,4}</w>")
    tokens = (token for token, number in _source().encoder.items() if number >= 40_000 and pattern.fullmatch(token))
    return sorted(word for word in (token.removesuffix("</w>") for token in tokens) if word != RESERVED_WORD)


@cache
def _source() -> SimpleTokenizer:
    return SimpleTokenizer()
