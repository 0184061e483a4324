"""Progress events of long work. This base class shows warnings alone; the command line shows progress bars."""

from .notices import warn


class Events:
    """Callbacks; override those you need."""

    def phase(self, text: str) -> None:
        """A phase without a count begins."""

    def warn(self, text: str) -> None:
        """Warn the user; the work goes on. A Python warning, unless overridden."""
        warn(text)

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Work of `total` parts begins, of which `done` are finished already."""

    def advance(self, note: str = "") -> None:
        """One part is finished; `note` is shown beside the bar."""

    def note(self, text: str) -> None:
        """What goes on meanwhile, shown beside the bar."""

    def end(self) -> None:
        """The work of `begin` is over."""
