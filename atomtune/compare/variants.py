"""Variants of the tuning methods by name: METHOD[:PART]…, as "atoms:c2", "lora:attention" or "paper:lora:steps=500"."""

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..errors import UsageError, excerpt
from ..methods import METHODS
from ..methods.options import TEXTUAL_INVERSION, default_spec, spec_value
from ..methods.specs import PRESETS, Spec, preset_name
from ..training.options import OptimizerOptions
from ..training.preservation_options import PreservationOptions
from .paper import PAPER, VARIANTS

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

TRAINING = ("steps", "preserve", "preserve_rows", "preserve_every", "preserve_class_noun")
"""Options of training that a variant can have of its own, as parts NAME=VALUE."""

_LAYERS = ("all", "blocks", "conv", "attention")


@dataclass(frozen=True)
class Variant:
    """A method, what of the model it trains, and what its runs have of their own.

    Attributes:
        name: the shortest that says all of it, or one of the paper's; two variants of one name are the same.
        train_token: learn the embedding of the concept's token too.
        training: options of `TRAINING` with their values, in that order.
    """

    name: str
    method: str
    spec: Spec
    train_token: bool = False
    training: tuple[tuple[str, Any], ...] = ()

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

    @property
    def plain(self) -> "Variant":
        """The same without options of training of its own."""
        return parse_variant(self.name.removesuffix(_suffix(self.training)))

    def options(self, preserve: float) -> dict[str, Any]:
        """Options of training that its runs have of their own, beside those that all have, `preserve` among them."""
        own = dict(self.training)
        weight = own.get("preserve", preserve)
        if self.method == TEXTUAL_INVERSION and "preserve" not in own:
            weight = 0.0  # it changes no prompt without the token
        return own if weight else vars(PreservationOptions()) | own


def parse_variant(text: str) -> Variant:
    """The variant that a text names: a method, or "paper" and one of its names. Each part after it is one of

    - a preset of atoms: c1, c2, …;
    - which layers: all, blocks, conv, attention, or a pattern such as up_blocks.*;
    - FIELD=VALUE, a field of the method's spec, as rank=4, or one of `TRAINING`, as preserve=1;
    - token, see `TOKEN`.

    Raises UsageError that says what there is.
    """
    method, *parts = text.strip().split(":")
    prefix, start = "", None
    if method == PAPER:
        (method, start), prefix, parts = _of_paper(parts)
    if method not in METHODS:
        raise UsageError(
            f"there is no method {excerpt(repr(method))}", f"methods are {', '.join(METHODS)} and {PAPER}:…; {_PARTS}"
        )
    start = start if start is not None else default_spec(method)
    changes: dict[str, Any] = {}
    training: dict[str, Any] = {}
    train_token = False
    for part in parts:
        field, equals, value = part.partition("=")
        if equals and field in {known.name for known in fields(start)}:
            changes[field] = spec_value(value, getattr(start, field))
        elif equals and field in TRAINING:
            training[field] = spec_value(value, _default(field))
        elif part == TOKEN:
            train_token = True
        elif method == "atoms" and part in PRESETS and not prefix:
            start = PRESETS[part]
        elif not equals and (part in _LAYERS or "*" in part or "." in part):
            changes["layers"] = part
        else:
            known = ", ".join(
                [*(PRESETS if method == "atoms" else ()), *(f"{name}=…" for name in (*_names(start), *TRAINING))]
            )
            raise UsageError(f"{excerpt(repr(part))} is no part of {method}", f"{method} takes {known}; {_PARTS}")
    try:
        spec = replace(start, **changes)
        _check(training)
    except UsageError as problem:
        raise UsageError(f"{excerpt(text)}: {problem.message}", problem.hint or _PARTS) from None
    own = tuple((name, training[name]) for name in TRAINING if name in training)
    name = _name(method, start, spec, prefix)
    name += (f":{TOKEN}" if train_token else "") + _suffix(own)
    return Variant(name, method, spec, train_token, own)


_PARTS = f"as in atoms:c2, lora:rank=4, full:{TOKEN}, {PAPER}:lora, lora:preserve=1; {ALL} and {PAPER} stand for many"


def _of_paper(parts: Sequence[str]) -> tuple[tuple[str, Spec], str, list[str]]:
    """What one of the paper's names means, that name, and the parts after it."""
    name = parts[0] if parts else ""
    if name not in VARIANTS:
        raise UsageError(
            f"{excerpt(repr(name))} is none of the paper's variants",
            f"they are {', '.join(f'{PAPER}:{known}' for known in VARIANTS)}; {PAPER} alone stands for all of them",
        )
    return VARIANTS[name], f"{PAPER}:{name}", list(parts[1:])


def _names(spec: Spec) -> list[str]:
    return [field.name for field in fields(spec)]


def _default(name: str) -> Any:
    return getattr(OptimizerOptions() if name == "steps" else PreservationOptions(), name)


def _check(training: Mapping[str, Any]) -> None:
    """Raise UsageError where options of training are impossible, whatever the runs have in common."""
    if "steps" in training:
        OptimizerOptions(steps=training["steps"])
    kept = {name: value for name, value in training.items() if name != "steps"}
    # a weight that all runs have in common may come with a variant's rows
    PreservationOptions(**{"preserve": 1.0, **kept} if kept else {})


def _suffix(training: Sequence[tuple[str, Any]]) -> str:
    return "".join(f":{name}={value:g}" if type(value) is float else f":{name}={value}" for name, value in training)


def parse_variants(texts: Sequence[str]) -> tuple[Variant, ...]:
    """The variants of a list, in its order; `all` stands for `TABLE`, `paper` for the paper's baselines and ablations.

    Raises UsageError for one given twice, under whichever names.
    """
    groups = {ALL: TABLE, PAPER: tuple(f"{PAPER}:{name}" for name in VARIANTS)}
    variants = [parse_variant(name) for text in texts for name in groups.get(text.strip(), (text,))]
    if not variants:
        raise UsageError("there is nothing to compare", f"--methods names variants, {_PARTS}")
    by_meaning: dict[Any, list[str]] = {}
    for variant in variants:
        by_meaning.setdefault(replace(variant, name=""), []).append(variant.name)
    if twice := [" and ".join(dict.fromkeys(names)) for names in by_meaning.values() if len(names) > 1]:
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


def _name(method: str, start: Spec, spec: Spec, prefix: str = "") -> str:
    """The name of a method's spec that was made from `start`; `prefix` is the name of that, where it is the paper's."""
    if prefix and (plain := _name(method, default_spec(method), spec)) in TABLE:
        return plain
    parts = [prefix or method]
    if method == "atoms" and not prefix:
        preset = preset_name(spec)  # type: ignore[arg-type]
        if preset != "custom":
            start = spec
        parts.append(preset if preset != "custom" else preset_name(start))  # type: ignore[arg-type]
    was = asdict(start)
    changed = {field: value for field, value in asdict(spec).items() if value != was[field]}
    parts += [changed.pop("layers")] if "layers" in changed else []
    parts += [f"{field}={value}" for field, value in changed.items()]
    return ":".join(parts)
