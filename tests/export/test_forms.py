"""The forms of an export in other programs' code: whole changes, checkpoints, embeddings, and the rank of a LoRA."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from atomtune.errors import AtomtuneError
from atomtune.export.checkpoint import read_again
from atomtune.export.export import export
from atomtune.export.factors import rungs
from atomtune.export.options import ExportOptions
from atomtune.export.result import WorseThanPromisedError
from atomtune.methods import METHODS
from atomtune.methods.textual_inversion import token_table
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.models.components import token_ids
from atomtune.runtime.progress import Events
from atomtune.sampling.apply import merge_atoms
from atomtune.sampling.changes import read_atoms
from atomtune.sampling.options import Settings
from atomtune.training.options import TrainOptions
from atomtune.training.train import train
from made import export_to, made_atoms
from photo_files import Heard
from tiny import tiny_v2, tiny_xl

Options = Callable[..., TrainOptions]


@pytest.fixture(scope="module")
def atoms(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_atoms(tmp_path_factory.mktemp("atoms") / "castle.safetensors", tiny_model)


@pytest.fixture(scope="module")
def models(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {"v1": tiny_model, "v2": tiny_v2(folder / "v2"), "xl": tiny_xl(folder / "xl")}


def merged(model: Path, atoms: Path) -> Any:
    pipeline = load_pipeline(resolve(str(model)))
    merge_atoms(pipeline, read_atoms([(atoms, 1.0)]), Events())
    return pipeline


def parameters(pipeline: Any) -> dict[str, Tensor]:
    parts = {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.named_parameters()}


@pytest.mark.parametrize("kind", ["v1", "v2", "xl"])
def test_a_checkpoint_is_the_merged_model_in_one_file(kind: str, models: dict[str, Path], tmp_path: Path) -> None:
    model = models[kind]
    atoms = made_atoms(tmp_path / "castle.safetensors", model)
    file = tmp_path / "castle-checkpoint.safetensors"
    result = export_to([(atoms, 1.0)], file, to="checkpoint")
    assert 0 < result.relative_error < 0.01
    wanted = parameters(merged(model, atoms))
    read = parameters(read_again(file, load_pipeline(resolve(str(model)))))
    assert set(read) == set(wanted)
    assert all(torch.equal(read[name], wanted[name].half().float()) for name in wanted)
    exact = export_to([(atoms, 1.0)], file, to="checkpoint", precision="fp32", overwrite=True)
    assert exact.relative_error == 0


def test_a_diff_holds_every_change_whole(atoms: Path, tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "castle-diff.safetensors"
    result = export_to([(atoms, 1.0)], file, to="diff", precision="fp32")
    base, wanted = parameters(load_pipeline(resolve(str(tiny_model)))), parameters(merged(tiny_model, atoms))
    tensors = load_file(file)
    moved = [name for name in wanted if not torch.equal(base[name], wanted[name])]
    assert len(tensors) == len(moved) == result.layers
    for name in moved:
        key = "lora_unet_" + name.removeprefix("unet.").removesuffix(".weight").replace(".", "_") + ".diff"
        torch.testing.assert_close(base[name] + tensors[key], wanted[name], atol=1e-6, rtol=0)
    assert result.relative_error < 1e-5 < export_to([(atoms, 1.0)], file, to="diff", overwrite=True).relative_error


@pytest.mark.parametrize("to", ["lora", "diff"])
def test_lycoris_merges_the_file(to: str, atoms: Path, tiny_model: Path, tmp_path: Path) -> None:
    from lycoris import utils as lycoris

    file = tmp_path / "castle.safetensors"
    export_to([(atoms, 1.0)], file, to=to, precision="fp32")
    pipeline = load_pipeline(resolve(str(tiny_model)))
    lycoris.merge([pipeline.text_encoder], pipeline.unet, load_file(file))
    own, wanted = parameters(pipeline), parameters(merged(tiny_model, atoms))
    for name in wanted:
        torch.testing.assert_close(own[name], wanted[name], atol=1e-5, rtol=0, msg=name)


def test_an_embedding_loads_in_diffusers(options: Options, tiny_model: Path, tmp_path: Path) -> None:
    method = METHODS["textual-inversion"]
    run = train(options(method="textual-inversion", spec=method.spec(), lr=0.1, steps=2), tmp_path / "run")
    file = tmp_path / "mug.safetensors"
    result = export_to([(run.atoms_file, 1.0)], file, to="embedding")
    assert result.relative_error < 1e-5
    pipeline, wanted = load_pipeline(resolve(str(tiny_model))), merged(tiny_model, run.atoms_file)
    own = token_table(wanted.text_encoder)[1].weight[token_ids(wanted.tokenizer, "sks")[0]]
    pipeline.load_textual_inversion(str(file), token="mug-embedding")
    loaded = token_table(pipeline.text_encoder)[1].weight[pipeline.tokenizer.convert_tokens_to_ids("mug-embedding")]
    assert torch.allclose(own, loaded, atol=1e-6)
    with pytest.raises(AtomtuneError, match="a LoRA cannot hold"):
        export_to([(run.atoms_file, 1.0)], tmp_path / "lora.safetensors")


def test_an_embedding_of_sdxl_has_a_row_for_each_encoder(
    models: dict[str, Path], options: Options, tmp_path: Path
) -> None:
    spec = METHODS["textual-inversion"].spec()
    wanted = options(model=str(models["xl"]), method="textual-inversion", spec=spec, lr=0.1, steps=2)
    file = tmp_path / "mug.safetensors"
    export_to([(train(wanted, tmp_path / "run").atoms_file, 1.0)], file, to="embedding")
    assert {name: tuple(row.shape) for name, row in load_file(file).items()} == {"clip_l": (1, 16), "clip_g": (1, 24)}


def test_atoms_are_no_embedding(atoms: Path, tmp_path: Path) -> None:
    with pytest.raises(AtomtuneError, match=r"an embedding cannot hold the change of unet\."):
        export_to([(atoms, 1.0)], tmp_path / "mug.safetensors", to="embedding")


def test_the_rank_is_the_smallest_that_reaches_the_psnr(
    atoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atomtune.export.image_difference.SETTINGS", Settings(steps=1))
    monkeypatch.setattr("atomtune.export.rank._FIRST", 4)

    def exported(**said: Any) -> Any:
        return export_to([(atoms, 1.0)], tmp_path / "castle.safetensors", overwrite=True, **said)

    far, near = exported(rank=1, psnr=1.0), exported(rank=6, psnr=1.0)
    assert far.psnr < near.psnr
    found = exported(psnr=near.psnr)
    assert found.psnr >= near.psnr
    assert 1 < found.rank <= 6
    below = max(rank for rank in rungs(16) if rank < found.rank)
    assert exported(rank=below, psnr=1.0).psnr < near.psnr
    with pytest.raises(WorseThanPromisedError, match=r"its images are .* dB from those of the atoms, not 90") as raised:
        exported(rank=1, psnr=90.0)
    assert raised.value.result.psnr == pytest.approx(far.psnr)


def test_what_the_layers_see_decides_what_a_lora_keeps(
    atoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atomtune.export.image_difference.SETTINGS", Settings(steps=1))
    plain = export_to([(atoms, 1.0)], tmp_path / "plain.safetensors", rank=2)
    seen = export([(atoms, 1.0)], tmp_path / "seen.safetensors", ExportOptions(rank=2, preview=False, precision="fp32"))
    assert plain.weighted_error is None
    assert seen.weighted_error is not None
    assert seen.weighted_error < plain.relative_error < seen.relative_error
    whole = export(
        [(atoms, 1.0)], tmp_path / "seen.safetensors", ExportOptions(rank=1000, preview=False), overwrite=True
    )
    assert whole.relative_error < 2e-3


def test_ranks_grow_by_halves() -> None:
    assert list(rungs(20)) == [1, 2, 3, 4, 6, 8, 12, 16, 20]
    assert list(rungs(1)) == [1]


def test_a_lora_as_large_as_the_whole_change_is_pointed_out(atoms: Path, tmp_path: Path) -> None:
    heard = Heard()
    export([(atoms, 1.0)], tmp_path / "large.safetensors", ExportOptions(rank=64, preview=False), events=heard)
    assert any("--to diff writes that" in warning for warning in heard.warnings)
    heard.warnings.clear()
    export([(atoms, 1.0)], tmp_path / "small.safetensors", ExportOptions(rank=1, preview=False), events=heard)
    assert not any("--to diff" in warning for warning in heard.warnings)
