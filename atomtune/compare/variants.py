"""Variants of the tuning methods by name: METHOD[:PART]…, as "atoms:c2", "lora:attention" or "loldu:start=zeros"."""

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..errors import UsageError, excerpt
from ..methods import METHODS
from ..methods.options import default_spec, spec_value
from ..methods.specs import PRESETS, Spec, preset_name

TABLE = (
    *(f"atoms:{preset}" for preset in PRESETS),
    *("lora", "lora:attention", "loha", "lokr", "oft", "coft"),
    *("bitfit", "difffit", "loldu", "full", "textual-inversion"),
)
"""The rows of the paper's table, its ablations, and the methods that it cites or that came after it."""

ALL = "all"
"""Stands for all of `TABLE`."""

TOKEN = "token"
"""The part that has the embedding of the concept's token learned too."""

_LAYERS = ("all", "conv", "attention")


@dataclass(frozen=True)
class Variant:
    """A method, and what of the model it trains.

    Attributes:
        name: the shortest that says all of it; two variants that are the same have the same.
        train_token: learn the embedding of the concept's token too.
    """

    name: str
    method: str
    spec: Spec
    train_token: bool = False

    @property
    def folder(self) -> str:
        """The name as that of a folder."""
        plain = re.sub(r"[^\w.=-]", "-", self.name)
        # of names that differ in other characters alone, the folders must differ too
        return plain if plain == self.name.replace(":", "-") else f"{plain}-{zlib.crc32(self.name.encode()):08x}"

    @property
    def learning_rate(self) -> float:
        """The method's own."""
        return METHODS[self.method].learning_rate


def parse_variant(text: str) -> Variant:
    """The variant that a text names. Each part after the method is one of

    - a preset of atoms: c1, c2, …;
    - which layers: all, conv, attention, or a pattern such as up_blocks.*;
    - FIELD=VALUE, a field of the method's spec, as rank=4;
    - token, see `TOKEN`.

    Raises UsageError that says what there is.
    """
    method, *parts = text.strip().split(":")
    if method not in METHODS:
        raise UsageError(f"there is no method {excerpt(repr(method))}", f"methods are {', '.join(METHODS)}; {_PARTS}")
    start = default_spec(method)
    changes: dict[str, Any] = {}
    train_token = False
    for part in parts:
        field, equals, value = part.partition("=")
        if equals and field in {known.name for known in fields(start)}:
            changes[field] = spec_value(value, getattr(start, field))
        elif part == TOKEN:
            train_token = True
        elif method == "atoms" and part in PRESETS:
            start = PRESETS[part]
        elif not equals and (part in _LAYERS or "*" in part or "." in part):
            changes["layers"] = part
        else:
            known = ", ".join(
                [*(PRESETS if method == "atoms" else ()), *(f"{field.name}=…" for field in fields(start))]
            )
            raise UsageError(f"{excerpt(repr(part))} is no part of {method}", f"{method} takes {known}; {_PARTS}")
    try:
        spec = replace(start, **changes)
    except UsageError as problem:
        raise UsageError(f"{excerpt(text)}: {problem.message}", problem.hint) from None
    return Variant(_name(method, start, spec, train_token), method, spec, train_token)


_PARTS = f"as in atoms:c2, lora:attention, lora:rank=4, full:{TOKEN}, or {ALL} for the whole table"


def parse_variants(texts: Sequence[str]) -> tuple[Variant, ...]:
    """The variants of a list, in its order; `all` stands for `TABLE`. Raises UsageError for one given twice."""
    variants = [parse_variant(name) for text in texts for name in (TABLE if text.strip() == ALL else [text])]
    if not variants:
        raise UsageError("there is nothing to compare", f"--methods names variants, {_PARTS}")
    names = [variant.name for variant in variants]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise UsageError(f"{', '.join(twice)} given twice in --methods", "each variant is trained once for each seed")
    return tuple(variants)


def parse_rates(texts: Sequence[str], variants: Sequence[Variant]) -> dict[str, float]:
    """Learning rates by the variants' names, from texts METHOD=X or VARIANT=X; of the two, the second counts.

    Raises UsageError for anything else, and for a method or variant that is not among `variants`.
    """
    hint = f"as in --lr full=1e-5; compared are {', '.join(variant.name for variant in variants)}"
    of_methods: dict[str, float] = {}
    of_variants: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        try:
            rate = float(value)
        except ValueError:
            rate = 0.0
        if not equals or not 0.0 < rate < 10.0:
            raise UsageError(f"--lr takes METHOD=X with X between 0 and 10, not {excerpt(text)!r}", hint)
        rates = of_methods if name in METHODS else of_variants
        key = name if name in METHODS else parse_variant(name).name
        known = {variant.method if rates is of_methods else variant.name for variant in variants}
        if key not in known:
            raise UsageError(f"--lr {excerpt(text)}: {key} is not compared", hint)
        if key in rates:
            raise UsageError(f"--lr {key}=X is given twice", hint)
        rates[key] = rate
    of_all = {variant.name: of_methods[variant.method] for variant in variants if variant.method in of_methods}
    return of_all | of_variants


def rate_of(variant: Variant, rates: Mapping[str, float]) -> float:
    """The learning rate of a variant: that in `rates`, else its method's own."""
    return rates.get(variant.name, variant.learning_rate)


def _name(method: str, start: Spec, spec: Spec, train_token: bool) -> str:
    parts = [method]
    if method == "atoms":
        preset = preset_name(spec)  # type: ignore[arg-type]
        if preset != "custom":
            start = spec
        parts.append(preset if preset != "custom" else preset_name(start))  # type: ignore[arg-type]
    was = asdict(start)
    changed = {field: value for field, value in asdict(spec).items() if value != was[field]}
    parts += [changed.pop("layers")] if "layers" in changed else []
    parts += [f"{field}={value}" for field, value in changed.items()]
    return ":".join([*parts, TOKEN] if train_token else parts)
