"""A model with an adapter attached, from `attach` to `merge` or `detach`."""

import os
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..adapt import freeze, skipped_layers
from ..core.decompose import Decomposition
from ..core.fingerprint import fingerprint_of
from ..data.tokens import default_token
from ..errors import AtomtuneError, SkippedLayersWarning, UsageError, excerpt
from ..files.atoms_file import AtomsInfo, save_atoms
from ..files.store import read_header
from ..methods.base import LayerPlan, Method
from ..methods.merging import PartChanges
from ..methods.specs import AtomsSpec, Spec, preset_name
from ..methods.trained_parts import TrainedParts, find_parts
from ..models.model_names import architecture_name, base_name, file_name, is_unet
from ..runtime.notices import warn
from ..runtime.units import counted
from .choice import choose
from .overlay import Summand, overlay_of

_ATTACHED: "weakref.WeakKeyDictionary[nn.Module, str]" = weakref.WeakKeyDictionary()
"""Models with an adapter, and which one; no reference to it, which would keep the model in memory."""


class Adapter:
    """What is trained of a frozen model, and all that one does with it. `attach` makes it.

    In a `with` statement the model is given back as it was at the end, unless the adapter was merged.

    Attributes:
        model: the model, with the adapter in it.
        method, spec: how it is tuned; preset: the paper's preset that this is, "custom", or the method's name.
        layers: the layers it tunes, with the number of parameters of each.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        spec: Spec,
        train: Iterable[str] = (),
        seed: int = 0,
        decomposition: Mapping[str, Decomposition] | None = None,
    ) -> None:
        self.preset = preset_name(spec) if isinstance(spec, AtomsSpec) else method.name
        parts = find_parts(model, train)
        if parts:
            spec = replace(spec, layers=",".join([spec.layers, *(f"!{name},!{name}.*" for name in parts)]))
        self.model, self.method, self.spec = model, method, spec
        self.layers: list[LayerPlan] = method.plan(model, spec)
        base = dict(model.named_parameters())
        apart = {name for name in base if any(name.startswith(f"{part}.") for part in parts)}
        self._base = {name: parameter for name, parameter in base.items() if name not in apart}
        self._running = running_statistics(model)
        self.architecture = architecture_name(model, apart)
        self._part_modules = parts
        self._begin(seed, decomposition)
        # now, where training will change the model's own weights; otherwise when a file is written
        in_place = any(parameter.requires_grad for parameter in self._base.values())
        self._fingerprint = fingerprint_of(self._base) if in_place else None

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What is trained: the method's parameters (float32), then those of parts trained in full, by name."""
        yield from self._tuning.parameters.items()
        yield from self._parts.parameters.items()

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained, for an optimiser. Nothing else of the model requires gradients."""
        return (parameter for _, parameter in self.named_parameters())

    def state_dict(self) -> dict[str, Tensor]:
        """The values of `named_parameters`, as they are: for checkpoints of training. `save` writes the small file."""
        return {name: parameter.detach() for name, parameter in self.named_parameters()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The way back from `state_dict`. Raises AtomtuneError where names or shapes differ; nothing changes then."""
        own = dict(self.named_parameters())
        if differing := sorted(set(own) ^ set(state)):
            where = "the adapter" if differing[0] in own else "the state"
            raise AtomtuneError(
                f"only {where} has {excerpt(differing[0])} (names that differ: {len(differing)})",
                "attach the adapter as it was when the state was saved",
            )
        for name, parameter in own.items():
            if parameter.shape != state[name].shape:
                raise AtomtuneError(
                    f"{name} has shape {tuple(state[name].shape)} in the state, not {tuple(parameter.shape)}",
                    "attach the adapter as it was when the state was saved",
                )
        for name, parameter in own.items():
            parameter.copy_(state[name])

    @property
    def scale(self) -> float:
        """The factor of ΔW: 1 for what is trained, 0 for the base model. Parts trained in full have none."""
        return self._scale

    @scale.setter
    def scale(self, scale: float) -> None:
        self._check_attached("scaled")
        self._tuning.set_scale(float(scale))
        self._scale = float(scale)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        concept: str | None = None,
        class_noun: str | None = None,
        token: str | None = None,
        base: str | None = None,
        prompts: Iterable[str] = (),
        steps: int = 0,
        **training: Any,
    ) -> Path:
        """Write the adapter to a .safetensors file that needs only the base model; the scale is not in it.

        Args:
            path: the file; an atoms file that is there is replaced, another file never.
            concept: what was learned, for `<concept>` in prompts; by default the name of the file.
            class_noun, token: as for training; by default the concept's name and the token that follows from it.
            base: the name of the base model, as for `--model`; by default what its library says of it.
            prompts, steps: what it was trained with.
            training: more to note, as JSON can hold it (lr=1e-3).

        Returns: the path.

        Raises AtomtuneError where a tensor is not finite, the file cannot be written, or atomtune did not write what is
        there.
        """
        self._check_attached("saved")
        path = Path(path)
        if path.exists():
            _check_is_ours(path)
        if running_statistics(self.model) != self._running:
            warn(
                "running statistics of the model changed since the adapter was attached, and its file does not hold "
                "them: keep its normalisation layers in eval mode while training"
            )
        name = concept or path.stem
        info = AtomsInfo(
            method=self.method.name,
            preset=self.preset,
            spec=self.spec.to_dict(),
            base=base or base_name(self.model),
            base_fingerprint=self._fingerprint or fingerprint_of(self._base),
            architecture=self.architecture,
            concept=name,
            class_noun=class_noun or name,
            token=token or default_token(name),
            prompts=list(prompts),
            steps=steps,
            parameters=sum(parameter.numel() for parameter in self.parameters()),
            training=training,
        )
        save_atoms(path, info, self._tensors())
        return path

    def merge(self) -> nn.Module:
        """Write the adapter into the model's weights, as `load` does with its file; returns the model, now a plain one.

        W' = W + scale·ΔW is computed once, in float32, and cast to the dtype of W. ΔW is what the file would hold, with
        deltas in float16. Files that were loaded before the adapter was attached become permanent too.

        Raises AtomtuneError where a weight would not be finite, or belongs to another module too, which would change
        with it. The adapter stays attached then, with the same values in new parameters.
        """
        self._check_attached("merged")
        tensors, state, scale = self._tuning.export(), self.state_dict(), self._scale
        self._end("merged")
        overlay = overlay_of(self.model)
        overlay.settle()
        changes = partial(merged_changes, self.method, self.spec, tensors)
        try:
            overlay.add([Summand(changes, scale)])
        except BaseException:
            self._begin()
            self.load_state_dict(state)
            self.scale = scale
            raise
        overlay.settle()
        return self.model

    def detach(self) -> nn.Module:
        """Give the model its own modules and weights back, bit for bit; returns it. What was trained is lost."""
        self._check_attached("detached")
        self._parts.restore()
        self._end("detached")
        return self.model

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _problem: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if not self._ended:
            self.detach()

    def __repr__(self) -> str:
        kind = self.method.name + (f" {self.preset}" if isinstance(self.spec, AtomsSpec) else "")
        numbers = sum(layer.parameters for layer in self.layers)
        full = f", {', '.join(self._parts.names)} in full" if self._parts.names else ""
        state = self._ended or f"scale {self._scale:g}"
        return (
            f"Adapter({kind} on {type(self.model).__name__}: {counted(len(self.layers), 'layer')}, "
            f"{counted(numbers, 'parameter')}{full}, "
            f"{state})"
        )

    def _tensors(self) -> dict[str, Tensor]:
        # diffusers' names where the ecosystem reads the file: a LoRA of a UNet
        prefix = "unet." if is_unet(self.model) and not isinstance(self.spec, AtomsSpec) else ""
        own = {prefix + file_name(self.model, name): value for name, value in self._tuning.export().items()}
        return own | self._parts.export()

    def _begin(self, seed: int = 0, decomposition: Mapping[str, Decomposition] | None = None) -> None:
        self._unfreeze = freeze(self.model)
        try:
            self._tuning = self.method.attach(self.model, self.spec, seed=seed, decomposition=decomposition)
        except BaseException:
            self._unfreeze()
            raise
        self._parts = TrainedParts(self._part_modules)
        self._scale = 1.0
        self._ended = ""
        _ATTACHED[self.model] = repr(self)

    def _end(self, how: str) -> None:
        self._tuning.detach()
        for parameter in self._parts.parameters.values():
            parameter.requires_grad_(False)
            parameter.grad = None
        self._unfreeze()
        self._ended = how
        _ATTACHED.pop(self.model, None)

    def _check_attached(self, what: str) -> None:
        if self._ended:
            raise UsageError(f"the adapter was {self._ended} and cannot be {what}", "attach another one")


def attach(
    model: nn.Module,
    method: str | Spec | Method = "c2",
    *,
    train: Iterable[str] = (),
    seed: int = 0,
    decomposition: Mapping[str, Decomposition] | None = None,
    **options: Any,
) -> Adapter:
    """Freeze a model and attach an adapter to train; the model's output stays the same, bit for bit.

    Layers that cannot be adapted are named in one `SkippedLayersWarning`.

    Args:
        model: any module: a UNet, a text encoder, a classifier. Call its `eval()` or `train()` as training needs it.
        method: a preset of the paper ("c1" to "c4", "conv", …; arXiv 2403.00269, Table 2), the name of a method
            ("lora", "oft", …), or a spec.
        train: names of parts to train in full beside it, or shell patterns: `train=["fc"]` for a classifier's new head.
        seed: of random starts, for the methods that have them.
        decomposition: of the model, from `decompose`; made now without it.
        options: fields of the method's spec: `rank=4`, `layers="attention"`, `tile=8`.

    Returns: the adapter; its `parameters()` are what an optimiser takes.

    Raises:
        UsageError: an unknown method or option, no such layers or parts, or the model has an adapter already.
        AtomtuneError: a weight cannot be decomposed, or a layer cannot be adapted by this method.
    """
    kind, spec = choose(method, options)
    check_free(model)
    if isinstance(train, str):
        train = [train]
    skipped = skipped_layers(model)  # before the layers of a library stand among the model's own
    adapter = Adapter(model, kind, spec, train, seed, decomposition)
    if skipped:
        warn(_about_skipped(skipped), SkippedLayersWarning)
    return adapter


def check_free(model: nn.Module) -> None:
    """Raise UsageError where an adapter is attached to a model or to a part of it."""
    for module in model.modules():
        if module in _ATTACHED:
            raise UsageError(
                f"the {type(module).__name__} has an adapter: {_ATTACHED[module]}", "merge or detach that one first"
            )


def _check_is_ours(path: Path) -> None:
    try:
        read_header(path)
    except AtomtuneError as problem:
        raise UsageError(f"{path} is there, and atomtune did not write it", "name another file") from problem


def _about_skipped(skipped: Mapping[str, str]) -> str:
    by_reason: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        by_reason.setdefault(reason, []).append(name)
    listed = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in by_reason.items())
    return f"cannot be adapted and left as they are: {counted(len(skipped), 'layer')}: {listed}"


def merged_changes(method: Method, spec: Spec, tensors: Mapping[str, Tensor], model: nn.Module) -> PartChanges:
    """What an adapter's tensors change of a model that has its own weights."""
    return PartChanges(method.changes(model, spec, tensors))


def running_statistics(model: nn.Module) -> dict[str, float]:
    """A number for each running statistic of normalisation layers, which changes with it."""
    return {name: float(buffer.double().sum()) for name, buffer in model.named_buffers() if "running_" in name}
