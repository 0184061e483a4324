"""atomtune: personalise Stable Diffusion by training only the filter atoms of its UNet.

    adapter = atomtune.attach(unet, "c2")        # any module; freezes it, and its output stays the same
    ...                                          # train adapter.parameters()
    adapter.save("mug.safetensors")
    atomtune.load(pipe, "mug.safetensors")       # into a plain pipeline of diffusers, or any module

The names below are the public ones. They are imported when they are first used: `import atomtune` itself is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PLACES = {
    "Adapter": "api.adapter",
    "attach": "api.adapter",
    "decompose": "api.choice",
    "Loaded": "api.loading",
    "applied": "api.loading",
    "load": "api.loading",
    "Concept": "data.concept",
    "TrainOptions": "training.options",
    "TrainResult": "training.train",
    "train": "training.train",
    "SampleOptions": "sampling.sample",
    "sample": "sampling.sample",
    "AtomtuneError": "errors",
    "AtomtuneWarning": "errors",
    "SkippedLayersWarning": "errors",
    "UsageError": "errors",
}
"""Where each public name is, as a module of this package."""

if TYPE_CHECKING:
    from .api.adapter import Adapter as Adapter
    from .api.adapter import attach as attach
    from .api.choice import decompose as decompose
    from .api.loading import Loaded as Loaded
    from .api.loading import applied as applied
    from .api.loading import load as load
    from .errors import AtomtuneError as AtomtuneError
    from .errors import AtomtuneWarning as AtomtuneWarning
    from .errors import SkippedLayersWarning as SkippedLayersWarning
    from .errors import UsageError as UsageError

__all__ = ["__version__", *_PLACES]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
