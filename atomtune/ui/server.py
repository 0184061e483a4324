"""The server of the page: Gradio inside a guard, on one address, with a queue that starts jobs."""

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..errors import AtomtuneError
from . import environment, uploads
from .options import UiOptions
from .queue import Queue
from .security import Guard


def application(ui: UiOptions) -> Guard:
    """The page as an ASGI application, guarded. Raises AtomtuneError where Gradio is not installed."""
    environment.prepare()
    import gradio as gr
    from fastapi import FastAPI

    from .app import page
    from .theme import CSS, theme

    inner = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    inner.get("/report/{place:path}")(_report)
    blocks = page(ui)
    blocks.queue(default_concurrency_limit=4)
    mounted = gr.mount_gradio_app(
        inner,
        blocks,
        path="",
        server_name=ui.host,
        server_port=ui.port,
        allowed_paths=[],
        show_error=False,
        max_file_size=uploads.LARGEST,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        footer_links=["api"],
        theme=theme(),
        css=CSS,
    )
    # launch() sets it and mounting does not; without it Gradio takes any path of the disk for an upload
    blocks.has_launched = True
    return Guard(mounted, ui)


def serve(ui: UiOptions, told: Callable[[str], None]) -> None:
    """Serve the page until a signal ends it; `told` is called with its address. Jobs that run then go on.

    Raises AtomtuneError where the address cannot be had.
    """
    import uvicorn

    guarded = application(ui)
    listening = _socket(ui)
    queue = Queue()
    queue.start()
    host = f"[{ui.host}]" if ":" in ui.host else ui.host
    told(f"http://{host}:{listening.getsockname()[1]}/" + (f"?token={ui.token}" if ui.token else ""))
    config: Any = uvicorn.Config(guarded, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    try:
        with suppress(KeyboardInterrupt):  # the way in which a server ends
            uvicorn.Server(config).run(sockets=[listening])
    finally:
        queue.close()
        listening.close()


def _report(place: str) -> Any:
    """A report of an evaluation or comparison; it may show what is in it, and do nothing."""
    from fastapi.responses import HTMLResponse, PlainTextResponse

    from .compare import report_file

    file = report_file(place)
    if file is None:
        return PlainTextResponse("there is no such report", status_code=404)
    policy = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return HTMLResponse(file.read_bytes(), headers={"content-security-policy": policy})


def _socket(ui: UiOptions) -> socket.socket:
    try:
        return socket.create_server(
            (ui.host, ui.port), family=socket.AF_INET6 if ":" in ui.host else socket.AF_INET, backlog=100
        )
    except OSError as problem:
        raise AtomtuneError(
            f"cannot listen on {ui.host}:{ui.port}: {problem.strerror or problem}", "--port 0 takes a free one"
        ) from None
