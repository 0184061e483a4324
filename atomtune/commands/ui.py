"""atomtune ui: a page to teach and to look, in the browser."""

from ..ui.options import UiOptions
from .console import Console


def ui(console: Console, options: UiOptions) -> None:
    """Open a page for the browser: teach, generate, compare, export, without a shell.

    Serves this machine alone, unless --host says otherwise, which needs --auth or --token. Runs are in runs/ and images
    in concepts/, as for the other commands; a training goes on where the page or this command is closed.

    Examples:
        atomtune ui
        atomtune ui --model pocket --port 8000
        atomtune ui --host 0.0.0.0 --auth anna:secret
    """
    from ..ui.server import serve

    serve(options, lambda address: console.result({"address": address}, address))
