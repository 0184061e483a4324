"""What is passed on to others says nothing of the machine it was made on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomtune.files.store import read_header

USER, HOST = "user-of-this-machine", "name-of-this-machine"


@pytest.fixture
def made(
    cli: Callable[..., Any], images: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, list[Path]]:
    """Everything made from a base model and images under absolute paths, by a user of a machine with names."""
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, USER)
    for name in ("HOSTNAME", "COMPUTERNAME"):
        monkeypatch.setenv(name, HOST)
    for function in ("socket.gethostname", "socket.getfqdn", "platform.node"):
        monkeypatch.setattr(function, lambda *_: HOST)
    train = ("--concept", "castle", "--images", images, "--model", tiny_model, "--steps", 1, "--device", "cpu")
    for command in (
        ("train", *train),
        ("sample", "--concept", "castle", "--prompt", "a <castle>", "--steps", 1, "--size", "32x32"),
        ("export", "--concept", "castle", "--rank", 2, "--no-weighted", "--no-preview"),
        ("merge", "--concept", "castle", "--output", tmp_path / "merged"),
        ("publish", "--concept", "castle", "--licence", "mit", "--output", tmp_path / "published"),
    ):
        answer = cli(*command)
        assert answer.code == 0, answer.err
    run = Path("runs/castle")
    exported = [path for path in Path().rglob("castle-lora.*") if path.is_file()]
    assert {path.suffix for path in exported} == {".safetensors", ".json"}
    return {
        "atoms": [run / "castle.safetensors"],
        "images": list(Path().rglob("*.png")),
        "export": exported,
        "published": [path for path in (tmp_path / "published").rglob("*") if path.is_file()],
        "merged": [path for path in (tmp_path / "merged").rglob("*") if path.is_file()],
    }


def test_no_file_that_is_passed_on_holds_a_path_or_a_name(
    made: dict[str, list[Path]], tmp_path: Path, tiny_model: Path, images: Path
) -> None:
    said = [
        str(tmp_path),
        str(tiny_model.parent),
        str(images.parent),
        str(Path.home()) + "/",
        str(Path.cwd()),
        USER,
        HOST,
    ]
    for paths in made.values():
        assert paths
        for path in paths:
            content = path.read_bytes()
            for text in said:
                assert text.encode() not in content, (path, text)


def test_keys_for_other_tools_are_those_that_are_meant(made: dict[str, list[Path]]) -> None:
    header = read_header(made["atoms"][0])
    assert {key for key in header if key.startswith(("modelspec.", "ss_"))} == {
        *("modelspec.sai_model_spec", "modelspec.architecture", "modelspec.implementation", "modelspec.title"),
        *("modelspec.date", "modelspec.trigger_phrase", "ss_base_model_version"),
    }
    assert "/" not in header["base"]
    assert set(json.loads(header["training"])).isdisjoint({"images", "output", "model", "sample_prompts"})


def test_a_moved_base_is_named_on_the_command_line(
    cli: Callable[..., Any], made: dict[str, list[Path]], tiny_model: Path
) -> None:
    alone = Path("elsewhere/atoms.safetensors")
    alone.parent.mkdir()
    made["atoms"][0].rename(alone)
    sample = ("sample", "--atoms", alone, "--prompt", "a <castle>", "--steps", 1, "--size", "32x32")
    lost = cli(*sample)
    assert lost.code == 1
    assert f"the base model {tiny_model.name} of atoms.safetensors is not here" in lost.err
    assert "--model" in lost.err
    assert cli(*sample, "--model", tiny_model).code == 0
