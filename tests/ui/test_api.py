"""The page's HTTP API with gradio_client: the example of docs/ui.md, and answers to wrong questions."""

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from atomtune.ui.options import UiOptions
from made import made_atoms
from page_server import ROOT, PageServer

pytest.importorskip("gradio", reason="needs the extra ui")

ENDPOINTS = {
    *("upload", "train", "resume", "sample", "export", "stop", "job", "watch", "runs", "concepts", "atoms", "files"),
}


WRONG = (
    (("../rex", {}), "/train", "cannot be the name of a concept"),
    (("rex", {"steps": 0}), "/train", "steps must be a whole number"),
    (("rex", {"stepps": 5}), "/train", "stepps is no option"),
    ((99,), "/job", "there is no job 99"),
    (("nothing",), "/atoms", "is not there"),
)
"""Questions that are answered with an error, and words of it."""


@pytest.fixture
def address(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the page of a small random model answers, out of a thread of this process; jobs wait for ever."""
    import uvicorn

    from atomtune.ui.server import application

    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # set by the page; given back after the test
    listening = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server = uvicorn.Server(uvicorn.Config(application(UiOptions(model=str(tiny_model))), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield address
    server.should_exit = server.force_exit = True  # clients keep their connections
    thread.join()
    listening.close()


def test_wrong_questions_are_answered_as_on_the_command_line(address: str, tiny_model: Path) -> None:
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    made_atoms(Path("runs/rex/rex.safetensors"), tiny_model, concept="rex")
    client = Client(address, verbose=False)
    assert {name.removeprefix("/") for name in client.view_api(return_format="dict")["named_endpoints"]} == ENDPOINTS
    assert [run["name"] for run in client.predict(api_name="/concepts")] == ["rex"]
    for arguments, endpoint, words in WRONG:
        with pytest.raises(AppError, match=words):
            client.predict(*arguments, api_name=endpoint)


@pytest.fixture
def server(tiny_model: Path) -> Iterator[PageServer]:
    """The same page by a process of its own, which starts jobs."""
    served = PageServer(Path.cwd(), "--model", str(tiny_model)).start()
    yield served
    served.close()


@pytest.mark.slow
def test_the_example_of_the_docs_runs(server: PageServer, tiny_model: Path) -> None:
    from gradio_client import Client

    Path("photos").mkdir()
    for number in range(4):
        Image.linear_gradient("L").rotate(30 * number).convert("RGB").save(f"photos/{number}.png")
    (example,) = re.findall(r"```py\n(.*?)```", (ROOT / "docs" / "ui.md").read_text(encoding="utf-8"), re.DOTALL)
    example = example.replace("http://127.0.0.1:7860/", server.address)
    example = example.replace('"steps": 300', f'"steps": 4, "model": {str(tiny_model)!r}, "device": "cpu"')
    example = example.replace('"prompt": [', '"steps": 2, "device": "cpu", "prompt": [')
    names: dict[str, Any] = {}
    exec(compile(example, "docs/ui.md", "exec"), names)
    assert Path(names["atoms"]).read_bytes() == Path("runs/rex/rex.safetensors").read_bytes()
    assert names["state"]["state"] == "done", names["state"]
    assert len(names["images"]) == 1
    state = Client(server.address, verbose=False).predict("rex", api_name="/runs")
    assert (state["state"], state["step"], len(state["losses"])) == ("done", 4, 4)
