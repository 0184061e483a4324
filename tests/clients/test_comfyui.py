"""The nodes for ComfyUI against a stand-in of its interfaces, which fails on any key that it would not match."""

import hashlib
import importlib.util
import json
import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import comfy_stand_in as comfy
from atomtune.adapt import adaptable_layers
from atomtune.files.atoms_file import AtomsInfo, save_atoms
from atomtune.files.atoms_file import load_atoms as load_atoms_file
from atomtune.files.stored_layers import name_for_comfyui
from atomtune.methods.atoms import Atoms
from atomtune.methods.specs import PRESETS
from atomtune.methods.textual_inversion import TOKEN_CHANGE
from atomtune.models.architecture import unet_on_meta
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.runtime.progress import Events
from atomtune.sampling.apply import applied
from atomtune.sampling.changes import read_atoms
from atomtune.training.train import train
from comfy_stand_in import Patcher, clip_model, clip_names, load_lora_file, lora_name, own_name, unet_model
from made import made_atoms

NODES = Path(__file__).parents[2] / "comfyui"


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The package as ComfyUI imports it: from its folder, under a name of ComfyUI's."""
    comfy.install(monkeypatch, tmp_path)
    name = "custom_nodes_atomtune"
    spec = importlib.util.spec_from_file_location(name, NODES / "__init__.py", submodule_search_locations=[str(NODES)])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    for part in ("", ".adapter", ".nodes"):
        monkeypatch.setitem(sys.modules, name + part, module)  # so that they are forgotten afterwards
    del sys.modules[f"{name}.adapter"], sys.modules[f"{name}.nodes"]
    spec.loader.exec_module(module)
    return module


def load_atoms(nodes: Any, model: Patcher, file: Path, strength: float = 1.0, clip: Patcher | None = None) -> Any:
    return nodes.NODE_CLASS_MAPPINGS["AtomtuneLoadAtoms"]().load(model, file.name, strength, strength, clip)


@pytest.fixture(scope="module")
def base(tiny_model: Path) -> Any:
    """The base model as atomtune has it."""
    return load_pipeline(resolve(str(tiny_model)))


def check_weights(patcher: Patcher, own: dict[str, str], pipeline: Any, part: str, file: Path, scale: float) -> None:
    """Every weight is what atomtune makes of it, to float16 rounding of α; `own` has ComfyUI's names of the layers."""
    model = getattr(pipeline, part)
    before = {layer: model.get_parameter(f"{layer}.weight").detach().clone() for layer in own}
    with applied(pipeline, read_atoms([(file, scale)]), Events()):
        for layer, key in own.items():
            wanted = model.get_parameter(f"{layer}.weight").detach()
            error = float((patcher.patched(key) - wanted).norm() / (wanted - before[layer]).norm())
            assert error < 1e-3, layer


@pytest.mark.parametrize("preset", ["c2", "c3", "lambda"])
def test_a_file_gives_the_merged_weights(
    preset: str, nodes: Any, base: Any, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "lambda", replace(PRESETS["c4"], sparsity=0.05))
    file = made_atoms(tmp_path / "castle.safetensors", tiny_model, preset=preset)
    model, layers = Patcher(unet_model(base.unet)), Atoms().plan(base.unet, PRESETS[preset])
    own = {layer.name: own_name(layer.name, base.unet.config) for layer in layers}
    for patched in (load_atoms(nodes, model, file, 0.7)[0], load_lora_file(model, None, file, 0.7)[0]):
        assert set(patched.patches) == set(own.values())
        check_weights(patched, own, base, "unet", file, 0.7)
    assert not model.patches


def test_the_text_encoder_learns_too(nodes: Any, base: Any, options: Callable[..., Any], tmp_path: Path) -> None:
    run = train(options(spec=PRESETS["c1"], steps=2, train_text_encoder=True, lr=1e-2), tmp_path / "run")
    file = run.atoms_file.rename(tmp_path / "castle.safetensors")
    model, clip = Patcher(unet_model(base.unet)), Patcher(clip_model(base.text_encoder))
    with pytest.raises(ValueError, match=r"changes \d+ layers that are not here, .*: connect clip"):
        load_atoms(nodes, model, file)
    own = clip_names(base.text_encoder)
    for patched in (load_lora_file(model, clip, file, 1.0)[1], load_atoms(nodes, model, file, clip=clip)[1]):
        assert patched is not None
        assert set(patched.patches) == set(own.values())
        check_weights(patched, own, base, "text_encoder", file, 1.0)


def test_every_change_is_of_the_base_weight_whatever_is_stacked(
    nodes: Any, base: Any, tiny_model: Path, tmp_path: Path
) -> None:
    one = made_atoms(tmp_path / "one.safetensors", tiny_model, preset="c2")
    two = made_atoms(tmp_path / "two.safetensors", tiny_model, preset="c3", seed=1, concept="rex", token="zwx")
    model = Patcher(unet_model(base.unet))
    layer = "mid_block.resnets.0.conv1"
    key = own_name(layer, base.unet.config)
    weight = base.unet.get_parameter(f"{layer}.weight").detach()
    lora = torch.randn(weight.shape, generator=torch.Generator().manual_seed(3))
    changes = {file: _change(base.unet, file, layer) for file in (one, two)}

    stacked = model.clone()
    stacked.add_patches({key: ("diff", (lora,))}, 0.5)
    stacked = load_lora_file(stacked, None, one, 0.7)[0]
    stacked, _, words = load_atoms(nodes, stacked, two, -0.2)
    expected = weight + 0.5 * lora + 0.7 * changes[one] - 0.2 * changes[two]
    assert torch.allclose(stacked.patched(key), expected, atol=1e-5)
    assert words == "zwx castle"
    half = sys.modules["comfy.lora"].calculate_weight(stacked.patches[key], weight.half(), key)  # as in low memory
    assert half.dtype == torch.float16
    assert torch.allclose(half.float(), expected, atol=2e-2)

    # nodes that merge models scale what the patches before left, and bring another model's weight with its patches
    blend = stacked.clone()
    blend.add_patches({key: load_lora_file(model, None, one, 1.0)[0].as_patch(key)}, 0.75, 0.25)
    blend = load_lora_file(blend, None, two, 1.0)[0]
    assert torch.allclose(
        blend.patched(key), 0.25 * expected + 0.75 * (weight + changes[one]) + changes[two], atol=1e-5
    )

    # hooks patch weights that have patches already, and tell what they were
    hooked = load_lora_file(model, None, one, 1.0)[0]
    result = sys.modules["comfy.lora"].calculate_weight(
        hooked.patches[key], expected.clone(), key, original_weights={key: stacked.as_patch(key)}
    )
    assert torch.allclose(result, expected + changes[one], atol=1e-5)


def _change(unet: Any, file: Path, layer: str) -> Tensor:
    (item,) = read_atoms([(file, 1.0)])
    spec = Atoms.spec.from_dict(item.info.spec)
    return Atoms().changes(unet, spec, item.tensors)[f"{layer}.weight"]


def test_what_cannot_come_out_right_is_refused_by_name(nodes: Any, base: Any, tiny_model: Path, tmp_path: Path) -> None:
    model = Patcher(unet_model(base.unet))
    file = made_atoms(tmp_path / "castle.safetensors", tiny_model)
    comfy_lora = sys.modules["comfy.lora"]

    patched = load_lora_file(model, None, file, 1.0)[0]
    key, [(_, adapter, *_)] = next(iter(patched.patches.items()))
    part = [(1.0, adapter, 1.0, (0, 0, 4), None)]
    with pytest.raises(ValueError, match=f"only a part of {key} is asked for"):
        comfy_lora.calculate_weight(part, model.model.weights[key].clone(), key)
    with pytest.raises(NotImplementedError, match=f"atoms need the base weight of {key}"):
        adapter.calculate_weight(model.model.weights[key], key, 1.0, 1.0, None, None)
    with pytest.raises(ValueError, match=f"the atoms of {adapter.layer.name} do not fit this model"):
        comfy_lora.calculate_weight(patched.patches[key], torch.zeros(7, 5), key)

    with pytest.raises(ValueError, match="without its metadata"):
        comfy_lora.load_lora(load_file(file), model.model.names)

    tensors, info, _ = load_atoms_file(file)
    save_atoms(tmp_path / "lora.safetensors", replace(info, method="lora"), tensors)
    for load in (load_atoms_of(nodes, model), lambda path: load_lora_file(model, None, path, 1.0)):
        with pytest.raises(ValueError, match=r"lora.safetensors was tuned by lora, and only atoms are read here"):
            load(tmp_path / "lora.safetensors")
    save_atoms(tmp_path / "token.safetensors", info, tensors | {f"text_encoder.{TOKEN_CHANGE}": torch.ones(16)})
    with pytest.raises(ValueError, match=r"also changes text_encoder\.token_embedding\.change, which cannot be read"):
        load_atoms(nodes, model, tmp_path / "token.safetensors")
    file.write_bytes(file.read_bytes()[:-2] + b"\0\1")
    with pytest.raises(ValueError, match=r"was altered or damaged.*\. fetch or train it again"):
        load_atoms(nodes, model, file)


def load_atoms_of(nodes: Any, model: Patcher) -> Callable[[Path], Any]:
    return lambda path: load_atoms(nodes, model, path)


def test_a_file_of_another_architecture_is_refused_whole(
    nodes: Any, base: Any, tiny_model: Path, tmp_path: Path
) -> None:
    file = made_atoms(tmp_path / "castle.safetensors", tiny_model)
    fewer = Patcher(unet_model(base.unet))
    fewer.model.names = {name: key for name, key in fewer.model.names.items() if "mid_block" not in name}
    with pytest.raises(ValueError, match=r"castle\.safetensors changes \d+ layers that are not here, as mid_block"):
        load_atoms(nodes, fewer, file)
    with pytest.raises(KeyError, match="keys of the file match nothing"):  # ComfyUI warns
        load_lora_file(fewer, None, file, 1.0)


def test_a_file_of_sd_v2_is_refused_by_sd_v1(nodes: Any, tmp_path: Path) -> None:
    """Their tiles have the same shapes, so that nothing but the widths of the text embeddings tells them apart."""
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    tensors = {f"{layer}.{name}": torch.eye(9, 256).half() for name in ("atoms", "delta_atoms")}
    info = AtomsInfo(
        "atoms", "c2", PRESETS["c2"].to_dict(), "a-model", "", "stable-diffusion-v2", "mug", "mug", "sks", [], 1, 1, {}
    )
    save_atoms(tmp_path / "mug.safetensors", info, tensors)
    other = Patcher(unet_model(unet_on_meta(resolve("CompVis/stable-diffusion-v1-4"))))
    said = f"the atoms of {layer} do not fit this model: they are for text embeddings of width 1024, not 768"
    with pytest.raises(ValueError, match=f"{said}. mug.safetensors was trained on a-model"):
        load_atoms(nodes, other, tmp_path / "mug.safetensors")
    patched = load_lora_file(other, None, tmp_path / "mug.safetensors", 1.0)[0]
    (key,) = patched.patches
    with pytest.raises(ValueError, match=said):
        sys.modules["comfy.lora"].calculate_weight(patched.patches[key], torch.zeros(320, 768), key)


# SHA-256 of "layer name key shape" of every layer as ComfyUI itself has them (a125cd84, October 2025): the rules of the
# stand-in against its own tables
FULL_SIZE = {
    "CompVis/stable-diffusion-v1-4": (282, "054f9c1b9461b194"),
    "stabilityai/stable-diffusion-2-1": (282, "ac07cc86359986ee"),
    "stabilityai/stable-diffusion-xl-base-1.0": (794, "3bcaa80a2e55942d"),
}


@pytest.mark.parametrize("name", FULL_SIZE)
def test_every_layer_of_the_full_models_has_its_name(name: str) -> None:
    unet: Any = unet_on_meta(resolve(name))
    layers = {layer: tuple(module.weight.shape) for layer, module in adaptable_layers(unet).items()}
    count, digest = FULL_SIZE[name]
    assert len(layers) == count
    table = "\n".join(
        f"{layer} {lora_name(layer)} {own_name(layer, unet.config)} {layers[layer]}" for layer in sorted(layers)
    )
    assert hashlib.sha256(table.encode()).hexdigest().startswith(digest)
    assert [name_for_comfyui(lora_name(layer)) for layer in layers] == list(layers)


def test_a_second_copy_of_the_package_changes_nothing(nodes: Any) -> None:
    before = sys.modules["comfy.lora"].calculate_weight
    sys.modules["custom_nodes_atomtune.adapter"].install()
    assert sys.modules["comfy.lora"].calculate_weight is before
    assert len(sys.modules["comfy.weight_adapter"].adapters) == 1


def test_the_example_workflow_is_of_this_node(nodes: Any, tmp_path: Path) -> None:
    (tmp_path / "mug.safetensors").touch()
    (path,) = (NODES / "example_workflows").glob("*.json")
    workflow = json.loads(path.read_text(encoding="utf-8"))
    (node,) = (node for node in workflow["nodes"] if node["type"] in nodes.NODE_CLASS_MAPPINGS)
    declared = nodes.NODE_CLASS_MAPPINGS[node["type"]]
    inputs = declared.INPUT_TYPES()["required"] | declared.INPUT_TYPES()["optional"]
    linked = {entry["name"]: entry["type"] for entry in node["inputs"]}
    assert linked == {name: kind for name, (kind, *_) in inputs.items() if name in linked}
    assert [output["type"] for output in node["outputs"]] == list(declared.RETURN_TYPES)
    assert len(node["widgets_values"]) == len(inputs) - len(linked)
    ends = {(link[1], link[2]) for link in workflow["links"]} | {(link[3], link[4]) for link in workflow["links"]}
    known = {node["id"] for node in workflow["nodes"]}
    assert {end for end, _ in ends} <= known


def test_the_picture_is_of_the_example_workflow() -> None:
    docs = NODES.parent / "docs"
    graph = runpy.run_path(str(docs / "graph.py"))
    workflow = json.loads(graph["WORKFLOW"].read_text(encoding="utf-8"))
    assert graph["PICTURE"].read_text(encoding="utf-8") == graph["picture"](workflow), "python docs/graph.py"
