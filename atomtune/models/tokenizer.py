"""CLIP's tokenizer, built without network from the vocabulary in open_clip."""

import gzip
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer

CONTEXT = 77  # tokens, as in every Stable Diffusion
END = "<|endoftext|>"
_BEGIN = "<|startoftext|>"
_SIZE = 49_408  # of the vocabulary


def write_tokenizer(folder: Path, pad_token: str = END) -> None:
    """Write vocab.json, merges.txt and tokenizer_config.json as CLIP's tokenizer has them.

    `pad_token` pads prompts: the end token in SD v1 and for SDXL's first encoder, "!" in SD v2 and for SDXL's second.
    """
    merges = _merges()
    folder.mkdir(parents=True, exist_ok=True)
    letters = _letters()
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair.split()) for pair in merges)]
    numbers = {token: number for number, token in enumerate([*tokens, _BEGIN, END])}
    lines = ["#version: 0.2", *merges]
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": CONTEXT,
        "do_lower_case": True,
        "add_prefix_space": False,
        "bos_token": _BEGIN,
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


def _merges() -> list[str]:
    """The pairs of tokens that become one, "a b", the most frequent first.

    From the file itself: open_clip brings torchvision and timm along, which take 200 MB.
    """
    spec = find_spec("open_clip")
    assert spec is not None
    assert spec.origin is not None
    content = gzip.decompress((Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz").read_bytes())
    return content.decode("utf-8").split("\n")[1 : 1 + _SIZE - 2 * 256 - 2]


def _letters() -> list[str]:
    """The letters that the 256 bytes are written as: printable ones as they are, then the others."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printable)
    return [chr(code) for code in printable] + [chr(256 + number) for number in range(others)]


@cache
def vocabulary() -> "SimpleTokenizer":
    """open_clip's tokenizer, for its tables."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()
