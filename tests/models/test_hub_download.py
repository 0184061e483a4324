"""A model is fetched from a hub: a small server here that answers as the hub does."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from atomtune.core.fingerprint import fingerprint
from atomtune.models.base_model import load_pipeline, resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"

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


class Hub:
    """A server of one repository; `asked` are the files that were fetched from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.requests = 0
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                hub.requests += 1
                path = self.path.split("?")[0]
                if path.startswith("/api/models/someone/tiny"):
                    files = [file for file in sorted(hub.folder.rglob("*")) if file.is_file()]
                    names = [file.relative_to(hub.folder).as_posix() for file in files]
                    info: object = {"id": "someone/tiny", "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}
                    if "/tree/" in path:
                        sizes = [file.stat().st_size for file in files]
                        listed = zip(names, sizes, strict=True)
                        info = [{"type": "file", "path": n, "size": size, "oid": "0" * 40} for n, size in listed]
                    self.answer(json.dumps(info).encode(), {"Content-Type": "application/json"})
                    return
                name = path.partition(f"/resolve/{COMMIT}/")[2] or path.partition("/resolve/main/")[2]
                file = hub.folder / name
                if not name or not file.is_file():
                    self.send_error(404)
                    return
                content = file.read_bytes()
                if self.command == "GET":
                    hub.asked.append(name)
                etag = f'"{hashlib.sha256(content).hexdigest()}"'
                self.answer(content, {"ETag": etag, "X-Repo-Commit": COMMIT})

            def answer(self, content: bytes, headers: dict[str, str]) -> None:
                self.send_response(200)
                for key, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    def run(self, what: str, home: Path) -> str:
        """What a process of its own prints that loads the model from here."""
        self.asked, self.requests = [], 0
        address = f"http://127.0.0.1:{self.server.server_address[1]}"
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
        environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(
            [sys.executable, "-c", LOAD, what], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


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
    assert hub.run("size", tmp_path / "home") == "32"
    assert hub.asked, "nothing was fetched"
    assert not any(name.endswith(".safetensors") for name in hub.asked)
    assert hub.run("unet", tmp_path / "home") == expected
    assert [name for name in hub.asked if name.endswith(".safetensors")] == ["unet/diffusion_pytorch_model.safetensors"]
    assert hub.run("pipeline", tmp_path / "home") == expected
    assert {name for name in hub.asked if name.endswith((".safetensors", ".bin", ".py", ".png"))} == {
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    }
    assert hub.run("pipeline", tmp_path / "home") == expected
    assert hub.requests == 0


@pytest.mark.slow
def test_nothing_of_a_hostile_repository_but_its_configurations_is_fetched(hub: Hub, tmp_path: Path) -> None:
    index = json.loads((hub.folder / "model_index.json").read_text())
    (hub.folder / "unet" / "evil.py").write_text("raise SystemExit")
    assert "refused: someone/tiny holds code (unet/evil.py)" in hub.run("pipeline", tmp_path / "first")
    (hub.folder / "unet" / "evil.py").unlink()
    (hub.folder / "model_index.json").write_text(json.dumps({**index, "unet": ["evil", "Evil"]}))
    assert "which is not allowed" in hub.run("pipeline", tmp_path / "second")
    assert hub.asked
    assert all(name.endswith(".json") for name in hub.asked)


@pytest.mark.slow
def test_a_repository_that_is_no_pipeline_or_holds_pickles_only(hub: Hub, tmp_path: Path) -> None:
    for path in (hub.folder / "vae").glob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
    assert "pickles only (vae/" in hub.run("pipeline", tmp_path / "first")
    assert all(name.endswith(".json") for name in hub.asked)
    (hub.folder / "model_index.json").unlink()
    assert "is not a diffusers pipeline" in hub.run("pipeline", tmp_path / "second")
