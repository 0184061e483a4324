"""The public interfaces of A1111 and of Forge as far as an extension for networks meets them, for tests.

Both find layers by names that follow from diffusers' by a rule: A1111 by kohya's, Forge as ComfyUI does. A1111 passes
over keys that match nothing; its stand-in raises KeyError unless `strict` is False.
"""

import sys
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from atomtune.adapt import adaptable_layers
from atomtune.export.lora_keys import kohya_name, original_name
from comfy_stand_in import lora_name, own_name

NetworkWeights = namedtuple("NetworkWeights", ["network_key", "sd_key", "w", "sd_module"])


class Network:
    """A file in use, with the multipliers of the prompt."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.unet_multiplier = self.te_multiplier = 1.0
        self.modules: dict[str, Any] = {}


class NetworkModuleBase:
    """What modules are derived from."""

    def __init__(self, net: Network, weights: NetworkWeights) -> None:
        self.network, self.sd_key, self.sd_module = net, weights.sd_key, weights.sd_module

    def finalize_updown(self, updown: Tensor, orig_weight: Tensor, output_shape: Any) -> tuple[Tensor, None]:
        is_text = "transformer" in self.sd_key[:20]
        multiplier = self.network.te_multiplier if is_text else self.network.unet_multiplier
        return updown.reshape(output_shape) * multiplier, None


class _Difference(NetworkModuleBase):
    def __init__(self, net: Network, weights: NetworkWeights) -> None:
        super().__init__(net, weights)
        self.difference = weights.w["diff"]

    def calc_updown(self, orig_weight: Tensor) -> Any:
        return self.finalize_updown(self.difference, orig_weight, orig_weight.shape)


class _DifferenceType:
    def create_module(self, net: Network, weights: NetworkWeights) -> Any:
        return _Difference(net, weights) if "diff" in weights.w else None


def a1111(mapping: Mapping[str, nn.Module], keys: Mapping[str, str], is_xl: bool = False) -> Any:
    """A1111's module `networks` for a model.

    Args:
        mapping: the model's layers by its own names.
        keys: those names by kohya's.
    """
    network = SimpleNamespace(NetworkModule=NetworkModuleBase, ModuleType=object)
    networks: Any = ModuleType("networks")
    networks.network, networks.module_types, networks.strict = network, [_DifferenceType()], True
    networks.shared = SimpleNamespace(sd_model=SimpleNamespace(network_layer_mapping=dict(mapping), is_sdxl=is_xl))
    networks.sd_models = SimpleNamespace(read_state_dict=load_file)

    def load_network(name: str, network_on_disk: Any) -> Network:
        net, matched = Network(name), {}
        for key, value in networks.sd_models.read_state_dict(network_on_disk.filename).items():
            layer, _, part = key.partition(".")
            own = keys.get(layer, layer)
            # one attention of OpenCLIP stands for the three layers of other encoders
            module = mapping.get(own) or mapping.get(own.rpartition("_")[0].rpartition("_")[0])
            if module is None:
                if networks.strict:
                    raise KeyError(key)
                continue
            matched.setdefault(own, NetworkWeights(key, own, {}, module)).w[part] = value
        for own, weights in matched.items():
            made = (kind.create_module(net, weights) for kind in networks.module_types)
            net.modules[own] = next(module for module in made if module is not None)
        return net

    networks.load_network = load_network
    return networks


def apply_networks(mapping: Mapping[str, nn.Module], loaded: Sequence[Network]) -> None:
    """Give the layers these networks, from the backup of their weights, as A1111 does before a layer is used."""
    for name, layer in mapping.items():
        if isinstance(layer, nn.MultiheadAttention):
            _apply_attention(name, layer, loaded)
            continue
        if getattr(layer, "network_weights_backup", None) is None:
            layer.network_weights_backup = layer.weight.detach().clone()  # type: ignore[assignment,operator]
        with torch.no_grad():
            layer.weight.copy_(layer.network_weights_backup)  # type: ignore[operator,union-attr]
            for net in loaded:
                if name in net.modules and "out_proj" not in name:
                    layer.weight += net.modules[name].calc_updown(layer.weight)[0]  # type: ignore[operator,assignment]


def _apply_attention(name: str, layer: Any, loaded: Sequence[Network]) -> None:
    if getattr(layer, "network_weights_backup", None) is None:
        layer.network_weights_backup = (layer.in_proj_weight.detach().clone(), layer.out_proj.weight.detach().clone())
    with torch.no_grad():
        layer.in_proj_weight.copy_(layer.network_weights_backup[0])
        layer.out_proj.weight.copy_(layer.network_weights_backup[1])
        for net in loaded:
            parts = [net.modules[f"{name}_{part}"] for part in ("q_proj", "k_proj", "v_proj")]
            rows = layer.in_proj_weight.chunk(3)
            updown = [part.calc_updown(row)[0] for part, row in zip(parts, rows, strict=True)]
            layer.in_proj_weight += torch.vstack(updown)
            layer.out_proj.weight += net.modules[f"{name}_out_proj"].calc_updown(layer.out_proj.weight)[0]


def a1111_unet(unet: Any) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """A UNet's layers by A1111's names, and these by kohya's for SD v1 and v2."""
    layers = adaptable_layers(unet)
    own = {name: f"diffusion_model_{original_name(name, unet.config).replace('.', '_')}" for name in layers}
    keys = {kohya_name("unet", name, unet.config, False): own[name] for name in layers}
    return {own[name]: layer for name, layer in layers.items()}, keys


class ForgeModel:
    """A model of weights, by Forge's names, and the names that its loader looks for."""

    def __init__(self, weights: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
        self.weights, self.names = dict(weights), dict(names)

    def named_parameters(self) -> Any:
        return self.weights.items()


class ForgePatcher:
    """A model with the patches of files."""

    def __init__(self, model: ForgeModel) -> None:
        self.model = self.cond_stage_model = model
        self.lora_patches: dict[Any, dict[str, Any]] = {}

    def clone(self) -> "ForgePatcher":
        other = copy(self)
        other.lora_patches = dict(self.lora_patches)
        return other

    def add_patches(
        self, *, filename: str, patches: Mapping[str, Any], strength_patch: float, online_mode: bool = False
    ) -> None:
        own = {key: [[strength_patch, patch, 1.0, None, None]] for key, patch in patches.items()}
        self.lora_patches[filename, strength_patch, 1.0, online_mode] = own

    def patched(self, key: str) -> Tensor:
        """The weight that the model would work with."""
        patches = [patch for own in self.lora_patches.values() for patch in own.get(key, [])]
        return sys.modules["backend.operations"].merge_lora_to_weight(patches, self.model.weights[key].clone(), key)


def forge_unet(unet: Any) -> ForgeModel:
    """A UNet as Forge has it."""
    layers = adaptable_layers(unet)
    own = {name: own_name(name, unet.config) for name in layers}
    return ForgeModel(
        {own[name]: layer.weight.detach() for name, layer in layers.items()},
        {lora_name(name): own[name] for name in layers},
    )


def forge(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put Forge's modules in place; returns its module `networks`."""

    def merge_lora_to_weight(patches: Sequence[Any], weight: Tensor, key: str = "") -> Tensor:
        for strength, (kind, (difference,)), *_ in patches:
            assert kind == "diff"
            weight = weight + strength * difference
        return weight

    def load_lora_for_models(model: Any, clip: Any, lora: Any, strength_model: float, *_: Any, filename: str) -> Any:
        model = model.clone()
        patches = {key.removesuffix(".diff"): ("diff", (value,)) for key, value in lora.items()}
        model.add_patches(filename=filename, patches=patches, strength_patch=strength_model)
        return model, clip

    def names(model: ForgeModel, found: dict[str, str]) -> dict[str, str]:
        return found | model.names

    lora: Any = ModuleType("backend.patcher.lora")
    lora.merge_lora_to_weight, lora.model_lora_keys_unet, lora.model_lora_keys_clip = merge_lora_to_weight, names, names
    operations: Any = ModuleType("backend.operations")
    operations.merge_lora_to_weight = merge_lora_to_weight
    patcher: Any = ModuleType("backend.patcher")
    patcher.lora = lora
    backend: Any = ModuleType("backend")
    backend.operations, backend.patcher = operations, patcher
    for module in (backend, operations, patcher, lora):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    networks: Any = ModuleType("networks")
    networks.load_lora_state_dict, networks.load_lora_for_models = load_file, load_lora_for_models
    return networks


def start(monkeypatch: pytest.MonkeyPatch, networks: Any, folder: Path) -> None:
    """Load the extension's script, as the web UI does at its start, and show the page."""
    waiting: list[Callable[[], None]] = []
    callbacks = SimpleNamespace(on_before_ui=waiting.append)
    monkeypatch.setitem(sys.modules, "modules", SimpleNamespace(script_callbacks=callbacks))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "networks", networks)
    monkeypatch.syspath_prepend(folder)
    for name in ("atomtune_a1111", "atomtune_forge"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    source = (folder / "scripts" / "atomtune_networks.py").read_text(encoding="utf-8")
    exec(compile(source, "atomtune_networks.py", "exec"), {"__name__": "atomtune_networks"})
    for callback in (*waiting, *waiting):  # the page can be shown again
        callback()
