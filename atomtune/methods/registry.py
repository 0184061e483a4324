"""The methods by name: those of atomtune, those that a program registers, and those that other packages bring.

Nothing here imports torch until a method is asked for, so that its names cost a command line nothing.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import AtomtuneError, excerpt
from .specs import Spec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from .base import Method
    from .delta_method import Create, DeltaMethod

GROUP = "atomtune.methods"
"""The entry-point group in which an installed package names its methods: NAME = "package.module:method"."""

_BUILT_IN = {
    "atoms": ("atoms", "ATOMS"),
    "lora": ("lora", "LORA"),
    "loha": ("loha", "LOHA"),
    "lokr": ("lokr", "LOKR"),
    "oft": ("oft", "OFT"),
    "coft": ("oft", "COFT"),
    "bitfit": ("bitfit", "BITFIT"),
    "difffit": ("difffit", "DIFFFIT"),
    "loldu": ("loldu", "LOLDU"),
    "loralib": ("loralib", "LORALIB"),
    "oft-scaled": ("scaled_oft", "SCALED_OFT"),
    "full": ("full", "FULL"),
    "textual-inversion": ("textual_inversion", "TEXTUAL_INVERSION"),
}

_OF_HEADS = {"linear-probe": ("linear_probe", "LINEAR_PROBE")}
"""Methods for models with a head alone: known by name and not listed, as they leave nothing to train of a UNet."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class Methods(Mapping[str, "Method"]):
    """Every method by the name it has on the command line and in files; each is imported when it is asked for."""

    def __init__(self) -> None:
        self._registered: dict[str, Method] = {}

    def __getitem__(self, name: str) -> "Method":
        if name in _BUILT_IN or name in _OF_HEADS:
            module, attribute = (_BUILT_IN | _OF_HEADS)[name]
            method: Method = getattr(import_module(f".{module}", __package__), attribute)
            return method
        if name in self._registered:
            return self._registered[name]
        if name in (installed := _installed()):
            self._registered[name] = _loaded(installed[name])
            return self._registered[name]
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        # without importing it
        return name in _BUILT_IN or name in _OF_HEADS or name in self._registered or name in _installed()

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*_BUILT_IN, *self._registered, *_installed()]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def add(self, method: "Method") -> None:
        """Register a method; one of the same name that the same module registered before is replaced.

        Raises ValueError where the name is taken, or is not of small letters, digits and hyphens.
        """
        if not _NAME.fullmatch(method.name):
            raise ValueError(f"{method.name!r} must be of small letters, digits and hyphens, as in 'row-scale'")
        before = self._registered.get(method.name)
        if method.name in _BUILT_IN | _OF_HEADS or (before is not None and _origin(before) != _origin(method)):
            raise ValueError(f"there is a method {method.name!r} already")
        self._registered[method.name] = method

    def known(self) -> list[str]:
        """The names of the methods whose specs are known without importing anything: all but those of packages."""
        return [*_BUILT_IN, *self._registered]

    def remove(self, name: str) -> None:
        """Forget a method that was registered; nothing where there is none."""
        self._registered.pop(name, None)


METHODS = Methods()
"""Every method by its name."""


def method_names() -> tuple[str, ...]:
    """The names of all methods: atomtune's own, then those registered, then those of installed packages."""
    return tuple(METHODS)


def register(
    name: str, title: str, *, spec: type[Spec] = Spec, learning_rate: float = 1e-3
) -> "Callable[[Create], DeltaMethod]":
    """Make a method of a function that gives a layer its delta, and register it.

        @register("row-scale", "a factor for each output")
        def row_scale(layer, weight, spec): ...      # → WeightDelta

    The function is called with the layer's dotted name, its weight, and the spec; for a count of the parameters also
    with a weight on the meta device. What is trained, stored and merged are the delta's parameters.

    Args:
        name: on the command line and in files; small letters, digits and hyphens.
        title: what is trained, in a few words.
        spec: the class of the method's options, a frozen dataclass that extends `Spec`.
        learning_rate: the default one, with AdamW.

    Raises ValueError where the name is taken or malformed.
    """
    from .delta_method import DeltaMethod

    def registered(create: "Create") -> "DeltaMethod":
        method = DeltaMethod(name, title, create, spec, learning_rate)
        METHODS.add(method)
        return method

    return registered


def _origin(method: Any) -> tuple[str, str]:
    """Where a method was written: of a notebook's cell that is run again, the same."""
    code = getattr(method, "create", type(method))
    return code.__module__, code.__qualname__


def _installed() -> "dict[str, EntryPoint]":
    return _found(tuple(sys.path))


@lru_cache(maxsize=4)
def _found(_path: tuple[str, ...]) -> "dict[str, EntryPoint]":
    """The entry points on this path. Raises AtomtuneError where two packages, or one and atomtune, share a name."""
    from importlib.metadata import entry_points  # takes a tenth of the time of --help

    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        if point.name in _BUILT_IN | _OF_HEADS or point.name in found:
            raise AtomtuneError(
                f"{_package(point)} brings a method {excerpt(point.name)!r}, which there is already",
                "uninstall one of the packages that bring it",
            )
        found[point.name] = point
    return found


def _loaded(point: "EntryPoint") -> "Method":
    hint = f"update or uninstall {_package(point)}"
    try:
        method = point.load()
    except Exception as problem:  # whatever another package's code raises
        raise AtomtuneError(f"the method {point.name} cannot be loaded: {excerpt(problem)}", hint) from problem
    parts = ("name", "title", "learning_rate", "spec", "plan", "attach", "changes")
    if lacking := [part for part in parts if not hasattr(method, part)]:
        raise AtomtuneError(f"the method {point.name} has no {lacking[0]}", hint)
    if method.name != point.name:
        raise AtomtuneError(f"the method {point.name} calls itself {excerpt(method.name)!r}", hint)
    loaded: Method = method
    return loaded


def _package(point: "EntryPoint") -> str:
    return point.dist.name if point.dist is not None else point.value
