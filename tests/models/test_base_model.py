"""Finding and loading base models, and what is said when that fails."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from atomtune.errors import AtomtuneError
from atomtune.methods.atoms import chosen_layers
from atomtune.methods.select import group_of
from atomtune.methods.specs import AtomsSpec
from atomtune.models.architecture import native_resolution, unet_on_meta
from atomtune.models.base_model import DEFAULT_MODEL, load_pipeline, load_unet, resolve
from atomtune.models.decomposition import load_or_decompose
from atomtune.runtime.progress import Events


def test_names_resolve(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    assert resolve().name == DEFAULT_MODEL
    assert resolve("pocket").is_local
    monkeypatch.setenv("ATOMTUNE_MODEL", str(tiny_model))
    assert resolve().location == str(tiny_model)
    assert resolve("pocket").name == "pocket"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "folder") for name in ("./nowhere", "/nowhere/model", "nowhere", "a/b/c", "a/b.ckpt/c")),
        *((name, "file") for name in ("./nowhere.safetensors", "nowhere.safetensors", "someone/model.safetensors")),
    ],
)
def test_missing_folders_and_files_are_said_to_be_missing(name: str, kind: str) -> None:
    with pytest.raises(AtomtuneError, match=f"there is no model {kind} {name}") as problem:
        resolve(name)
    assert "--model pocket" in (problem.value.hint or "")


def test_a_folder_that_is_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(AtomtuneError, match=r"model_index\.json"):
        resolve(str(tmp_path))


def test_a_hub_that_cannot_be_reached() -> None:
    with pytest.raises(
        AtomtuneError, match=r"cannot load someone/model: not in the cache .* \(HF_HUB_OFFLINE"
    ) as problem:
        load_pipeline(resolve("someone/model"))
    assert "--model pocket" in (problem.value.hint or "")


def test_a_damaged_folder_names_the_trouble(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(AtomtuneError, match=r"unet/diffusion_pytorch_model\.safetensors of .* cannot be read"):
        load_pipeline(resolve(str(folder)))


def test_other_pipelines_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "FluxPipeline"}))
    with pytest.raises(AtomtuneError, match="FluxPipeline, which is not supported"):
        load_pipeline(resolve(str(folder)))


def test_weights_in_float16_load_as_float32(tiny_model: Path, tmp_path: Path) -> None:
    load_pipeline(resolve(str(tiny_model))).to(dtype=torch.float16).save_pretrained(tmp_path / "half")
    pipeline = load_pipeline(resolve(str(tmp_path / "half")))
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        assert {parameter.dtype for parameter in part.parameters()} == {torch.float32}
        assert not any(parameter.requires_grad for parameter in part.parameters())


@pytest.mark.parametrize("kind", ["folder", "half", "fp16"])
def test_the_unet_alone_is_that_of_the_pipeline(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    source = resolve(str(tiny_model))
    if kind != "folder":
        variant = "fp16" if kind == "fp16" else None
        pipeline = load_pipeline(source).to(dtype=torch.float16)
        pipeline.save_pretrained(tmp_path / "other", variant=variant)
        source = resolve(str(tmp_path / "other"))
    unet, expected = load_unet(source), load_pipeline(source).unet.state_dict()
    assert not unet.training
    assert not any(parameter.requires_grad for parameter in unet.parameters())
    assert list(unet.state_dict()) == list(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in unet.state_dict().items())
    assert {parameter.dtype for parameter in unet.parameters()} == {torch.float32}


def test_the_unet_alone_needs_no_other_part(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    for part in ("vae", "text_encoder"):
        shutil.rmtree(folder / part)
    load_unet(resolve(str(folder)))


@pytest.mark.parametrize("trouble", ["other pipeline", "damaged", "pickles", "hub"])
def test_what_is_said_of_a_unet_alone_is_what_is_said_of_the_pipeline(
    trouble: str, tiny_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    if trouble == "other pipeline":
        index = json.loads((folder / "model_index.json").read_text())
        (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "FluxPipeline"}))
    elif trouble == "damaged":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif trouble == "pickles":
        weights.rename(weights.with_suffix(".bin"))
    source = resolve("someone/model" if trouble == "hub" else str(folder))
    said = []
    for load in (load_pipeline, load_unet):
        with pytest.raises(AtomtuneError) as problem:
            load(source)
        said.append((problem.value.message, problem.value.hint))
    assert said[0] == said[1]


def test_the_default_model_is_described_without_network() -> None:
    source = resolve()
    unet = unet_on_meta(source)
    assert sum(parameter.numel() for parameter in unet.parameters()) == 859_520_964
    assert {parameter.device.type for parameter in unet.parameters()} == {"meta"}
    assert native_resolution(source) == 512


def test_resolution_of_a_folder(tiny_model: Path) -> None:
    assert native_resolution(resolve(str(tiny_model))) == 32


@pytest.mark.parametrize("sparsity", [0.0, 0.05])
def test_a_decomposition_is_made_once(sparsity: float, tiny_model: Path) -> None:
    source, spec = resolve(str(tiny_model)), AtomsSpec(tile=4, sparsity=sparsity)
    unet = load_pipeline(source).unet
    made, first = load_or_decompose(unet, source, spec)
    found, second = load_or_decompose(unet, source, spec)
    assert (first.found, second.found) == (False, True)
    assert first.path == second.path
    assert first.total == second.total
    assert sum(group.layers for group in first.groups) == first.total.layers == len(made)
    assert list(made) == list(chosen_layers(unet, spec))
    assert [group.group for group in first.groups] == list(dict.fromkeys(map(group_of, made)))
    for name, part in made.items():
        assert torch.equal(part.atoms, found[name].atoms)
        weight = unet.get_submodule(name).weight
        assert (part.coefficients is None) == (found[name].coefficients is None) == (sparsity == 0.0)
        assert torch.equal(part.coded(weight), found[name].coded(weight))
    _, other = load_or_decompose(unet, source, AtomsSpec(tile=8, sparsity=sparsity))
    assert other.path != first.path


def test_a_damaged_cache_is_reported_and_made_again(tiny_model: Path) -> None:
    source, spec = resolve(str(tiny_model)), AtomsSpec(tile=4, layers="conv", sparsity=0.05)
    unet = load_pipeline(source).unet
    made, report = load_or_decompose(unet, source, spec)
    report.path.write_bytes(report.path.read_bytes()[:-10])
    warnings: list[str] = []

    class Heard(Events):
        def warn(self, text: str) -> None:
            warnings.append(text)

    again, second = load_or_decompose(unet, source, spec, events=Heard())
    assert not second.found
    assert "computed again" in warnings[0]
    for name, part in made.items():
        weight = unet.get_submodule(name).weight
        assert torch.equal(part.coded(weight), again[name].coded(weight))


@pytest.mark.parametrize("sparsity", [0.0, 0.05])
def test_the_reported_error_is_that_of_the_weights(sparsity: float, tiny_model: Path) -> None:
    source, spec = resolve(str(tiny_model)), AtomsSpec(tile=4, sparsity=sparsity)
    unet = load_pipeline(source).unet
    made, report = load_or_decompose(unet, source, spec)
    weights = {name: unet.get_submodule(name).weight.double() for name in made}
    residual = sum(
        float((weights[name] - part.reconstruct(unet.get_submodule(name).weight).double()).square().sum())
        for name, part in made.items()
    )
    energy = sum(float(weight.square().sum()) for weight in weights.values())
    assert report.total.relative_error == pytest.approx((residual / energy) ** 0.5, rel=1e-4)
