"""Concepts as LoRA files: what other programs find in them, and what they draw with them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from atomtune.adapt import adaptable_layers
from atomtune.errors import AtomtuneError
from atomtune.export.lora_keys import original_name
from atomtune.export.result import ExportResult
from atomtune.methods import METHODS
from atomtune.methods.specs import RankSpec
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.runtime.progress import Events
from atomtune.sampling.apply import changes_of, merge_atoms
from atomtune.sampling.changes import read_atoms
from atomtune.training.options import TrainOptions
from atomtune.training.train import train
from made import WHOLE, export_to, made_atoms
from photo_files import Heard
from tiny import tiny_v2, tiny_xl

Options = Callable[..., TrainOptions]

each_form = pytest.mark.parametrize("to", ["lora", "lora-diffusers"])


@pytest.fixture(scope="module")
def atoms(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_atoms(tmp_path_factory.mktemp("atoms") / "castle.safetensors", tiny_model)


@pytest.fixture(scope="module")
def models(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {"v1": tiny_model, "v2": tiny_v2(folder / "v2"), "xl": tiny_xl(folder / "xl")}


def loaded(model: Path) -> Any:
    pipeline = load_pipeline(resolve(str(model)))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawn(pipeline: Any) -> np.ndarray:
    generator = torch.Generator().manual_seed(5)
    image: Image.Image = pipeline("a sks castle", num_inference_steps=3, generator=generator).images[0]
    return np.asarray(image).astype(int)


def worn(model: Path, file: Path) -> Any:
    """A pipeline of diffusers that has loaded a LoRA, which is all that another program does with it."""
    pipeline = loaded(model)
    pipeline.load_lora_weights(str(file.parent), weight_name=file.name)
    return pipeline


def fused(model: Path, file: Path) -> Any:
    pipeline = worn(model, file)
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    return pipeline


def parameters(pipeline: Any) -> dict[str, Tensor]:
    parts = {name: part for name, part in pipeline.components.items() if name.startswith(("unet", "text_encoder"))}
    return {f"{name}.{key}": p.detach() for name, part in parts.items() for key, p in part.named_parameters()}


def approximated(model: Path, files: list[tuple[Path, float]], rank: int) -> Any:
    """A pipeline whose every weight is changed by the nearest matrix of this rank, from a whole SVD."""
    pipeline = loaded(model)
    total: dict[tuple[str, str], Tensor] = {}
    for item in read_atoms(files):
        for part, changes in changes_of(pipeline, item, Events()).items():
            for name, change in changes.deltas.items():
                total[part, name] = total.get((part, name), torch.zeros_like(change)) + item.scale * change
    for (part, name), change in total.items():
        u, s, v = torch.linalg.svd(change.flatten(1), full_matrices=False)
        with torch.no_grad():
            getattr(pipeline, part).get_parameter(name).add_(((u * s)[:, :rank] @ v[:rank]).view(change.shape))
    return pipeline


def check_same(ours: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    own = parameters(ours)
    other = parameters(theirs)
    assert set(own) == set(other)
    for name, parameter in own.items():
        torch.testing.assert_close(other[name], parameter, atol=tolerance, rtol=0, msg=name)


@each_form
@pytest.mark.parametrize("rank", [2, WHOLE])
def test_diffusers_generates_what_the_approximation_generates(
    to: str, rank: int, atoms: Path, tiny_model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "castle-lora.safetensors"
    result = export_to([(atoms, 1.0)], file, rank=rank, to=to, precision="fp32")
    ours = approximated(tiny_model, [(atoms, 1.0)], rank)
    check_same(ours, fused(tiny_model, file))
    image, base = drawn(worn(tiny_model, file)), drawn(loaded(tiny_model))
    assert np.abs(image - drawn(ours)).max() <= 1
    assert np.abs(image - base).max() > 8, "the atoms change nothing, so nothing is shown"
    if rank == WHOLE:
        sides = [min(len(p), p[0].numel()) for p in ours.unet.parameters() if p.dim() > 1]
        assert result.rank == max(sides) < WHOLE
        merged = loaded(tiny_model)
        merge_atoms(merged, read_atoms([(atoms, 1.0)]), Events())
        assert np.abs(image - drawn(merged)).max() <= 1


@each_form
@pytest.mark.parametrize("kind", ["v1", "v2", "xl"])
def test_text_encoders_and_other_models_load_too(
    to: str, kind: str, models: dict[str, Path], options: Options, tmp_path: Path
) -> None:
    model = models[kind]
    run = train(options(model=str(model), train_text_encoder=True, steps=2, lr=1e-2), tmp_path / "run")
    file = tmp_path / "castle-lora.safetensors"
    result = export_to([(run.atoms_file, 1.0)], file, rank=WHOLE, to=to, precision="fp32")
    merged, base = loaded(model), parameters(loaded(model))
    merge_atoms(merged, read_atoms([(run.atoms_file, 1.0)]), Events())
    moved = [name for name, parameter in parameters(merged).items() if not torch.equal(parameter, base[name])]
    assert result.layers == len(moved)
    encoders = {"text_encoder", "text_encoder_2"} if kind == "xl" else {"text_encoder"}
    assert {name.partition(".")[0] for name in moved} == {"unet", *encoders}
    if (to, kind) == (
        "lora",
        "v2",
    ):  # as for kohya's scripts: diffusers takes no factors with the sides of a kernel here
        factors = load_file(file)
        sided = {
            key for key, factor in factors.items() if "_proj_" in key and "attentions" in key and factor.dim() == 4
        }
        assert len(sided) == 2 * sum(".proj_" in name for name in adaptable_layers(merged.unet) if "attn" not in name)
        flat = {key: factor.flatten(1) if key in sided else factor for key, factor in factors.items()}
        save_file(flat, file := tmp_path / "flat.safetensors")
    check_same(merged, fused(model, file))
    prefixes = {"unet", "te1", "te2"} if kind == "xl" else {"unet", "te"}
    keys = set(load_file(file))
    if to == "lora":
        assert {key.split("_")[1] for key in keys} == prefixes
        assert not any("text_encoder" in key for key in keys)


def test_keys_and_shapes_of_a_file_for_uis(atoms: Path, tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "castle-lora.safetensors"
    export_to([(atoms, 1.0)], file, rank=6)
    tensors = load_file(file)
    layers = adaptable_layers(loaded(tiny_model).unet)
    assert len(tensors) == 3 * len(layers)
    for name, layer in layers.items():
        key = "lora_unet_" + name.replace(".", "_")
        weight = layer.get_parameter("weight")
        down, up, alpha = (tensors[f"{key}.{kind}"] for kind in ("lora_down.weight", "lora_up.weight", "alpha"))
        rank = min(6, len(weight), weight[0].numel())  # no more than a layer of this size can use
        assert down.shape == (rank, *weight.shape[1:])
        assert up.shape == ((len(weight), rank, 1, 1) if weight.dim() == 4 else (len(weight), rank))
        assert (down.dtype, up.dtype, alpha.item()) == (torch.float16, torch.float16, 6)
        assert bool((down.flatten(1) != 0).any(1).all())
    for name in ("time_embedding_linear_1", "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0"):
        assert f"lora_unet_{name}.lora_up.weight" in tensors


def test_a_file_for_diffusers_has_its_names_and_no_alpha(atoms: Path, tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "castle-lora.safetensors"
    export_to([(atoms, 1.0)], file, rank=6, to="lora-diffusers")
    tensors = load_file(file)
    layers = adaptable_layers(loaded(tiny_model).unet)
    assert set(tensors) == {f"unet.{name}.lora_{side}.weight" for name in layers for side in "AB"}
    for name, layer in layers.items():
        weight = layer.get_parameter("weight")
        rank = min(6, len(weight), weight[0].numel())
        assert len(tensors[f"unet.{name}.lora_A.weight"]) == tensors[f"unet.{name}.lora_B.weight"].shape[1] == rank


def test_sdxl_has_the_names_of_its_own_code(models: dict[str, Path]) -> None:
    """Back through diffusers' own converter every layer has its own name again."""
    from diffusers.loaders.lora_conversion_utils import (
        _convert_non_diffusers_lora_to_diffusers,
        _maybe_map_sgm_blocks_to_diffusers,
    )
    from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft

    unet = loaded(models["xl"]).unet
    layers = list(adaptable_layers(unet))
    names = {name: original_name(name, unet.config) for name in layers}
    assert len(set(names.values())) == len(layers)
    state = {
        f"lora_unet_{name.replace('.', '_')}.lora_{side}.weight": torch.zeros(1)
        for name in names.values()
        for side in ("down", "up")
    }
    back, _ = _convert_non_diffusers_lora_to_diffusers(_maybe_map_sgm_blocks_to_diffusers(state, unet.config))
    found = {key.removeprefix("unet.").rpartition(".lora_")[0] for key in convert_unet_state_dict_to_peft(back)}
    assert found == set(layers)


def test_names_of_the_full_sdxl() -> None:
    """As in files trained by kohya's scripts, where the attention blocks are 4, 5, 7, 8 down and 0 to 5 up."""
    from atomtune.models.architecture import unet_on_meta

    unet: Any = unet_on_meta(resolve("stabilityai/stable-diffusion-xl-base-1.0"))
    names = {original_name(name, unet.config) for name in adaptable_layers(unet)}
    attention = {re.sub(r"\.transformer_blocks.*", "", name) for name in names if ".attn1.to_q" in name}
    down, up = [f"input_blocks.{i}.1" for i in (4, 5, 7, 8)], [f"output_blocks.{i}.1" for i in range(6)]
    assert attention == {*down, "middle_block.1", *up}
    assert {"input_blocks.3.0.op", "input_blocks.6.0.op", "output_blocks.2.2.conv", "output_blocks.5.2.conv"} <= names
    assert {"input_blocks.0.0", "out.2", "time_embed.2", "label_emb.0.0", "output_blocks.8.0.skip_connection"} <= names


def test_a_lora_comes_out_as_it_was(options: Options, tiny_model: Path, tmp_path: Path) -> None:
    spec = RankSpec(rank=3, alpha=6)
    run = train(options(method="lora", spec=spec, lr=1e-2, steps=3), tmp_path / "run")
    result = export_to([(run.atoms_file, 1.0)], tmp_path / "a.safetensors", rank=3, precision="fp32")
    assert result.relative_error < 1e-6
    rounded = export_to([(run.atoms_file, 1.0)], tmp_path / "b.safetensors", rank=3)
    assert 1e-6 < rounded.relative_error < 1e-3
    smaller = export_to([(run.atoms_file, 1.0)], tmp_path / "c.safetensors", rank=2, precision="fp32")
    assert smaller.relative_error > 1e-3


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"full", "bitfit", "difffit", "textual-inversion"}))
def test_every_method_that_changes_weights_alone(name: str, options: Options, tiny_model: Path, tmp_path: Path) -> None:
    small: dict[str, Any] = {"atoms": {"atoms": 4, "tile": 4}, "loldu": {"rank": 4, "alpha": 4}}
    run = train(
        options(method=name, spec=METHODS[name].spec(**small.get(name, {})), lr=1e-2, steps=2), tmp_path / "run"
    )
    file = tmp_path / "lora.safetensors"
    assert export_to([(run.atoms_file, 1.0)], file, rank=WHOLE, precision="fp32").relative_error < 1e-5
    merged = loaded(tiny_model)
    merge_atoms(merged, read_atoms([(run.atoms_file, 1.0)]), Events())
    check_same(merged, fused(tiny_model, file))


@pytest.mark.parametrize("name", ["full", "bitfit", "difffit", "textual-inversion"])
def test_what_no_lora_can_hold_is_refused(name: str, options: Options, tmp_path: Path) -> None:
    run = train(options(method=name, spec=METHODS[name].spec(), lr=1e-2, steps=2), tmp_path / "run")
    with pytest.raises(AtomtuneError, match=r"a LoRA cannot hold the change of (unet|text_encoder)") as raised:
        export_to([(run.atoms_file, 1.0)], tmp_path / "lora.safetensors")
    assert raised.value.hint is not None
    assert "--to checkpoint" in raised.value.hint
    assert not list(tmp_path.glob("*lora*"))


def test_a_token_of_its_own_is_refused(options: Options, tmp_path: Path) -> None:
    run = train(options(train_token=True, lr=1e-2, steps=2), tmp_path / "run")
    with pytest.raises(AtomtuneError, match=r"the change of text_encoder\.\S*token_embedding\.weight$"):
        export_to([(run.atoms_file, 1.0)], tmp_path / "lora.safetensors")


def test_files_add_up_before_they_are_approximated(atoms: Path, tiny_model: Path, tmp_path: Path) -> None:
    other = made_atoms(tmp_path / "teapot.safetensors", tiny_model, seed=1, concept="teapot", class_noun="teapot")
    files = [(atoms, 0.7), (other, -0.4)]
    result = export_to(files, tmp_path / "both.safetensors", rank=3, precision="fp32")
    check_same(approximated(tiny_model, files, 3), fused(tiny_model, result.output))
    assert [(item.trigger, item.scale) for item in result.atoms] == [("sks castle", 0.7), ("sks teapot", -0.4)]
    with safe_open(result.output, framework="pt") as handle:
        assert handle.metadata()["modelspec.trigger_phrase"] == "sks castle, sks teapot"


def test_the_errors_are_those_of_the_whole_svd(atoms: Path, tiny_model: Path, tmp_path: Path) -> None:
    pipeline = loaded(tiny_model)
    (item,) = read_atoms([(atoms, 1.0)])
    squares = {}
    for name, change in changes_of(pipeline, item, Events())["unet"].deltas.items():
        values = torch.linalg.svdvals(change.flatten(1).double()).square()
        squares[f"unet.{name.removesuffix('.weight')}"] = (float(values.sum()), float(values[2:].sum()))
    result = export_to([(atoms, 1.0)], tmp_path / "a.safetensors", rank=2, precision="fp32")
    whole, lost = (sum(pair[i] for pair in squares.values()) for i in (0, 1))
    assert result.relative_error == pytest.approx((lost / whole) ** 0.5, rel=1e-4)
    errors = {name: (left / size) ** 0.5 for name, (size, left) in squares.items()}
    assert result.worst_error == pytest.approx(max(errors.values()), rel=1e-4)
    assert errors[result.worst_layer] == pytest.approx(result.worst_error, rel=1e-4)
    assert result.bytes == result.output.stat().st_size


def test_an_error_above_a_half_is_said(atoms: Path, tmp_path: Path) -> None:
    heard: dict[int, ExportResult] = {}
    for rank in (1, WHOLE):
        events = Heard()
        heard[rank] = export_to([(atoms, 1.0)], tmp_path / f"{rank}.safetensors", rank=rank, events=events)
        assert len([warning for warning in events.warnings if "relative error" in warning]) == (rank == 1)
    assert heard[1].relative_error > 0.5 > heard[WHOLE].relative_error


def test_the_header_says_what_is_known(models: dict[str, Path], atoms: Path, tmp_path: Path) -> None:
    def header(file: Path, **changes: Any) -> dict[str, str]:
        export_to([(file, 1.0)], tmp_path / "mine.safetensors", rank=4, overwrite=True, **changes)
        with safe_open(tmp_path / "mine.safetensors", framework="pt") as handle:
            found: dict[str, str] = handle.metadata()
        return found

    known = header(atoms)
    assert known["modelspec.title"] == "castle"
    assert known["modelspec.trigger_phrase"] == "sks castle"
    assert known["modelspec.architecture"].endswith("/lora")
    assert (known["modelspec.implementation"], known["modelspec.prediction_type"]) == ("diffusers", "epsilon")
    assert (known["ss_network_dim"], known["ss_network_alpha"], known["ss_network_module"]) == (
        "4",
        "4",
        "networks.lora",
    )
    assert json.loads(known["ss_network_args"]) == {"conv_dim": "4", "conv_alpha": "4"}
    assert (known["ss_output_name"], known["ss_sd_model_name"]) == ("mine", models["v1"].name)
    assert json.loads(known["atoms"])[0]["trigger"] == "sks castle"
    assert "ss_v2" not in known, "what the tiny model is has no name there"
    assert "ss_network_module" not in header(atoms, to="lora-diffusers")
    for kind, prediction, code in (("v2", "v", "diffusers"), ("xl", "epsilon", "https://github.com/Stability-AI")):
        other = header(made_atoms(tmp_path / f"{kind}.safetensors", models[kind]))
        assert other["modelspec.prediction_type"] == prediction
        assert other["modelspec.implementation"].startswith(code)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same_factors(atoms: Path, tiny_model: Path, tmp_path: Path) -> None:
    result = export_to([(atoms, 1.0)], tmp_path / "a.safetensors", rank=3, precision="fp32", device="cuda")
    check_same(approximated(tiny_model, [(atoms, 1.0)], 3), fused(tiny_model, result.output))
