"""Merged model folders: what they draw, and what they never replace."""

import errno
import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors import SafetensorError

from atomtune.errors import AtomtuneError, UsageError
from atomtune.export import merged_model as merging
from atomtune.export.merged_model import RECORD, merge_to_folder
from atomtune.sampling.options import SampleOptions, Settings
from atomtune.sampling.sample import sample
from made import made_atoms


@pytest.fixture(scope="module")
def atoms(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_atoms(tmp_path_factory.mktemp("atoms") / "castle.safetensors", tiny_model)


def drawn(folder: Path) -> Image.Image:
    """What diffusers alone draws with a folder."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline("a sks castle", num_inference_steps=3, generator=torch.Generator().manual_seed(5)).images[0]


def unet_weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(StableDiffusionPipeline.from_pretrained(folder).unet.float().state_dict())


def temporary(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def test_diffusers_alone_generates_the_pixels_of_sample(atoms: Path, tiny_model: Path, tmp_path: Path) -> None:
    result = merge_to_folder([(atoms, 1.0)], tmp_path / "merged")
    settings = Settings(steps=3)
    options = SampleOptions(atoms=((atoms, 1.0),), prompts=("a <castle>",), seed=5, settings=settings, base=True)
    base, ours = (item.load() for item in sample(options, tmp_path / "out")[0])
    assert np.array_equal(np.asarray(drawn(result.output)), np.asarray(ours))
    assert not np.array_equal(np.asarray(ours), np.asarray(base)), "the atoms change nothing, so nothing is shown"


def test_the_folder_says_what_was_merged_and_holds_no_pickle(atoms: Path, tiny_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "below" / "merged"
    result = merge_to_folder([(atoms, 0.5)], output)
    record = json.loads((output / RECORD).read_text(encoding="utf-8"))
    assert (record["format"], record["precision"], record["base"]) == ("atomtune.merged", "fp32", tiny_model.name)
    (merged,) = record["atoms"]
    assert (merged["file"], merged["scale"], merged["trigger"]) == ("castle.safetensors", 0.5, "sks castle")
    assert merged["base_fingerprint"] == record["base_fingerprint"] == result.base_fingerprint
    files = [path for path in output.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".txt"}
    assert sum(path.stat().st_size for path in files) == result.bytes
    assert not temporary(output.parent)


def test_earlier_versions_of_transformers_find_the_words_of_the_tokenizer(
    atoms: Path, tiny_model: Path, tmp_path: Path
) -> None:
    merge_to_folder([(atoms, 1.0)], tmp_path / "merged")
    ours, base = tmp_path / "merged" / "tokenizer", tiny_model / "tokenizer"
    assert json.loads((ours / "vocab.json").read_text("utf-8")) == json.loads((base / "vocab.json").read_text("utf-8"))
    assert (ours / "merges.txt").read_text("utf-8").split() == (base / "merges.txt").read_text("utf-8").split()


def test_files_add_up_and_fp16_is_rounded_once(atoms: Path, tiny_model: Path, tmp_path: Path) -> None:
    dog = made_atoms(tmp_path / "dog.safetensors", tiny_model, seed=1, concept="dog", class_noun="dog")

    def merged(name: str, *files: tuple[Path, float]) -> dict[str, torch.Tensor]:
        return unet_weights(merge_to_folder(files, tmp_path / name).output)

    base, whole, other = merged("base", (atoms, 0.0)), merged("whole", (atoms, 1.0)), merged("other", (dog, 0.5))
    both = merged("both", (atoms, 1.0), (dog, 0.5))
    small = merge_to_folder([(atoms, 1.0)], tmp_path / "small", precision="fp16")
    assert all(torch.allclose(whole[name] + other[name] - base[name], both[name], atol=1e-6) for name in whole)
    rounded = unet_weights(small.output)
    assert all(torch.equal(whole[name].half().float(), rounded[name]) for name in whole)


def test_a_merged_model_is_a_base_model(atoms: Path, tmp_path: Path) -> None:
    merged = merge_to_folder([(atoms, 1.0)], tmp_path / "merged").output
    again = merge_to_folder([(atoms, 0.0)], tmp_path / "again", model=str(merged)).output
    first, second = unet_weights(merged), unet_weights(again)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_only_a_merged_model_is_ever_replaced(atoms: Path, tiny_model: Path, tmp_path: Path) -> None:
    foreign, merged, empty = tmp_path / "photos", tmp_path / "merged", tmp_path / "empty"
    foreign.mkdir()
    (foreign / "dear.jpg").write_bytes(b"x")
    empty.mkdir()
    for output in (foreign, tiny_model, foreign / "dear.jpg"):
        with pytest.raises(UsageError):
            merge_to_folder([(atoms, 1.0)], output, overwrite=True)
    assert (foreign / "dear.jpg").read_bytes() == b"x"
    merge_to_folder([(atoms, 1.0)], merged)
    with pytest.raises(UsageError, match="already holds a merged model"):
        merge_to_folder([(atoms, 1.0)], merged)
    for name in ("notes.md", "unet/mine.safetensors"):
        (merged / name).write_text("mine")
        with pytest.raises(UsageError, match=f"holds {name} that atomtune merge did not write"):
            merge_to_folder([(atoms, 0.5)], merged, overwrite=True)
        assert (merged / name).read_text() == "mine"
        (merged / name).unlink()
    merge_to_folder([(atoms, 0.5)], merged, overwrite=True)
    assert json.loads((merged / RECORD).read_text(encoding="utf-8"))["atoms"][0]["scale"] == 0.5
    assert merge_to_folder([(atoms, 1.0)], empty).output == empty
    assert not temporary(tmp_path)


@pytest.mark.parametrize("problem", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error")])
def test_a_full_disk_leaves_the_old_folder(
    atoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    output = merge_to_folder([(atoms, 1.0)], tmp_path / "merged").output
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}

    def fail(_pipeline: Any, folder: Path, **_options: Any) -> NoReturn:
        (folder / "half").write_bytes(b"half")
        raise problem

    monkeypatch.setattr(StableDiffusionPipeline, "save_pretrained", fail)
    with pytest.raises(AtomtuneError, match="cannot write") as raised:
        merge_to_folder([(atoms, 0.5)], output, overwrite=True)
    assert raised.value.hint
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    assert not temporary(tmp_path)


def test_a_merged_model_of_0_1_is_replaced(atoms: Path, tmp_path: Path) -> None:
    """It lists no files: those of the kinds that it wrote are its own."""
    output = merge_to_folder([(atoms, 1.0)], tmp_path / "merged").output
    record = json.loads((output / RECORD).read_text(encoding="utf-8"))
    del record["files"]
    (output / RECORD).write_text(json.dumps(record), encoding="utf-8")
    (output / "dear.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"dear\.jpg"):
        merge_to_folder([(atoms, 0.5)], output, overwrite=True)
    (output / "dear.jpg").unlink()
    assert merge_to_folder([(atoms, 0.5)], output, overwrite=True).output == output


def test_a_killed_merge_leaves_nothing_that_the_next_one_does_not_remove(
    atoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = merge_to_folder([(atoms, 1.0)], tmp_path / "merged").output
    before = unet_weights(output)
    save = StableDiffusionPipeline.save_pretrained

    def killed(pipeline: Any, folder: Path, **options: Any) -> NoReturn:
        save(pipeline, folder, **options)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    with monkeypatch.context() as patched:
        patched.setattr(StableDiffusionPipeline, "save_pretrained", killed)
        child = multiprocessing.get_context("fork").Process(
            target=merge_to_folder, args=([(atoms, 0.5)], output), kwargs={"overwrite": True}
        )
        child.start()
        child.join()
    assert child.exitcode == -signal.SIGKILL
    assert temporary(tmp_path), "it was killed too early"
    assert all(torch.equal(weight, before[name]) for name, weight in unet_weights(output).items())
    merge_to_folder([(atoms, 0.5)], output, overwrite=True)
    assert not temporary(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_a_place_that_cannot_be_written_is_known_before_the_model_loads(
    atoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_arguments: Any) -> NoReturn:
        raise AssertionError("loaded")

    monkeypatch.setattr(merging, "load_pipeline", load)
    (tmp_path / "file").touch()
    with pytest.raises(AtomtuneError, match="cannot write"):
        merge_to_folder([(atoms, 1.0)], tmp_path / "file" / "merged")


def test_too_little_space_is_known_before_anything_is_written(
    atoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(merging.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(AtomtuneError, match="free there"):
        merge_to_folder([(atoms, 1.0)], tmp_path / "merged")
    assert not list(tmp_path.glob("*merged*"))


def test_what_cannot_be_merged_is_refused(atoms: Path, tiny_model: Path, wider_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "merged"
    large_tiles = made_atoms(tmp_path / "c2.safetensors", tiny_model, preset="c2")
    with pytest.raises(UsageError, match="nothing to merge"):
        merge_to_folder([], output)
    with pytest.raises(UsageError, match="no precision"):
        merge_to_folder([(atoms, 1.0)], output, precision="bf16")
    with pytest.raises(AtomtuneError, match="base model"):
        merge_to_folder([(large_tiles, 1.0)], output, model=str(wider_model))
    with pytest.raises(AtomtuneError, match=r"unet\..* is not finite in torch.float16"):
        merge_to_folder([(atoms, 1e9)], output, precision="fp16")
    assert not output.exists()
    assert not temporary(tmp_path)
