"""atomtune serve: images of concepts over HTTP."""

from ..serve.options import ServeOptions
from .console import Console, fields


def serve(console: Console, options: ServeOptions) -> None:
    """Answer requests for images of concepts over HTTP, from one base model that is loaded once.

    POST /v1/images takes a prompt and concepts and answers with the PNG that sample writes for the same seed.
    /v1/concepts lists the concepts, /health and /metrics are for operation, /openapi.json describes it all. Prints the
    address, and ends on Ctrl-C or SIGTERM.

    Examples:
        atomtune serve --model pocket --port 8000
        atomtune serve --host 0.0.0.0 --token-file tokens.txt --runs concepts-of-all-customers --cache 8
    """
    from ..serve.serve import serve as run

    def ready(address: str, concepts: int) -> None:
        data = {"address": address, "concepts": concepts, "runs": options.runs}
        shown = {
            "address": address,
            "concepts": f"{concepts} in {options.runs}",
            "interface": f"{address}/openapi.json",
        }
        console.result(data, fields(shown))

    run(options, ready, console.events)
