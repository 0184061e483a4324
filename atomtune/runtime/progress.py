"""What long work tells whoever is watching. This base class is silent; the command line draws progress bars."""


class Events:
    """Override what is of interest."""

    def phase(self, text: str) -> None:
        """Something that takes a while begins."""

    def warn(self, text: str) -> None:
        """Something the user should know, though the work goes on."""

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Countable work begins; `done` of `total` parts are finished already."""

    def advance(self, note: str = "") -> None:
        """One part is finished; `note` is a figure to show beside the bar."""

    def end(self) -> None:
        """The countable work is over."""
