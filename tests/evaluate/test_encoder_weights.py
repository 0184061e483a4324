"""Where encoders come from: folders, the hub's cache; and what is said of missing, damaged and mixed-up ones."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from atomtune.errors import AtomtuneError, UsageError
from atomtune.evaluation.encoders.base import TextImageEncoder, encoders_for, parse_encoder_paths
from atomtune.evaluation.encoders.clip import CLIP, load_clip
from atomtune.evaluation.encoders.dino import DINO, DINO_REVISION, DINOV2, load_dino, load_dinov2
from atomtune.models.base_model import DEFAULT_MODEL
from small_encoders import LOADERS, TEXTS, WIDTHS, are_unit_rows, small_clip

WEIGHTS = {"dinov2": "model.safetensors", "dino": "model.safetensors", "clip": "open_clip_model.safetensors"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached(hub: Path, repository: str, folder: Path, revision: str = "main") -> None:
    """Put a folder into the cache as if it had been downloaded."""
    place = hub / f"models--{repository.replace('/', '--')}"
    (place / "refs" / revision).parent.mkdir(parents=True)
    (place / "refs" / revision).write_text("0" * 40)
    shutil.copytree(folder, place / "snapshots" / ("0" * 40))


def test_the_cache_of_the_hub_is_enough(hub: Path, folders: dict[str, Path]) -> None:
    cached(hub, DINOV2, folders["dinov2"])
    cached(hub, DINO, folders["dino"], DINO_REVISION)
    cached(hub, CLIP, folders["clip"])
    encoders = encoders_for(DEFAULT_MODEL, device="cpu")
    assert encoders.dino is not None
    names = [encoder.name for encoder in (encoders.fidelity, encoders.alignment, encoders.dino)]
    assert names == [f"DINOv2 ({DINOV2})", f"CLIP ({CLIP})", f"DINO ({DINO})"]
    known: TextImageEncoder = encoders.alignment
    assert are_unit_rows(known.encode_texts(TEXTS), len(TEXTS), WIDTHS["clip"])


@pytest.mark.parametrize(("kind", "repository"), [("dinov2", DINOV2), ("dino", DINO), ("clip", CLIP)])
def test_a_hub_that_cannot_be_reached(kind: str, repository: str, hub: Path) -> None:
    said = rf"cannot load {repository}: not in the cache .* \(HF_HUB_OFFLINE"
    with pytest.raises(AtomtuneError, match=said) as problem:
        LOADERS[kind]()
    assert "--encoder-path" in (problem.value.hint or "")
    assert "\n" not in problem.value.message


@pytest.mark.parametrize(("kind", "repository"), [("dinov2", DINOV2), ("dino", DINO), ("clip", CLIP)])
def test_a_hub_that_cannot_be_reached_is_asked_once(kind: str, repository: str, unreachable_hub: list[str]) -> None:
    with pytest.raises(AtomtuneError, match=rf"cannot load {repository}: .* could not be reached \(Name or"):
        LOADERS[kind]()
    assert unreachable_hub == [repository]


def test_a_cache_that_is_complete_asks_no_hub(
    hub: Path, folders: dict[str, Path], unreachable_hub: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    cached(hub, DINOV2, folders["dinov2"])
    load_dinov2()
    assert unreachable_hub == []


@pytest.mark.parametrize("kind", LOADERS)
def test_a_download_that_was_cut_off(kind: str, hub: Path, folders: dict[str, Path]) -> None:
    repository = {"dinov2": DINOV2, "dino": DINO, "clip": CLIP}[kind]
    cached(hub, repository, folders[kind], DINO_REVISION if kind == "dino" else "main")
    next(hub.rglob(WEIGHTS[kind])).unlink()
    with pytest.raises(AtomtuneError, match=f"{repository} has no {WEIGHTS[kind]}"):
        LOADERS[kind]()


@pytest.mark.parametrize("kind", LOADERS)
def test_pickles_are_refused(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders[kind], tmp_path / kind))
    (folder / WEIGHTS[kind]).rename(folder / "pytorch_model.bin")
    with pytest.raises(AtomtuneError, match=r"pickles only \(pytorch_model\.bin\)"):
        LOADERS[kind](str(folder))


@pytest.mark.parametrize("kind", LOADERS)
def test_damaged_weights_are_named(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders[kind], tmp_path / kind))
    weights = folder / WEIGHTS[kind]
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(AtomtuneError, match="cannot load the encoder") as problem:
        LOADERS[kind](str(folder))
    assert "\n" not in problem.value.message


@pytest.mark.parametrize(("kind", "config"), [("dinov2", "config.json"), ("clip", "open_clip_config.json")])
def test_damaged_settings_are_named(kind: str, config: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders[kind], tmp_path / kind))
    (folder / config).write_text("{")
    with pytest.raises(AtomtuneError, match="cannot load the encoder"):
        LOADERS[kind](str(folder))
    (folder / config).unlink()
    with pytest.raises(AtomtuneError, match=f"has no {config}"):
        LOADERS[kind](str(folder))


@pytest.mark.parametrize("kind", ["dinov2", "dino"])
def test_missing_weights_are_not_made_up(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders[kind], tmp_path / kind))
    weights = load_file(folder / "model.safetensors")
    weights.pop("layernorm.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(AtomtuneError, match=r"lacks weights: layernorm\.weight"):
        LOADERS[kind](str(folder))


def test_folders_that_were_mixed_up(folders: dict[str, Path]) -> None:
    with pytest.raises(AtomtuneError, match="holds a model of the type vit, not dinov2"):
        load_dinov2(str(folders["dino"]))
    with pytest.raises(AtomtuneError, match="holds a model of the type dinov2, not vit"):
        load_dino(str(folders["dinov2"]))
    with pytest.raises(AtomtuneError, match=r"has no open_clip_config\.json"):
        load_clip(str(folders["dino"]))
    with pytest.raises(AtomtuneError, match="there is no folder"):
        load_clip(str(folders["dino"] / "nowhere"))


def test_a_clip_that_wants_what_is_not_done_here(tmp_path: Path) -> None:
    with pytest.raises(AtomtuneError, match="resized by longest"):
        load_clip(str(small_clip(tmp_path, resize_mode="longest")))


def test_paths_are_read(tmp_path: Path) -> None:
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert parse_encoder_paths([f"dinov2={tmp_path}", f"clip={odd}"]) == {"dinov2": str(tmp_path), "clip": str(odd)}
    assert parse_encoder_paths([]) == {}


def test_paths_may_start_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "dino").mkdir()
    assert parse_encoder_paths(["dino=~/dino"]) == {"dino": str(tmp_path / "dino")}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["."], "not '.'"),
        (["sam=."], "not 'sam=.'"),
        (["DINO=."], "takes dinov2=DIR"),
        (["=."], "takes dinov2=DIR"),
        (["dino=.", "dino=."], "given twice"),
        (["dino="], "there is no folder ''"),
        (["dino=nowhere/at/all"], "there is no folder 'nowhere/at/all'"),
        (["clip=" + "x" * 5000], "there is no folder"),
        (["clip=a\0b"], "there is no folder"),
    ],
)
def test_wrong_paths_are_refused(values: list[str], said: str) -> None:
    with pytest.raises(UsageError) as problem:
        parse_encoder_paths(values)
    assert said in problem.value.message
    assert "as in --encoder-path" in (problem.value.hint or "")
