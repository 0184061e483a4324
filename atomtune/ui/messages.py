"""Messages on the page: whatever a file, a user or a library says is shown as text, never as markup."""

from html import escape

from ..errors import AtomtuneError, printable
from .jobs import Problem


def error(problem: AtomtuneError | Problem) -> str:
    """What is wrong, and the hint, as the command line has them; screen readers read it at once."""
    lines = "<br>".join(escape(printable(line)) for line in problem.message.splitlines())
    hint = f'<div class="hint">Hint: {escape(printable(problem.hint))}</div>' if problem.hint else ""
    return f'<div role="alert" class="message error"><strong>Error:</strong> {lines}{hint}</div>'


def note(text: str) -> str:
    """Something that went well."""
    return f'<div role="status" class="message">{escape(printable(text))}</div>' if text else ""


def warnings(texts: list[str]) -> str:
    """Warnings, one below the other."""
    items = "".join(f"<li>{escape(printable(text))}</li>" for text in texts)
    return f'<ul class="message warnings" aria-label="Warnings">{items}</ul>' if items else ""


def facts(pairs: dict[str, str]) -> str:
    """Names and values."""
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(printable(value))}</dd>" for name, value in pairs.items() if value
    )
    return f'<dl class="facts">{rows}</dl>' if rows else ""


def table(header: list[str], rows: list[list[str]], caption: str) -> str:
    """A table that scrolls by itself where the page is narrow."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(printable(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="scrolls" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def command(line: str) -> str:
    """A command line to copy."""
    return f"<code>{escape(printable(line))}</code>"
