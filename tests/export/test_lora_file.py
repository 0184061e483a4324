"""The file of `atomtune export`: where it may go, what it replaces, and what is refused."""

from pathlib import Path
from typing import Any, NoReturn

import pytest
from safetensors import SafetensorError

from atomtune.errors import AtomtuneError, UsageError
from atomtune.files.describe import describe
from atomtune.sampling.changes import read_atoms
from made import export_to, made_atoms


@pytest.fixture(scope="module")
def atoms(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_atoms(tmp_path_factory.mktemp("atoms") / "castle.safetensors", tiny_model)


def test_only_a_lora_of_ours_is_ever_replaced(atoms: Path, tmp_path: Path) -> None:
    foreign, mine = tmp_path / "dear.safetensors", tmp_path / "mine.safetensors"
    foreign.write_bytes(b"x")
    before = atoms.read_bytes()
    for output in (foreign, atoms):
        with pytest.raises(UsageError, match="did not write"):
            export_to([(atoms, 1.0)], output, overwrite=True)
    assert (foreign.read_bytes(), atoms.read_bytes()) == (b"x", before)
    export_to([(atoms, 1.0)], mine, rank=2)
    with pytest.raises(UsageError, match="is already there"):
        export_to([(atoms, 1.0)], mine)
    first = mine.read_bytes()
    export_to([(atoms, 1.0)], mine, rank=3, overwrite=True)
    assert mine.read_bytes() != first
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(UsageError, match="is not a file"):
        export_to([(atoms, 1.0)], tmp_path / "folder.safetensors", overwrite=True)


def test_a_full_disk_leaves_the_old_lora(atoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = export_to([(atoms, 1.0)], tmp_path / "mine.safetensors", rank=2).output
    before = file.read_bytes()

    def fail(*_arguments: Any, **_options: Any) -> NoReturn:
        raise SafetensorError("I/O error")

    with monkeypatch.context() as patch:
        patch.setattr("atomtune.files.store.save_file", fail)
        with pytest.raises(AtomtuneError, match="cannot write"):
            export_to([(atoms, 1.0)], file, rank=3, overwrite=True)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 1000}))
    with pytest.raises(AtomtuneError, match="are free there"):
        export_to([(atoms, 1.0)], file, rank=3, overwrite=True)
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.json", file.name]


def test_a_place_that_takes_no_lora_is_known_before_the_model_loads(
    atoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_arguments: Any) -> NoReturn:
        raise AssertionError("loaded")

    monkeypatch.setattr("atomtune.export.export.load_pipeline", load)
    (tmp_path / "file").touch()
    with pytest.raises(AtomtuneError, match="cannot write"):
        export_to([(atoms, 1.0)], tmp_path / "file" / "lora.safetensors")


def test_what_cannot_be_exported_is_refused(atoms: Path, wider_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "lora.safetensors"
    for changes, said in (
        ({"rank": 0}, "at least 1"),
        ({"to": "onnx"}, "must be one of lora"),
        ({"precision": "bf16"}, "must be one of fp16"),
        ({"device": "tpu"}, "no device"),
        ({"model": str(wider_model)}, "base model"),
    ):
        with pytest.raises(AtomtuneError, match=said):
            export_to([(atoms, 1.0)], file, **changes)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="nothing to export"):
        export_to([], file)
    with pytest.raises(UsageError, match="no name for an export"):
        export_to([(atoms, 1.0)], tmp_path / "lora.pt")
    with pytest.raises(AtomtuneError, match="change nothing"):
        export_to([(atoms, 0.0)], file)
    with pytest.raises(AtomtuneError, match=r"not finite in torch\.float16"):
        export_to([(atoms, 1e12)], file)
    with pytest.raises(AtomtuneError, match=r"change of unet\..* is not finite"):
        export_to([(atoms, 1e300)], file, precision="fp32")
    assert not list(tmp_path.iterdir())


def test_atomtune_itself_says_what_the_file_is_for(atoms: Path, tmp_path: Path) -> None:
    file = export_to([(atoms, 1.0)], tmp_path / "lora.safetensors", rank=2).output
    with pytest.raises(AtomtuneError, match="is a lora, which is for other programs"):
        describe(file)
    with pytest.raises(AtomtuneError, match="of kind lora, not atoms"):
        read_atoms([(file, 1.0)])
