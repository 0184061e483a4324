"""atomtune: personalise Stable Diffusion by training only the filter atoms of its UNet.

    atomtune.train(atomtune.TrainOptions(concept=atomtune.Concept("mug", "mug")), "runs/mug")
    atomtune.load(pipe, "runs/mug")              # onto a plain pipeline of diffusers

    adapter = atomtune.attach(unet, "c2")        # any module; freezes it, and its output stays the same
    ...                                          # train adapter.parameters()
    adapter.save("mug.safetensors")

The names in `__all__` are the public ones; docs/python-api.md shows them at work. They are imported when they are first
used: `import atomtune` itself imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import methods as methods
    from . import pocket as pocket
    from .api.adapter import Adapter as Adapter
    from .api.adapter import attach as attach
    from .api.choice import decompose as decompose
    from .api.loading import Loaded as Loaded
    from .api.loading import applied as applied
    from .api.loading import load as load
    from .api.loading import load_pipeline as load_pipeline
    from .data.concept import Concept as Concept
    from .data.options import TaughtConcept as TaughtConcept
    from .errors import AtomtuneError as AtomtuneError
    from .errors import AtomtuneWarning as AtomtuneWarning
    from .errors import Interrupted as Interrupted
    from .errors import SkippedLayersWarning as SkippedLayersWarning
    from .errors import UsageError as UsageError
    from .evaluation.options import EvaluateOptions as EvaluateOptions
    from .evaluation.score_run import ScoredRun as ScoredRun
    from .evaluation.score_run import evaluate as evaluate
    from .methods import register as register
    from .methods import specs as specs
    from .runtime.progress import Events as Events
    from .sampling.options import SampleOptions as SampleOptions
    from .sampling.options import Settings as Settings
    from .sampling.sample import SampledImage as SampledImage
    from .sampling.sample import sample as sample
    from .training.options import TrainOptions as TrainOptions
    from .training.record import TrainResult as TrainResult
    from .training.train import train as train

__version__ = "0.1.0"

_PLACES = {
    "api.adapter": ("Adapter", "attach"),
    "api.choice": ("decompose",),
    "api.loading": ("Loaded", "applied", "load", "load_pipeline"),
    "data.concept": ("Concept",),
    "data.options": ("TaughtConcept",),
    "errors": ("AtomtuneError", "AtomtuneWarning", "Interrupted", "SkippedLayersWarning", "UsageError"),
    "evaluation.options": ("EvaluateOptions",),
    "evaluation.score_run": ("ScoredRun", "evaluate"),
    "methods": ("register", "specs"),
    "runtime.progress": ("Events",),
    "sampling.options": ("SampleOptions", "Settings"),
    "sampling.sample": ("SampledImage", "sample"),
    "training.options": ("TrainOptions",),
    "training.record": ("TrainResult",),
    "training.train": ("train",),
}
"""The public names by the module that has them."""

_MODULES = ("methods", "pocket")
"""Public modules."""

_OF = {name: module for module, names in _PLACES.items() for name in names}

__all__ = ["__version__", *_MODULES, *_OF]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
