"""Networks of timm and torchvision: their weights, their head, and how they want their images."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..adapt import adaptable_layers
from ..errors import AtomtuneError, UsageError, excerpt
from ..models.hub_errors import unreachable
from ..models.hub_files import files_on_hub
from ..runtime.seeds import derived_seed
from .options import RANDOM

LIBRARIES = ("timm", "torchvision")
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@dataclass(frozen=True)
class Network:
    """A classifier of some classes.

    Attributes:
        model: on the CPU, in evaluation mode.
        name: as for `build`.
        head: dotted name of its last layer.
        size: side of its images in pixels; mean, std: of the colours that it takes.
        interpolation, crop_share: how images are scaled and cut, as timm says it.
    """

    model: nn.Module
    name: str
    head: str
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_share: float


def build(name: str, classes: int, *, weights: str | None = None, size: int | None = None, seed: int = 0) -> Network:
    """A network with its weights and a fresh head.

    Args:
        name: "timm:NAME", with the tag of its weights as "timm:resnet50.a1_in1k", or "torchvision:NAME".
        weights: a .safetensors file in the place of the hub's, or "random".
        size: side of the images; None for the network's own.
        seed: of the head, and of random weights.

    Raises AtomtuneError where the library, the network or its weights are not there, UsageError for no such name.
    """
    library, _, rest = name.partition(":")
    if library not in LIBRARIES or not rest:
        raise UsageError(f"there is no network {excerpt(name)}", "as in timm:resnet50.a1_in1k or torchvision:resnet50")
    needs_library(library)
    if weights not in (None, RANDOM) and not (Path(weights).is_file() and weights.endswith(".safetensors")):
        raise AtomtuneError(f"there is no file of weights {excerpt(weights)}", "--weights takes a .safetensors file")
    with _seeded(seed):
        made = (_of_timm if library == "timm" else _of_torchvision)(rest, name, classes, weights, size)
    made.model.eval()
    return made


def needs_library(library: str) -> None:
    """Raise AtomtuneError where timm or torchvision is not installed."""
    from importlib.util import find_spec

    if find_spec(library) is None:
        raise AtomtuneError(f"{library} is not installed", "pip install 'atomtune[vision]'")


def uncalled_layers(network: Network) -> list[str]:
    """Layers whose weight the network uses without calling them, so that an adapted layer in their place is not seen.

    Found by one pass on an empty image.
    """
    called: set[str] = set()
    layers = adaptable_layers(network.model)
    hooks = [
        layer.register_forward_pre_hook(lambda _module, _inputs, name=name: called.add(name))
        for name, layer in layers.items()
    ]
    try:
        with torch.no_grad():
            network.model(torch.zeros(1, 3, network.size, network.size))
    finally:
        for hook in hooks:
            hook.remove()
    return [name for name in layers if name not in called]


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """(n, 3, side, side) → (n, classes). Raises AtomtuneError for a network that gives something else."""
    found: Any = model(images)
    if not isinstance(found, Tensor) or found.dim() != 2:
        raise AtomtuneError(f"{type(model).__name__} gives no scores of classes", "use another network")
    return found


def _of_timm(rest: str, name: str, classes: int, weights: str | None, size: int | None) -> Network:
    import timm
    from timm.data.config import resolve_model_data_config

    if not timm.is_model(rest.partition(".")[0]):
        raise UsageError(f"timm has no network {excerpt(rest)}", _alike(rest))
    try:
        config: Any = timm.get_pretrained_cfg(rest, allow_unregistered=False)
    except RuntimeError as problem:
        raise UsageError(f"timm: {excerpt(problem)}", _alike(rest)) from None
    given: dict[str, Any] = {}
    own = size is None or (config is not None and size == config.input_size[-1])
    if not own and getattr(config, "fixed_input_size", False):
        given["img_size"] = size
    if weights != RANDOM:
        path = weights if weights is not None else _from_hub(rest, config)
        given |= {"pretrained": True, "pretrained_cfg_overlay": {"file": path}, "num_classes": _outputs(path, config)}
    try:
        model: Any = timm.create_model(rest, **given)
        model.reset_classifier(classes)
    except (RuntimeError, ValueError, TypeError, KeyError, AssertionError, OSError) as problem:
        raise AtomtuneError(
            f"timm cannot build {name}: {excerpt(problem)}", "--weights and --image-size must fit it"
        ) from problem
    head = model.pretrained_cfg["classifier"]
    if not isinstance(head, str):
        raise AtomtuneError(f"{name} has {len(head)} heads, {', '.join(head)}", "use a network with one")
    data = resolve_model_data_config(model)
    return Network(
        model,
        name,
        head,
        size or data["input_size"][-1],
        tuple(map(float, data["mean"])),
        tuple(map(float, data["std"])),
        data["interpolation"],
        float(data["crop_pct"]),
    )


def _alike(rest: str) -> str:
    import difflib

    import timm

    close = difflib.get_close_matches(rest, timm.list_models() + timm.list_pretrained(), n=3)
    return f"did you mean {', '.join(close)}?" if close else "python -c 'import timm; print(timm.list_models())'"


def _outputs(path: str, config: Any) -> int:
    """How many classes the head in a file of weights has; the configuration's number where it has none."""
    from safetensors import SafetensorError, safe_open

    heads = config.classifier if config is not None else ""
    first = heads if isinstance(heads, str) else heads[0]
    try:
        with safe_open(path, "pt") as file:
            if f"{first}.weight" in file.keys():  # noqa: SIM118, it is no dictionary
                return int(file.get_slice(f"{first}.weight").get_shape()[0])
    except (SafetensorError, OSError) as problem:
        raise AtomtuneError(f"{path} cannot be read: {excerpt(problem)}", "fetch it again") from None
    return int(config.num_classes if config is not None else 0)


def _from_hub(rest: str, config: Any) -> str:
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    hint = "--weights FILE.safetensors takes them from a file, --weights random takes none"
    repository = getattr(config, "hf_hub_id", None)
    if not repository:
        raise AtomtuneError(f"timm names no weights for {rest} on the hub", hint)
    file = "model.safetensors"
    if isinstance(cached := try_to_load_from_cache(repository, file), str):
        return cached
    try:
        if not constants.HF_HUB_OFFLINE:
            files_on_hub(repository)
        return hf_hub_download(repository, file)
    except Exception as problem:  # the hub's client raises what its HTTP library raises
        if isinstance(problem, EntryNotFoundError) and not isinstance(problem, LocalEntryNotFoundError):
            raise AtomtuneError(f"{repository} has no {file}, and pickles are not loaded", hint) from problem
        raise unreachable(repository, problem, hint) from problem


def _of_torchvision(rest: str, name: str, classes: int, weights: str | None, size: int | None) -> Network:
    from safetensors.torch import load_file
    from torchvision import models

    if weights is None:
        raise AtomtuneError(
            f"torchvision's weights of {rest} are pickles, which are not loaded",
            "--weights FILE.safetensors names them as a safetensors file; timm has most of its networks",
        )
    try:
        model: Any = models.get_model(rest, weights=None)
    except ValueError:
        raise UsageError(
            f"torchvision has no network {excerpt(rest)}", "see torchvision.models.list_models()"
        ) from None
    if weights != RANDOM:
        try:
            model.load_state_dict(load_file(weights))
        except (RuntimeError, OSError, ValueError) as problem:
            raise AtomtuneError(f"{weights} does not fit {name}: {excerpt(problem)}", "use its own weights") from None
    linear = [(path, layer) for path, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    if not linear or getattr(linear[-1][1], "out_features", 0) != 1000:
        raise AtomtuneError(f"{name} does not end in a linear layer", "use another network")
    head, last = linear[-1]
    parent, _, child = head.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Linear(last.in_features, classes))
    return Network(model, name, head, size or 224, **_IMAGENET, interpolation="bilinear", crop_share=0.875)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(seed, "network"))
        yield
