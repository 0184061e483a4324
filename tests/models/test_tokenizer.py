"""CLIP's tokenizer, as it is written without network."""

import json
from pathlib import Path

from atomtune.models.tokenizer import clip_tokenizer, vocabulary, write_tokenizer


def test_its_tables_are_those_of_open_clip(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    source = vocabulary()
    numbers = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    names = {"<|startoftext|>": "<start_of_text>", "<|endoftext|>": "<end_of_text>"}
    assert {names.get(token, token): number for token, number in numbers.items()} == source.encoder
    version, *merges = (tmp_path / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert version == "#version: 0.2"
    assert {tuple(pair.split()): rank for rank, pair in enumerate(merges)} == source.bpe_ranks


def test_it_reads_text_as_open_clip_does() -> None:
    tokenizer = clip_tokenizer()
    for text in ("a photo of a sks castle", "Ünïcode, 猫 & 42 things!", "it's  spaced\tout"):
        assert tokenizer(text, add_special_tokens=False).input_ids == vocabulary().encode(text)
