"""The files of a component's weights: one or several shards, in float32 or a variant (fp16, bf16).

diffusers and transformers write NAME.safetensors, NAME.fp16.safetensors, NAME-00001-of-00002.safetensors,
NAME.fp16-00001-of-00002.safetensors and, in earlier versions, NAME-00001-of-00002.fp16.safetensors.
"""

import re
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

from ..errors import AtomtuneError, excerpt
from .pipeline_index import Missing

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
"""Endings of weights that are pickles, which can run code when they are read."""

STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
"""Names of weights without endings that are not "model"."""

_PREFERRED = ("", "fp32", "fp16", "bf16")
_VARIANT = r"(?:\.(?P<{}>[A-Za-z]\w*))?"
_PATTERN = _VARIANT.format("before") + r"(?:-(?P<number>\d{5})-of-(?P<count>\d{5}))?" + _VARIANT.format("after")


def weight_files(name: str, files: Iterable[str], part: str) -> list[str]:
    """The files of a component's weights, in order, out of all files of a pipeline folder ("unet/….safetensors").

    The first of float32, fp16, bf16 whose files are all there; another variant only where it is the only one.
    Raises AtomtuneError where there are none, only pickles, or only parts of them.
    """
    stem = STEMS.get(part, "model")
    pattern = re.compile(rf"{part}/{stem}{_PATTERN}\.safetensors")
    there = [file for file in files if file.startswith(f"{part}/")]
    groups: dict[tuple[str, int], dict[int, str]] = {}
    for file in there:
        if found := pattern.fullmatch(file):
            variant = found["before"] or found["after"] or ""
            groups.setdefault((variant, int(found["count"] or 0)), {})[int(found["number"] or 0)] = file
    whole = {key: numbers for key, numbers in groups.items() if not lacking(key[1], numbers)}
    if not whole:
        raise _no_weights(name, part, stem, there, groups)
    ranked = sorted(whole, key=lambda key: (_PREFERRED.index(key[0]) if key[0] in _PREFERRED else 99, key))
    if ranked[0][0] not in _PREFERRED and len({variant for variant, _ in ranked}) > 1:
        variants = " and ".join(dict.fromkeys(variant for variant, _ in ranked))
        raise AtomtuneError(f"the {part} of {name} has variants of unknown kinds: {excerpt(variants)}", "keep one")
    return [file for _, file in sorted(whole[ranked[0]].items())]


def lacking(count: int, numbers: Collection[int]) -> list[int]:
    """The numbers of the shards, of `count`, that are not there."""
    return [number for number in range(1, count + 1) if number not in numbers]


def only_pickles(name: str, which: str) -> AtomtuneError:
    """The refusal of a model that has no safetensors."""
    return AtomtuneError(
        f"{name} holds weights as pickles only ({which}), and reading a pickle can run code",
        "take a version with .safetensors files, or convert it to safetensors on a machine that holds nothing of value",
    )


def _no_weights(
    name: str, part: str, stem: str, there: list[str], groups: dict[tuple[str, int], dict[int, str]]
) -> AtomtuneError:
    for (variant, count), numbers in sorted(groups.items()):
        shard = (
            f"{part}/{stem}{'.' if variant else ''}{variant}-{lacking(count, numbers)[0]:05}-of-{count:05}.safetensors"
        )
        return Missing(name, shard)
    for file in sorted(there):
        path = PurePosixPath(file)
        if path.suffix in PICKLES and path.name.startswith((stem, "pytorch_model", "model")) and len(path.parts) == 2:
            return only_pickles(name, file)
    return Missing(name, f"{part}/{stem}.safetensors")
