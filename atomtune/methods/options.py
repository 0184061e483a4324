"""Options that choose a method and what it trains. Each method's own come from the fields of its spec."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..runtime.option import Option, option
from ..runtime.options import OptionError, Options, declared_options, options_of
from .registry import METHODS, method_names
from .specs import PRESETS, SPECS, AtomsSpec, Spec, preset_name

DEFAULT_PRESET = "c2"

TEXTUAL_INVERSION = "textual-inversion"

DECOMPOSED = ("layers", "atoms", "tile", "sparsity", "tile_atoms", "pointwise", "filter_block", "overcomplete")
"""The fields of atoms' specs that decide the decomposition."""


def spec_class(method: str) -> type[Spec]:
    """The class of a method's specs. Raises KeyError where there is no such method."""
    return SPECS[method] if method in SPECS else METHODS[method].spec


def default_spec(method: str) -> Spec:
    """The spec of a method of which nothing else is said."""
    return PRESETS[DEFAULT_PRESET] if method == "atoms" else spec_class(method)()


def learning_rate(method: str) -> float:
    """The learning rate of a method of which nothing else is said."""
    return METHODS[method].learning_rate


@dataclass(frozen=True, kw_only=True)
class MethodOptions(Options, panel="Method"):
    """What is trained.

    Attributes:
        method: by its name in `METHODS`; spec: the method's own, its defaults where nothing is given.
        init: see `training.initial`.
        train_text_encoder: see `setup.make_tunings`; train_token: the embedding of the concept's token.
    """

    method: str = option(
        "atoms",
        "Tuning method; docs/methods.md compares them.",
        choices=method_names,
        listed=METHODS.known,
        essential=True,
    )
    spec: Spec = option(None, "", derived=lambda options: default_spec(options.method))
    init: Path | None = option(
        None,
        "Begin with what an atoms file, or the run of a folder, has learned.",
        metavar="FILE",
        aliases=("network_weights",),
    )
    train_token: bool = option(
        False, "Train the embedding of the concept's token as well.", aliases=("train_text_encoder_ti",)
    )
    train_text_encoder: bool = option(False, "Train the text encoders as well, by the same method.")

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        if not isinstance(self.spec, spec_class(self.method)):
            yield "spec", f"is not one of the method {self.method}"
        if self.method == TEXTUAL_INVERSION and self.train_text_encoder:
            yield "train_text_encoder", "is for other methods: textual-inversion trains an embedding alone"

    @classmethod
    def more_options(cls) -> tuple[Option, ...]:
        """The options of all methods' specs."""
        return spec_options(MethodOptions, METHODS.known(), taken={item.name for item in declared_options(cls)})

    @classmethod
    def _assembled(cls, name: str, inside: Mapping[str, Any], flat: Mapping[str, Any]) -> Any:
        if name != "spec":
            return super()._assembled(name, inside, flat)
        method = flat.get("method", "atoms")
        return make_spec(method if method in METHODS else "atoms", inside)

    @classmethod
    def _revived(cls, name: str, value: Any, flat: Mapping[str, Any]) -> Any:
        if name == "spec":
            return spec_class(flat.get("method", "atoms")).from_dict(value)
        return super()._revived(name, value, flat)

    @property
    def preset(self) -> str:
        """The preset of the spec, or "custom"; the method's name for methods other than atoms."""
        return preset_name(self.spec) if isinstance(self.spec, AtomsSpec) else self.method

    @property
    def trains_token(self) -> bool:
        """Whether the embedding of the concept's token is trained."""
        return self.train_token or self.method == TEXTUAL_INVERSION

    @property
    def encoders_learn(self) -> bool:
        """Whether the text encoders change, so that captions are encoded anew at every step."""
        return self.train_text_encoder or self.trains_token


def spec_options(
    group: type[Options], methods: Iterable[str], names: Collection[str] | None = None, taken: Collection[str] = ()
) -> tuple[Option, ...]:
    """The options that choose a spec of one of these methods: a preset and the fields of their specs.

    Args:
        group: that they belong to.
        names: of the fields, where not all are options.
        taken: names that other options have; `--method-arg` gives a field of such a name.
    """
    methods = tuple(methods)
    by_name: dict[str, dict[str, Option]] = {}
    for method in methods:
        for item in _field_options(method):
            if item.name not in taken and (names is None or item.name in names):
                by_name.setdefault(item.name, {})[method] = item
    found = [_PRESET] if "atoms" in methods else []
    found += [_of_several(items, len(methods)) for items in by_name.values()]
    found += [_METHOD_ARG] if len(methods) > 1 else []
    return tuple(replace(item, group=group, panel=Spec.panel) for item in found)


def _field_options(method: str) -> Iterator[Option]:
    """The options of a method's spec; of a field without a declaration, one that says whose it is."""
    kind = spec_class(method)
    declared = {item.name: item for item in options_of(kind)}
    for field in fields(kind):
        if field.name in declared:
            yield declared[field.name]
        elif type(field.default) in (bool, int, float, str):
            yield Option(
                help=f"{field.name} of the method {method}.".capitalize(),
                name=field.name,
                path=(field.name,),
                kind=type(field.default),
                many=False,
                optional=False,
                default=field.default,
                group=kind,
            )


_PRESET = Option(
    help="Configuration of atoms, c1 to c4 as in the paper; the other options change one thing each.",
    name="preset",
    path=("spec", "preset"),
    kind=str,
    many=False,
    optional=True,
    default=None,
    choices=PRESETS,
    shown_default=DEFAULT_PRESET,
    essential=True,
    group=Spec,
)
_METHOD_ARG = Option(
    help="Any field of the method's spec; give it again for more.",
    name="method_arg",
    path=("spec", "method_arg"),
    kind=str,
    many=True,
    optional=True,
    default=(),
    metavar="NAME=VALUE",
    group=Spec,
)


def _of_several(items: Mapping[str, Option], methods: int) -> Option:
    """The option of a field that several methods' specs have, its default in words for each of them."""
    first = next(iter(items.values()))
    defaults: dict[str, list[str]] = {}
    for method, item in items.items():
        text = "the preset's" if method == "atoms" and item.name != "layers" else item.default_text or "off"
        defaults.setdefault(text, []).append(method)
    if len(items) == methods:  # the value of most needs no names
        most = max(defaults, key=lambda text: len(defaults[text]))
        defaults = {most: [], **{text: names for text, names in defaults.items() if text != most}}
    listed = (f"{', '.join(names)} {text}".strip() for text, names in defaults.items())
    words = "; ".join(listed).replace("atoms the preset's", "the preset's")
    return replace(first, path=("spec", first.name), optional=True, default=None, shown_default=words)


def make_spec(method: str, given: Mapping[str, Any]) -> Spec:
    """The spec of a method: its preset or its defaults, changed by what is given.

    Args:
        given: by the names of `spec_options`, and fields of the spec that are no options.

    Raises OptionError for what belongs to other methods, and for impossible values.
    """
    changes = dict(given)
    preset = changes.pop("preset", None)
    kind = spec_class(method)
    known = {field.name: field for field in fields(kind)}
    for text in changes.pop("method_arg", ()):
        name, _, value = text.partition("=")
        changes[name] = spec_value(value, known[name].default if name in known else None)
    foreign = [*(["preset"] if preset and method != "atoms" else []), *(name for name in changes if name not in known)]
    if foreign:
        takes = f"which has {', '.join(known)}"
        raise OptionError([(name, f"is not an option of the method {method}, {takes}") for name in foreign], kind.hint)
    return replace(PRESETS[preset] if preset else default_spec(method), **changes)


def spec_value(text: str, default: Any) -> Any:
    """A value of a spec's field: a number, true or false, else the text itself."""
    for kind in (float,) if isinstance(default, float) else (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False}.get(text.lower(), text)
