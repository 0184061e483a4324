"""A type of network modules for A1111: the atoms of a layer.

A1111 finds layers by kohya's names, so a file's layers get these as it is read. A module is handed the weight as the
networks before it left it; the base weight, from which α follows, is the backup that A1111 keeps.
"""

from functools import wraps
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from atomtune.export.lora_keys import kohya_name
from atomtune.files.stored_layers import StoredLayer, is_atoms_file, read_stored_layers
from atomtune.runtime.units import counted

_KEY = "atoms"
# of SDXL's UNet, all that the numbers of its blocks depend on
_XL = SimpleNamespace(layers_per_block=2, up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"])
_LATENTS = 4
"""Channels of latents; models for inpainting take others beside them, which A1111 pads changes for."""


def install(networks: ModuleType) -> None:
    """Add the type to A1111's list, and read atoms files for it; once, however often this is called.

    Args:
        networks: the module of this name of A1111's extension for LoRA files.
    """
    if any(type(one).__name__ == "ModuleTypeAtoms" for one in networks.module_types):
        return
    network: Any = networks.network  # type: ignore[attr-defined]

    class AtomsModule(network.NetworkModule):
        """The atoms of one layer."""

        def __init__(self, net: Any, weights: Any) -> None:
            super().__init__(net, weights)
            self.layer: StoredLayer = weights.w[_KEY]
            self.whole, self.place = _place(networks, weights)
            self.layer.check(_part(self.whole, self.place, "shape"))

        def calc_updown(self, orig_weight: torch.Tensor) -> Any:
            """A1111's call: ΔW times the multiplier, of the type of the weight."""
            base = _base(self.whole, self.place, orig_weight).to(orig_weight.device)
            updown = self.layer.delta(base).to(orig_weight.dtype)
            return self.finalize_updown(updown, orig_weight, updown.shape)

    class ModuleTypeAtoms(network.ModuleType):
        """Takes what `read_state_dict` below makes of an atoms file."""

        def create_module(self, net: Any, weights: Any) -> Any:
            """A1111's call: the module, or None for other kinds of files."""
            return AtomsModule(net, weights) if _KEY in weights.w else None

    networks.module_types.append(ModuleTypeAtoms())
    read_others, load = networks.sd_models.read_state_dict, networks.load_network

    @wraps(read_others)
    def read_state_dict(file: Any, *args: Any, **options: Any) -> Any:
        return _by_kohya_names(Path(file)) if is_atoms_file(file) else read_others(file, *args, **options)

    @wraps(load)
    def load_network(name: str, network_on_disk: Any) -> Any:
        net = load(name, network_on_disk)
        if is_atoms_file(network_on_disk.filename):
            layers, info = read_stored_layers(Path(network_on_disk.filename))
            found = {module.layer.name for module in net.modules.values()}
            if missing := sorted(set(layers) - found):
                # A1111 itself passes over them
                raise ValueError(
                    f"{name} changes {counted(len(missing), 'layer')} that this model does not have, "
                    f"as {missing[0]}: "
                    f"it was trained on {info.base} ({info.architecture})"
                )
        return net

    networks.sd_models.read_state_dict = read_state_dict
    networks.load_network = load_network


def _by_kohya_names(path: Path) -> dict[str, StoredLayer]:
    layers, info = read_stored_layers(path)
    is_xl = info.architecture.startswith("stable-diffusion-xl")
    found = {}
    for name, layer in layers.items():
        part, _, rest = name.partition(".")
        part, rest = (part, rest) if part.startswith("text_encoder") else ("unet", name)
        found[f"{kohya_name(part, rest, _XL, is_xl)}.{_KEY}"] = layer
    return found


def _place(networks: Any, weights: Any) -> tuple[Any, str]:
    """The module that A1111 keeps the backup of, and which part of its weight the layer is.

    OpenCLIP's text encoders have one attention for what are four layers elsewhere.
    """
    module = weights.sd_module
    for place in ("q_proj", "k_proj", "v_proj"):
        if isinstance(module, torch.nn.MultiheadAttention) and weights.sd_key.endswith(place):
            return module, place
    outer = networks.shared.sd_model.network_layer_mapping.get(weights.sd_key.removesuffix("_out_proj"))
    return (outer, "out_proj") if isinstance(outer, torch.nn.MultiheadAttention) else (module, "")


def _part(whole: Any, place: str, what: str = "weight") -> Any:
    if place == "out_proj":
        weight = whole.out_proj.weight
    elif place:
        weight = whole.in_proj_weight.chunk(3)["qkv".index(place[0])]
    else:
        weight = _of_latents(whole.weight)
    return weight.shape if what == "shape" else weight


def _base(whole: Any, place: str, current: torch.Tensor) -> torch.Tensor:
    """The base weight: held beside one in float8, else the backup; the weight itself where there is none yet."""
    half, backup = getattr(whole, "fp16_weight", None), getattr(whole, "network_weights_backup", None)
    if place and backup is not None:
        return backup[1] if place == "out_proj" else backup[0].chunk(3)["qkv".index(place[0])]
    base = half if half is not None else backup
    return _of_latents(current if base is None else base)


def _of_latents(weight: torch.Tensor) -> torch.Tensor:
    return weight[:, :_LATENTS] if weight.dim() == 4 and weight.shape[1] == 9 else weight
