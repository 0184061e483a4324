"""CLIP's tokenizer, built without network from the vocabulary in open_clip."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from open_clip.tokenizer import SimpleTokenizer

CONTEXT = 77  # tokens, as in every Stable Diffusion
END = "<|endoftext|>"


def write_tokenizer(folder: Path, pad_token: str = END) -> None:
    """Write vocab.json, merges.txt and tokenizer_config.json as CLIP's tokenizer has them.

    `pad_token` pads prompts: the end token in SD v1 and for SDXL's first encoder, "!" in SD v2 and for SDXL's second.
    """
    source = vocabulary()
    folder.mkdir(parents=True, exist_ok=True)
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": END}
    numbers = {names.get(token, token): number for token, number in source.encoder.items()}
    merges = sorted(source.bpe_ranks, key=source.bpe_ranks.__getitem__)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": CONTEXT,
        "do_lower_case": True,
        "add_prefix_space": False,
        "bos_token": "<|startoftext|>",
        "eos_token": END,
        "pad_token": pad_token,
        "unk_token": END,
    }
    (folder / "vocab.json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def clip_tokenizer() -> Any:
    """A tokenizer of transformers, without a model: all text encoders of Stable Diffusion split text as it does."""
    from transformers import CLIPTokenizer

    with TemporaryDirectory(prefix="atomtune-") as folder:
        write_tokenizer(Path(folder))
        return CLIPTokenizer.from_pretrained(folder)


@cache
def vocabulary() -> SimpleTokenizer:
    """open_clip's tokenizer, for its tables."""
    return SimpleTokenizer()
