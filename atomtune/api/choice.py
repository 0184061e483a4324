"""Which method and spec a call means: a preset, a method's name with options, or a spec."""

from dataclasses import fields, replace
from typing import Any

from torch import nn

from ..core.decompose import Decomposition
from ..errors import UsageError, excerpt
from ..methods import METHODS
from ..methods.atoms import decompose_model
from ..methods.base import Method
from ..methods.options import default_spec
from ..methods.specs import PRESETS, AtomsSpec, Spec
from ..methods.textual_inversion import TextualInversion


def choose(what: str | Spec | Method, options: dict[str, Any]) -> tuple[Method, Any]:
    """The method and the spec that `what` means, with `options` in place of the spec's own fields.

    Raises UsageError for a name that is neither a preset nor a method, for options that the method does not take and
    for values that it refuses.
    """
    if isinstance(what, Spec):
        method, spec = _of_spec(what), what
    elif isinstance(what, str):
        method, spec = _named(what)
    else:
        method, spec = what, what.spec()
    known = [field.name for field in fields(spec)]
    if unknown := sorted(set(options) - set(known)):
        raise UsageError(
            f"{method.name} takes no option {', '.join(map(excerpt, unknown))}", f"it takes {', '.join(known)}"
        )
    return method, replace(spec, **options)


def decompose(model: nn.Module, spec: str | AtomsSpec = "c2", **options: Any) -> dict[str, Decomposition]:
    """Decompose the weights of a model into atoms and coefficients, W ≈ α·D (arXiv 2403.00269, equations 3 to 5).

    Every layer for itself, so that the same weight has the same atoms whatever else is decomposed.

    Args:
        model: any module; it stays as it is.
        spec: a preset of the paper ("c1" to "c4", "conv", …) or a spec of atoms.
        options: fields of the spec to change: `atoms=6`, `tile=8`, `sparsity=0.05`, `layers="conv"`.

    Returns: by the layer's name: `atoms` D (m, r) float32; `coefficients` α (N, m) float16, or None where λ is 0 and α
    is one product with the weight; `layout`, how the weight is cut into N rows of r numbers.

    Raises:
        UsageError: an unknown preset or option, no such layers, or a method other than atoms.
        AtomtuneError: a weight is not finite.
    """
    method, found = choose(spec, options)
    if not isinstance(found, AtomsSpec):
        raise UsageError(f"{method.name} decomposes nothing", f"presets that do: {', '.join(PRESETS)}")
    return decompose_model(model, found)


def _named(name: str) -> tuple[Method, Spec]:
    if name in PRESETS:
        return METHODS["atoms"], PRESETS[name]
    if name == TextualInversion.name:
        raise UsageError(
            "textual-inversion trains a token's embedding and no layers of a model",
            "atomtune.train does it, with method='textual-inversion'",
        )
    if name not in METHODS:
        raise UsageError(
            f"there is no preset or method {excerpt(repr(name))}",
            f"presets: {', '.join(PRESETS)}; methods: {', '.join(METHODS)}",
        )
    return METHODS[name], default_spec(name)


def _of_spec(spec: Spec) -> Method:
    fitting = [method for method in METHODS.values() if method.spec is type(spec)]
    if len(fitting) != 1:
        names = ", ".join(method.name for method in fitting) or "none"
        raise UsageError(
            f"a {type(spec).__name__} alone does not say which method is meant ({names} take it)",
            "give the method's name and its options, as in attach(model, 'lora', rank=4)",
        )
    return fitting[0]
