"""The extension for A1111 and Forge, against stand-ins of their interfaces that fail on any key without a match."""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from atomtune.adapt import adaptable_layers
from atomtune.core.decompose import decompose
from atomtune.core.stored import stored_delta
from atomtune.export.lora_keys import kohya_name, original_name
from atomtune.files.atoms_file import AtomsInfo, save_atoms
from atomtune.methods.specs import PRESETS
from atomtune.models.architecture import unet_on_meta
from atomtune.models.base_model import resolve
from comfy_stand_in import own_name
from tiny import tiny_unet
from webui_stand_in import (
    ForgeModel,
    ForgePatcher,
    a1111,
    a1111_unet,
    apply_networks,
    forge,
    forge_unet,
    start,
)

EXTENSION = Path(__file__).parents[2] / "a1111"
ARCHITECTURE = "UNet2DConditionModel-8-16"


@pytest.fixture(scope="module")
def unet() -> Any:
    """As many blocks in a level as SD v1 has, which A1111's names count on."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return tiny_unet(layers_per_block=2)


def written(path: Path, weights: dict[str, Tensor], seed: int, architecture: str = ARCHITECTURE) -> dict[str, Tensor]:
    """Write an atoms file for these weights, by the layers' names in it; returns what it adds to each of them."""
    generator, tensors, deltas = torch.Generator().manual_seed(seed), {}, {}
    for name, weight in weights.items():
        atoms = decompose(weight.detach(), 4, 4, 0.0).atoms.half()
        own = {"atoms": atoms, "delta_atoms": (0.05 * torch.randn(atoms.shape, generator=generator)).half()}
        tensors |= {f"{name}.{key}": tensor for key, tensor in own.items()}
        deltas[name] = stored_delta(weight.detach(), own, 0.0)
    spec = PRESETS["c2"].to_dict()
    info = AtomsInfo("atoms", "c2", spec, "a-model", "", architecture, "mug", "mug", "sks", [], 1, 1, {})
    save_atoms(path, info, tensors)
    return deltas


def unet_weights(unet: Any) -> dict[str, Tensor]:
    return {name: layer.weight.detach().clone() for name, layer in adaptable_layers(unet).items()}  # type: ignore[operator,union-attr]


def on_disk(path: Path) -> Any:
    return SimpleNamespace(filename=str(path))


def test_a1111_adds_files_up_each_from_the_base_weights(
    unet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapping, keys = a1111_unet(unet)
    networks = a1111(mapping, keys)
    start(monkeypatch, networks, EXTENSION)
    assert len(networks.module_types) == 2
    before = unet_weights(unet)
    deltas = [written(tmp_path / f"{n}.safetensors", before, seed=n) for n in (1, 2)]
    # another network first, so that the weight which the atoms' modules are handed is not the base weight
    lora = {name: 0.1 * torch.ones_like(weight) for name, weight in mapping_weights(mapping).items()}
    save_file({f"{key}.diff": lora[own] for key, own in keys.items()}, tmp_path / "lora.safetensors")
    loaded = [networks.load_network(n, on_disk(tmp_path / f"{n}.safetensors")) for n in ("lora", "1", "2")]
    loaded[1].unet_multiplier, loaded[2].unet_multiplier = 0.7, -0.2
    apply_networks(mapping, loaded)
    for name, weight in unet_weights(unet).items():
        expected = before[name] + 0.1 + 0.7 * deltas[0][name] - 0.2 * deltas[1][name]
        assert torch.allclose(weight, expected, atol=1e-5), name
    apply_networks(mapping, [])
    assert all(torch.equal(weight, before[name]) for name, weight in unet_weights(unet).items())


def mapping_weights(mapping: dict[str, nn.Module]) -> dict[str, Tensor]:
    return {name: layer.weight.detach() for name, layer in mapping.items()}  # type: ignore[operator,union-attr]


def test_a1111_knows_the_attention_of_openclip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its query, key and value are rows of one weight, and its output is no layer of A1111's."""
    torch.manual_seed(0)
    attention, own = nn.MultiheadAttention(16, 2), "model_transformer_resblocks_0_attn"
    parts = dict(zip("qkv", attention.in_proj_weight.detach().clone().chunk(3), strict=True))
    weights = {f"text_encoder.encoder.layers.0.self_attn.{part}_proj": weight for part, weight in parts.items()}
    weights["text_encoder.encoder.layers.0.self_attn.out_proj"] = attention.out_proj.weight.detach().clone()
    prefix = "lora_te_text_model_encoder_layers_0_self_attn"
    keys = {f"{prefix}_{part}_proj": f"{own}_{part}_proj" for part in ("q", "k", "v", "out")}
    mapping: dict[str, nn.Module] = {own: attention}
    networks = a1111({**mapping, f"{own}_out_proj": attention.out_proj}, keys)
    start(monkeypatch, networks, EXTENSION)
    one = written(tmp_path / "one.safetensors", weights, seed=1)
    two = written(tmp_path / "two.safetensors", weights, seed=2)
    apply_networks(mapping, [networks.load_network(n, on_disk(tmp_path / f"{n}.safetensors")) for n in ("one", "two")])
    found = [*attention.in_proj_weight.chunk(3), attention.out_proj.weight]
    for name, weight in zip(weights, found, strict=True):
        assert torch.allclose(weight, weights[name] + one[name] + two[name], atol=1e-5), name


def test_a1111_refuses_what_it_would_pass_over(unet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mapping, keys = a1111_unet(unet)
    fewer = {name: layer for name, layer in mapping.items() if "middle_block" not in name}
    networks = a1111(fewer, keys)
    start(monkeypatch, networks, EXTENSION)
    networks.strict = False
    written(tmp_path / "mug.safetensors", unet_weights(unet), seed=1)
    with pytest.raises(ValueError, match=r"mug changes \d+ layers that this model does not have, as mid_.*a-model"):
        networks.load_network("mug", on_disk(tmp_path / "mug.safetensors"))
    written(tmp_path / "mug.safetensors", unet_weights(unet), 1, "stable-diffusion-v2")
    networks = a1111(mapping, keys)
    start(monkeypatch, networks, EXTENSION)
    with pytest.raises(ValueError, match=r"attn2.to_k do not fit this model: .* of width 1024, not 16"):
        networks.load_network("mug", on_disk(tmp_path / "mug.safetensors"))


def test_forge_adds_files_up_each_from_the_base_weights(
    unet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = forge(monkeypatch)
    start(monkeypatch, networks, EXTENSION)
    model, clip = ForgePatcher(forge_unet(unet)), ForgePatcher(ForgeModel({}, {}))
    before, layer = unet_weights(unet), "mid_block.resnets.0.conv1"
    key = own_name(layer, unet.config)
    deltas = [written(tmp_path / f"{n}.safetensors", before, seed=n) for n in (1, 2)]
    save_file({f"{key}.diff": torch.ones_like(before[layer])}, tmp_path / "lora.safetensors")
    for name, scale in (("lora", 0.1), ("1", 0.7), ("2", -0.2)):
        file = str(tmp_path / f"{name}.safetensors")
        state = networks.load_lora_state_dict(file)
        model, clip = networks.load_lora_for_models(model, clip, state, scale, 0.0, filename=file)
    assert len(model.lora_patches) == 3
    expected = before[layer] + 0.1 + 0.7 * deltas[0][layer] - 0.2 * deltas[1][layer]
    assert torch.allclose(model.patched(key), expected, atol=1e-5)
    fewer = ForgePatcher(ForgeModel(model.model.weights, {}))
    with pytest.raises(ValueError, match=r"2\.safetensors changes \d+ layers that this model does not have.*a-model"):
        networks.load_lora_for_models(fewer, clip, state, 1.0, 1.0, filename=file)
    other = ForgePatcher(ForgeModel({name: torch.zeros(5, 7) for name in model.model.weights}, model.model.names))
    with pytest.raises(ValueError, match="do not fit this model: a weight of shape"):
        networks.load_lora_for_models(other, clip, state, 1.0, 1.0, filename=file)


# SHA-256 of "layer kohya's own shape" of every layer as A1111's own code matches them (1.10, names of its UNets)
FULL_SIZE = {
    "CompVis/stable-diffusion-v1-4": (282, "bd3e8417862fe0f2"),
    "stabilityai/stable-diffusion-2-1": (282, "bd2ce6220f2902ec"),
    "stabilityai/stable-diffusion-xl-base-1.0": (794, "7b4573f093a004f5"),
}


@pytest.mark.parametrize("name", FULL_SIZE)
def test_every_layer_of_the_full_models_has_its_name(name: str) -> None:
    unet: Any = unet_on_meta(resolve(name))
    is_xl, (count, digest) = "xl" in name, FULL_SIZE[name]
    rows = []
    for layer, module in adaptable_layers(unet).items():
        own = f"diffusion_model_{original_name(layer, unet.config).replace('.', '_')}"
        rows.append(f"{layer} {kohya_name('unet', layer, unet.config, is_xl)} {own} {tuple(module.weight.shape)}")
    assert len(rows) == count
    assert hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest().startswith(digest)
