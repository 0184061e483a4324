"""A method put onto a network: which layers it leaves out, and why."""

import warnings
from dataclasses import fields, replace
from typing import Any

from torch import nn

from ..adapt import adaptable_layers
from ..api.adapter import Adapter, attach
from ..errors import AtomtuneWarning
from ..methods import METHODS
from ..methods.in_place import InPlaceMethod
from ..methods.specs import Spec
from ..runtime.progress import Events
from ..runtime.seeds import derived_seed
from .network import Network, uncalled_layers
from .options import LINEAR_PROBE, ClassifierMethodOptions

_SHOWN = 6


def tune(network: Network, options: ClassifierMethodOptions, seed: int, events: Events) -> Adapter:
    """Attach a method to a network, whose head is trained in full beside it.

    Warns of the layers that stay as they are. Raises as `attach`.
    """
    method = METHODS[options.method]
    spec = suited(network, options.method, options.spec, events)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        adapter = attach(
            network.model, method, train=[network.head], seed=derived_seed(seed, "tuning"), **_fields(spec)
        )
    for item in caught:
        if issubclass(item.category, AtomtuneWarning) and options.method != LINEAR_PROBE:
            events.warn(str(item.message))
    return adapter


def suited(network: Network, method: str, spec: Spec, events: Events) -> Spec:
    """A spec without the layers that a method cannot tune, named in a warning.

    That is: layers whose weight their module reads without calling them, as EVA's and BEiT's attention does with query,
    key and value; and for methods of peft that have no grouped convolutions, the depthwise ones.
    """
    kind: Any = METHODS[method]
    if method == LINEAR_PROBE or isinstance(kind, InPlaceMethod):  # which change the weights where they are
        return spec
    layers = adaptable_layers(network.model)
    uncalled = [name for name in uncalled_layers(network) if name != network.head]
    if uncalled:
        events.warn(f"left as they are, as their module reads the weight without calling them: {_listed(uncalled)}")
    grouped = []
    if not getattr(kind, "takes_groups", True):
        grouped = [name for name, layer in layers.items() if isinstance(layer, nn.Conv2d) and layer.groups > 1]
        if grouped:
            events.warn(f"peft has no {method} for grouped convolutions, which stay as they are: {_listed(grouped)}")
    out = [f"!{name}" for name in dict.fromkeys([*uncalled, *grouped])]
    return replace(spec, layers=",".join([spec.layers, *out])) if out else spec


def _fields(spec: Spec) -> dict[str, Any]:
    return {field.name: getattr(spec, field.name) for field in fields(spec)}


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
