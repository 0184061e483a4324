"""A server with two concepts of the tiny pipeline, on the loopback address."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from atomtune.models.base_model import resolve
from atomtune.sampling.generate import load_sampler
from atomtune.serve.access import read_tokens
from atomtune.serve.engine import Engine
from atomtune.serve.options import ServeOptions
from made import made_atoms

NEEDED = ("fastapi", "uvicorn", "prometheus_client")


@dataclass
class Reply:
    """An answer: its status, headers and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Server:
    """A server that answers."""

    address: str
    engine: Engine
    options: ServeOptions
    headers: dict[str, str] = field(default_factory=dict)

    def call(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        """Ask for a path; a body makes it a POST."""
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        said = {"Content-Type": "application/json"} | self.headers | (headers or {})
        try:
            with urllib.request.urlopen(urllib.request.Request(self.address + path, content, said)) as answer:
                return Reply(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as problem:
            return Reply(problem.code, dict(problem.headers), problem.read())


@contextmanager
def running(options: ServeOptions) -> Iterator[Server]:
    """A server in this process."""
    import uvicorn

    from atomtune.serve.app import make_app
    from atomtune.serve.metrics import Metrics
    from atomtune.serve.serve import _listen

    source, metrics = resolve(options.model), Metrics()
    pipeline = load_sampler(source, options.scheduler, options.device, options.precision)
    engine = Engine(
        pipeline,
        queue=options.queue,
        cache=options.cache_bytes,
        batch_size=options.batch_size,
        generated=metrics.generated,
    )
    metrics.watch(engine)
    app = make_app(options, engine, source, pipeline.tokenizer, read_tokens(options), metrics)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with _listen(options.host, 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Server(f"http://127.0.0.1:{listening.getsockname()[1]}", engine, options)
        finally:
            server.should_exit = True
            thread.join()
            engine.close()


@pytest.fixture
def runs(tiny_model: Path, tmp_path: Path) -> Path:
    """A folder of the concepts castle, as a run, and rex, as a file."""
    (tmp_path / "runs" / "castle").mkdir(parents=True)
    made_atoms(tmp_path / "runs" / "castle" / "atoms.safetensors", tiny_model)
    rex = {"concept": "rex", "class_noun": "dog", "token": "ohwx", "seed": 1}
    made_atoms(tmp_path / "runs" / "rex.safetensors", tiny_model, **rex)
    return tmp_path / "runs"


@pytest.fixture
def serving(tiny_model: Path, runs: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server with these options, ended after the test."""
    for name in NEEDED:
        pytest.importorskip(name, reason=f"{name} of the extra serve is not installed")
    stack: list[Any] = []

    def start(**changes: Any) -> Server:
        options = ServeOptions(**{"model": str(tiny_model), "runs": runs, "device": "cpu"} | changes)
        stack.append(running(options))
        server: Server = stack[-1].__enter__()
        return server

    yield start
    for context in reversed(stack):
        context.__exit__(None, None, None)
