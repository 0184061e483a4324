"""What managers and galleries read: the header's keys and hashes, and the files beside."""

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors import safe_open

from atomtune.errors import UsageError
from atomtune.export.export import export
from atomtune.export.metadata import spec_architecture
from atomtune.export.options import ExportOptions
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.sampling.options import Settings
from full_shapes import V1, V2, XL, Pipeline
from made import export_to, made_atoms


@pytest.fixture(scope="module")
def atoms(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("atoms") / "castle.safetensors"
    return made_atoms(path, tiny_model, prompts=["a sks castle, in the snow", "a sks castle, at night"])


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atomtune.export.image_difference.SETTINGS", Settings(steps=1))


def header_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as handle:
        found: dict[str, str] = handle.metadata()
    return found


def body_hash(path: Path) -> str:
    """SHA-256 of what follows the header, as kohya's scripts and A1111 take it."""
    content = path.read_bytes()
    return hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()


@pytest.mark.parametrize("to", ["lora", "diff", "checkpoint"])
def test_the_hashes_are_those_of_the_file(to: str, atoms: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    export_to([(atoms, 1.0)], file, to=to)
    header = header_of(file)
    assert header["sshs_model_hash"] == body_hash(file)
    assert header["modelspec.hash_sha256"] == f"0x{body_hash(file)}"


def test_the_header_and_the_files_beside_say_what_it_is(atoms: Path, tmp_path: Path) -> None:
    file = tmp_path / "mug.safetensors"
    options = ExportOptions(rank=2, weighted=False, licence="CC-BY-4.0")
    result = export([(atoms, 1.0)], file, options)
    assert result.beside == [tmp_path / "mug.json", tmp_path / "mug.preview.png"]
    header = header_of(file)
    assert json.loads(header["ss_tag_frequency"]) == {"castle": {"a sks castle": 2, "in the snow": 1, "at night": 1}}
    assert header["modelspec.resolution"] == "32x32"
    assert header["modelspec.license"] == "CC-BY-4.0"
    assert "castle" in header["modelspec.description"]
    assert '"sks castle"' in header["modelspec.usage_hint"]
    kind, _, encoded = header["modelspec.thumbnail"].partition(",")
    assert kind == "data:image/jpeg;base64"
    (cover,) = json.loads(header["ssmd_cover_images"])
    shown = Image.open(tmp_path / "mug.preview.png")
    for text in (encoded, cover):
        assert Image.open(io.BytesIO(base64.b64decode(text))).size == shown.size == (32, 32)
    card = json.loads((tmp_path / "mug.json").read_text(encoding="utf-8"))
    assert (card["activation text"], card["preferred weight"], card["sd version"]) == ("sks castle", 1.0, "Unknown")
    assert "CC-BY-4.0" in card["notes"]


def test_a_licence_that_is_not_known_is_not_guessed(atoms: Path, tmp_path: Path) -> None:
    file = tmp_path / "mug.safetensors"
    export_to([(atoms, 1.0)], file, rank=2)
    assert "modelspec.license" not in header_of(file)
    assert "Licence" not in (tmp_path / "mug.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["mug.json", "mug.preview.png"])
def test_a_card_or_image_of_the_users_is_never_replaced(name: str, atoms: Path, tmp_path: Path) -> None:
    mine, file = tmp_path / name, tmp_path / "mug.safetensors"
    mine.write_text('{"activation text": "mine"}', encoding="utf-8")
    before = mine.read_bytes()
    with pytest.raises(UsageError, match="did not write"):
        export_to([(atoms, 1.0)], file, rank=2, overwrite=True)
    assert mine.read_bytes() == before
    assert not file.exists()


def test_an_image_of_an_earlier_export_does_not_stay_beside_another_one(atoms: Path, tmp_path: Path) -> None:
    file = tmp_path / "mug.safetensors"
    export([(atoms, 1.0)], file, ExportOptions(rank=1, weighted=False))
    assert (tmp_path / "mug.preview.png").is_file()
    export_to([(atoms, 1.0)], file, rank=2, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mug.json", "mug.safetensors"]


@pytest.mark.parametrize(
    ("name", "prediction", "said"),
    [
        (V1, "epsilon", "stable-diffusion-v1"),
        (V2, "epsilon", "stable-diffusion-v2-512"),
        (V2, "v_prediction", "stable-diffusion-v2-768-v"),
        (XL, "epsilon", "stable-diffusion-xl-v1-base"),
    ],
)
def test_architectures_have_the_ids_of_modelspec(name: str, prediction: str, said: str, tiny_model: Path) -> None:
    pipeline: Any = Pipeline(name)
    scheduler = load_pipeline(resolve(str(tiny_model))).scheduler
    pipeline.scheduler = type(scheduler).from_config(scheduler.config, prediction_type=prediction)
    assert spec_architecture(pipeline) == said
