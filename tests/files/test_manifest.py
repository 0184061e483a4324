"""The record of what atomtune wrote into a folder: only that is deleted or replaced."""

import json
import os
from pathlib import Path

import pytest

import limits
from atomtune.errors import AtomtuneError
from atomtune.files.manifest import NAME, Manifest


def written(folder: Path, *names: str) -> Manifest:
    """A folder with recorded files."""
    manifest = Manifest(folder)
    for name in names:
        path = folder / name
        manifest.add(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("ours")
    return manifest


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() or path.is_symlink()}


def test_only_recorded_files_are_cleared(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "steps").mkdir()
    (run / "steps" / "mine.txt").write_text("theirs")
    (run / "notes.md").write_text("theirs")
    written(run, "run.json", "steps/1.safetensors", "strip/a/1.png")
    (run / "strip" / "also mine.png").write_text("theirs")
    Manifest(run).clear()
    assert files(run) == {"notes.md", "steps/mine.txt", "strip/also mine.png"}
    assert not (run / "strip" / "a").exists()


def test_a_folder_that_held_nothing_else_is_left_empty(tmp_path: Path) -> None:
    written(tmp_path, "run.json", "steps/1.safetensors").clear()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_record_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("theirs")
    Manifest(tmp_path).clear()
    assert files(tmp_path) == {"run.json"}


def test_a_foreign_file_is_never_recorded(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("theirs")
    (tmp_path / "link").symlink_to(tmp_path / "log.jsonl")
    manifest = Manifest(tmp_path)
    for name in ("log.jsonl", "link"):
        with pytest.raises(AtomtuneError, match="was not written by atomtune") as problem:
            manifest.add(tmp_path / "new", tmp_path / name)
        assert problem.value.hint
    assert files(tmp_path) == {"log.jsonl", "link"}
    assert tmp_path / "new" not in Manifest(tmp_path)


def test_recorded_files_may_be_written_again_by_the_next_process(tmp_path: Path) -> None:
    written(tmp_path, "run.json")
    again = Manifest(tmp_path)
    again.add(tmp_path / "run.json")
    assert tmp_path / "run.json" in again
    assert tmp_path / "other" not in again


def test_some_files_can_be_kept(tmp_path: Path) -> None:
    written(tmp_path, "run.json", "atoms.safetensors", "steps/1")
    Manifest(tmp_path).clear(keep=[tmp_path / "atoms.safetensors"])
    assert files(tmp_path) == {"atoms.safetensors", NAME}
    Manifest(tmp_path).clear()
    assert files(tmp_path) == set()


def test_what_another_library_wrote_is_recorded_afterwards(tmp_path: Path) -> None:
    manifest = written(tmp_path, "run.json")
    (tmp_path / "tensorboard" / "a").mkdir(parents=True)
    (tmp_path / "tensorboard" / "a" / "events").write_text("ours")
    manifest.add_tree(tmp_path / "tensorboard")
    (tmp_path / "tensorboard" / "mine").write_text("theirs")
    Manifest(tmp_path).clear()
    assert files(tmp_path) == {"tensorboard/mine"}


def test_foreign_files_are_listed(tmp_path: Path) -> None:
    manifest = written(tmp_path, "run.json", "steps/1")
    (tmp_path / "steps" / "mine").write_text("theirs")
    (tmp_path / "link").symlink_to(tmp_path)
    assert manifest.foreign() == [tmp_path / "link", tmp_path / "steps" / "mine"]


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../out", "..", "", "a\0b"])
def test_a_record_cannot_name_what_is_outside(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "out").write_text("theirs")
    (run / NAME).write_text(json.dumps(name) + "\n" + json.dumps("run.json") + "\n")
    (run / "run.json").write_text("ours")
    Manifest(run).clear()
    assert files(tmp_path) == {"out"}


def test_links_are_not_followed(tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    outside.mkdir()
    (outside / "1").write_text("theirs")
    written(run, "steps/1", "run.json")
    (run / "steps" / "1").unlink()
    (run / "steps").rmdir()
    (run / "steps").symlink_to(outside)
    (run / "run.json").unlink()
    (run / "run.json").symlink_to(outside / "1")
    Manifest(run).clear()
    assert files(outside) == {"1"}
    assert files(run) == {"steps", "run.json"}


def test_a_record_that_a_crash_cut_short_is_read_and_continued(tmp_path: Path) -> None:
    written(tmp_path, "a", "b")
    with (tmp_path / NAME).open("a") as stream:
        stream.write('"half of a na')
    manifest = Manifest(tmp_path)
    manifest.add(tmp_path / "c")
    assert set(Manifest(tmp_path).names) == {"a", "b", "c"}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\n", b"[[[[" * 10_000, b"17\nnull\n{}\n"])
def test_a_damaged_record_names_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(content)
    assert Manifest(tmp_path).names == {}


def test_names_in_any_script_and_bytes_are_recorded(tmp_path: Path) -> None:
    names = ["猫.png", "a\nb", os.fsdecode(b"\xff.png")]
    written(tmp_path, *names)
    assert set(Manifest(tmp_path).names) == set(names)
    Manifest(tmp_path).clear()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_record_and_no_folder(tmp_path: Path) -> None:
    with limits.largest_file(0), pytest.raises(AtomtuneError, match="cannot write"):
        Manifest(tmp_path / "run").add(tmp_path / "run" / "a")
    assert list(tmp_path.iterdir()) == []
    manifest = written(tmp_path / "run", "a")
    size = (tmp_path / "run" / NAME).stat().st_size
    with limits.largest_file(size + 2), pytest.raises(AtomtuneError, match="cannot write"):
        manifest.add(tmp_path / "run" / "b")
    assert set(Manifest(tmp_path / "run").names) == set(manifest.names) == {"a"}
    manifest.add(tmp_path / "run" / "b")
    assert set(Manifest(tmp_path / "run").names) == {"a", "b"}
