"""Where a run's result is."""

import json
from pathlib import Path

import pytest

from atomtune.files.manifest import Manifest
from atomtune.files.run_result import FORMER_NAME, RECORD, result_in, result_name


def recorded(folder: Path, name: object) -> Path:
    folder.mkdir(parents=True)
    (folder / RECORD).write_text(json.dumps({"options": {"concept": {"name": name}}}), encoding="utf-8")
    return folder


def test_a_result_is_named_after_its_concept_and_never_as_the_state_to_resume_from() -> None:
    assert [result_name(name) for name in ("mug", "猫", "checkpoint")] == [
        "mug.safetensors",
        "猫.safetensors",
        FORMER_NAME,
    ]


def test_the_concept_is_the_one_asked_for_then_the_records_then_the_folders_name(tmp_path: Path) -> None:
    run = recorded(tmp_path / "third", "mug")
    assert result_in(run, "cat").name == "cat.safetensors"
    assert result_in(run).name == "mug.safetensors"
    assert result_in(tmp_path / "dog").name == "dog.safetensors"


def test_a_run_under_the_former_name_keeps_it_beside_an_export_of_the_new_name(tmp_path: Path) -> None:
    run = recorded(tmp_path / "mug", "mug")
    Manifest(run).add(run / FORMER_NAME)
    (run / "mug.safetensors").touch()
    assert result_in(run) == run / FORMER_NAME
    Manifest(run).adopt(run / "mug.safetensors")
    assert result_in(run) == run / "mug.safetensors"


def test_a_file_of_the_former_name_that_no_manifest_knows_is_found(tmp_path: Path) -> None:
    run = recorded(tmp_path / "mug", "mug")
    (run / FORMER_NAME).touch()
    assert result_in(run) == run / FORMER_NAME


def test_a_run_whose_record_is_damaged_is_found_under_another_folders_name(tmp_path: Path) -> None:
    run = tmp_path / "copy"
    Manifest(run).add(run / "mug.safetensors", run / "checkpoint.safetensors", run / "steps/step-000001.safetensors")
    (run / RECORD).write_text("{", encoding="utf-8")
    assert result_in(run) == run / "mug.safetensors"


@pytest.mark.parametrize("name", ["../outside", "a/b", "", 3, None, "a\nb", ".."])
def test_a_record_cannot_name_a_file_elsewhere(tmp_path: Path, name: object) -> None:
    assert result_in(recorded(tmp_path / "mug", name)).parent == tmp_path / "mug"


def test_a_file_is_no_folder_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    assert result_in(tmp_path / "notes") == tmp_path / "notes" / "notes.safetensors"
