"""A model is fetched from a hub."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from atomtune.core.fingerprint import fingerprint
from atomtune.models.base_model import load_pipeline, resolve
from hub_server import Hub

LOAD = """
import sys
from atomtune.core.fingerprint import fingerprint
from atomtune.errors import AtomtuneError
from atomtune.models.architecture import native_resolution
from atomtune.models.base_model import load_pipeline, load_unet, resolve
source = resolve("someone/tiny")
try:
    if sys.argv[1] == "size":
        print(native_resolution(source))
    else:
        print(fingerprint(load_unet(source) if sys.argv[1] == "unet" else load_pipeline(source).unet))
except AtomtuneError as problem:
    print("refused:", problem.message)
"""


def load(hub: Hub, what: str, home: Path) -> str:
    """What a process of its own prints that loads the model from there."""
    return hub.run(LOAD, home, what)


@pytest.fixture
def hub(tiny_model: Path, tmp_path: Path) -> Iterator[Hub]:
    """The tiny model in two variants, with pickles, code and images beside it."""
    folder = tmp_path / "repository"
    pipeline = load_pipeline(resolve(str(tiny_model)))
    pipeline.save_pretrained(folder)
    pipeline.save_pretrained(folder, variant="fp16")
    for name in ("unet/diffusion_pytorch_model.bin", "image.png", "handler.py", "checkpoint-500/optimizer.bin"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"not needed")
    hub = Hub(folder)
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.mark.slow
def test_only_what_is_used_is_fetched_and_then_the_hub_is_not_asked_again(
    hub: Hub, tiny_model: Path, tmp_path: Path
) -> None:
    expected = fingerprint(load_pipeline(resolve(str(tiny_model))).unet)
    assert load(hub, "size", tmp_path / "home") == "32"
    assert hub.asked, "nothing was fetched"
    assert not any(name.endswith(".safetensors") for name in hub.asked)
    assert load(hub, "unet", tmp_path / "home") == expected
    assert [name for name in hub.asked if name.endswith(".safetensors")] == ["unet/diffusion_pytorch_model.safetensors"]
    assert load(hub, "pipeline", tmp_path / "home") == expected
    assert {name for name in hub.asked if name.endswith((".safetensors", ".bin", ".py", ".png"))} == {
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    }
    assert load(hub, "pipeline", tmp_path / "home") == expected
    assert hub.requests == 0


@pytest.mark.slow
def test_nothing_of_a_hostile_repository_but_its_configurations_is_fetched(hub: Hub, tmp_path: Path) -> None:
    index = json.loads((hub.folder / "model_index.json").read_text())
    (hub.folder / "unet" / "evil.py").write_text("raise SystemExit")
    assert "refused: someone/tiny holds code (unet/evil.py)" in load(hub, "pipeline", tmp_path / "first")
    (hub.folder / "unet" / "evil.py").unlink()
    (hub.folder / "model_index.json").write_text(json.dumps({**index, "unet": ["evil", "Evil"]}))
    assert "which is not allowed" in load(hub, "pipeline", tmp_path / "second")
    assert hub.asked
    assert all(name.endswith(".json") for name in hub.asked)


@pytest.mark.slow
def test_a_repository_that_is_no_pipeline_or_holds_pickles_only(hub: Hub, tmp_path: Path) -> None:
    for path in (hub.folder / "vae").glob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
    assert "pickles only (vae/" in load(hub, "pipeline", tmp_path / "first")
    assert all(name.endswith(".json") for name in hub.asked)
    (hub.folder / "model_index.json").unlink()
    assert "is not a diffusers pipeline" in load(hub, "pipeline", tmp_path / "second")
