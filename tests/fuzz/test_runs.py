"""Folders of runs that anybody may have written: refused or listed for what they are, never followed elsewhere."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from atomtune.training.options import TrainOptions
from atomtune.training.run_folder import RunFolder
from atomtune.training.runs import learned, thumbnail_sheet
from hostile import (
    SPEC,
    TEXTS,
    budgets,
    check_answer,
    content,
    damaged,
    for_all,
    good_bytes,
    refusal,
    refused,
    sealed,
)
from made import made_atoms

RECORD: dict[str, Any] = {
    "options": TrainOptions.from_dict(
        {"concept": {"name": "mug", "class_noun": "cup", "token": "sks"}, "images": "mug", "sample_prompts": []}
        | {"spec": SPEC.to_dict(), "model": "pocket"}
    ).to_dict(),
    "base_fingerprint": "0" * 64,
    "processes": 1,
}


def read_run(folder: Path) -> None:
    """What `train --resume` reads first."""
    record = RunFolder(folder).read_record()
    TrainOptions.from_dict(record.get("options", {}))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that was begun."""
    folder = tmp_path / "runs" / "mug"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(RECORD), encoding="utf-8")
    (folder / "checkpoint.safetensors").write_bytes(good_bytes("checkpoint"))
    return folder


def test_the_good_record_is_read(run: Path) -> None:
    read_run(run)
    (found,) = learned(run.parent)
    assert (found.status, found.concept, found.steps) == ("unfinished", "mug", 1)


@budgets(60)
def test_any_record(run: Path, examples: int) -> None:
    def check(text: str) -> None:
        (run / "run.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        refusal(read_run, run)
        (found,) = learned(run.parent)
        assert found.status in ("unfinished", "damaged")
        assert all(isinstance(word, str) for word in (found.concept, found.class_noun, found.token, found.base))

    for_all(examples, check, TEXTS | damaged(RECORD).map(json.dumps))


@budgets(20)
def test_any_checkpoint_beside_a_record(run: Path, examples: int) -> None:
    tensors, metadata = content("checkpoint")

    def check(name: str, text: str) -> None:
        sealed(run / "checkpoint.safetensors", "checkpoint", tensors, {**metadata, name: text})
        (found,) = learned(run.parent)
        assert len(found.reason) < 2000

    for_all(examples, check, st.sampled_from(["step", "order", "seconds"]), TEXTS)


@budgets(30)
def test_any_log(run: Path, examples: int) -> None:
    folder = RunFolder(run)

    def check(lines: list[bytes]) -> None:
        (run / "log.jsonl").write_bytes(b"\n".join(lines))
        folder.log_until(5)
        kept = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        assert len(kept) <= 5
        assert all(entry["step"] <= 5 for entry in kept)

    written = st.integers(-1, 9).map(lambda step: b'{"step": %d, "loss": 0.5}' % step)
    for_all(
        examples, check, st.lists(written | st.binary(max_size=20) | TEXTS.map(lambda text: text.encode()), max_size=9)
    )


# nothing is followed out of a run's folder


@pytest.mark.skipif(os.name != "posix", reason="links need rights there")
@pytest.mark.parametrize("name", ["run.json", "log.jsonl", "checkpoint.safetensors", "previews", "loss.svg"])
def test_a_run_with_links_is_not_resumed(run: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    if (run / name).exists():
        (run / name).rename(outside)
    elif name == "previews":
        outside.mkdir()
    else:
        outside.write_text("mine", encoding="utf-8")
    (run / name).symlink_to(outside)
    assert "is a link" in refused(read_run, run).message


@pytest.mark.skipif(os.name != "posix", reason="pipes are made otherwise there")
def test_images_that_are_no_files_are_left_out(tmp_path: Path, tiny_model: Path) -> None:
    run = tmp_path / "runs" / "castle"
    (run / "samples").mkdir(parents=True)
    made_atoms(run / "atoms.safetensors", tiny_model)
    os.mkfifo(run / "samples" / "00000-pipe.png")  # reading it would wait for ever
    (run / "samples" / "00001-link.png").symlink_to(tmp_path / "nowhere")
    assert thumbnail_sheet(learned(run.parent), tmp_path / "sheet.png").is_file()


@budgets(20)
def test_concepts_lists_whatever_lies_there(cli: Callable[..., Any], examples: int) -> None:
    run = Path("runs/mug")
    run.mkdir(parents=True)

    def check(text: str) -> None:
        (run / "run.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        answer = cli("concepts")
        assert answer.code == 0
        check_answer(answer)
        assert json.loads(cli("concepts", "--json").out)["concepts"][0]["name"] == "mug"

    for_all(examples, check, TEXTS | damaged(RECORD).map(json.dumps))
