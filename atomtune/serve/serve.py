"""The server: from its options to the end of the process."""

import socket
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec

from ..errors import AtomtuneError, UsageError
from ..models.base_model import resolve
from ..runtime.malloc import keep_freed_memory
from ..runtime.progress import Events
from ..sampling.generate import load_sampler
from .access import read_tokens
from .concepts import concept_files
from .options import ServeOptions

_NEEDED = ("fastapi", "uvicorn", "prometheus_client")
_CONNECTIONS = 64  # beside those whose requests wait


def serve(options: ServeOptions, ready: Callable[[str, int], None], events: Events | None = None) -> None:
    """Answer requests until the process is told to end (SIGINT, SIGTERM); what is being generated is finished.

    Args:
        ready: is called with the address and the number of concepts once requests are answered.

    Raises:
        UsageError: the extra is not installed, no token for a server that others reach, an unknown scheduler.
        AtomtuneError: the address is in use, the model cannot be loaded.
    """
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise UsageError(f"serve needs {', '.join(missing)}", "pip install 'atomtune[serve]'")
    import uvicorn

    from .app import make_app
    from .engine import Engine
    from .metrics import Metrics

    events = events or Events()
    tokens = read_tokens(options)
    source = replace(resolve(options.model), vae=options.vae)
    listening = _listen(options.host, options.port)
    with listening:
        events.phase(f"loading {source.name}")
        keep_freed_memory()
        pipeline = load_sampler(source, options.scheduler, options.device, options.precision)
        metrics = Metrics()
        engine = Engine(
            pipeline,
            queue=options.queue,
            cache=options.cache_bytes,
            batch_size=options.batch_size,
            events=events,
            generated=metrics.generated,
        )
        metrics.watch(engine)
        try:
            app = make_app(options, engine, source, pipeline.tokenizer, tokens, metrics)
            config = uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=options.queue + _CONNECTIONS,
                timeout_graceful_shutdown=int(options.timeout) + 1,
            )
            host, port = listening.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            ready(f"http://{shown}:{port}", len(concept_files(options.runs)))
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            engine.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as problem:
        raise AtomtuneError(f"cannot listen on {host}: {problem.strerror}", "as in --host 127.0.0.1") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(256)
    except OSError as problem:
        listening.close()
        raise AtomtuneError(
            f"cannot listen on {host} port {port}: {problem.strerror}", "--port names another one, 0 any free one"
        ) from None
    return listening
