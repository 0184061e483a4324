"""Write what the docs say of options: docs/commands.md, and the tables between markers in other pages.

python docs/reference.py            # write
python docs/reference.py --check    # exit code 1 where a page is not current
"""

import re
import sys
from inspect import cleandoc
from itertools import groupby
from pathlib import Path

from atomtune.commands.app import COMMANDS, FLEET, POCKET
from atomtune.commands.classify import CLASSIFY
from atomtune.commands.options.signature import option_classes
from atomtune.runtime.option import Option
from atomtune.runtime.options import Options, declared_options, options_of
from atomtune.training import options as training

DOCS = Path(__file__).parent
INTRODUCTION = """\
Every command also takes `--config FILE`, `--json`, `--quiet`, `--verbose` and `--help`. The concept needs no
`--concept`, nor do the prompts of `sample`: `atomtune train rex`, `atomtune sample rex "a <rex> in the snow"`.
`train --help` shows the essential options, `--help-all` every one. A file is TOML, whose keys are the options' names
with underscores, at the top or in a table named after their group (`[optimizer]`), or the `run.json` of a run; what the
command line says counts more. Flags have a negative, as `--no-ema`, to switch off what a file switches on. Names that
other trainers have for an option are understood, with dashes or underscores.

This page is made by `python docs/reference.py`.
"""
TABLE = re.compile(r"(<!-- options: (\w+) -->\n).*?(<!-- end of options -->)", re.DOTALL)


def pages() -> dict[Path, str]:
    """Every page that says something of options, as it should be."""
    found = {DOCS / "commands.md": commands()}
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if TABLE.search(text):
            found[path] = TABLE.sub(lambda match: match[1] + table(declared_options(group(match[2]))) + match[3], text)
    return found


def group(name: str) -> type[Options]:
    """An options class by its name."""
    found: type[Options] = vars(training)[name]
    return found


def commands() -> str:
    """The page of all commands."""
    parts = [
        "# Commands\n",
        INTRODUCTION,
    ]
    named = {command.__name__: command for command in COMMANDS}
    named |= {f"pocket {name}": command for name, command in POCKET.items()}
    named |= {f"classify {name}": command for name, command in CLASSIFY.items()}
    named |= {f"fleet {name}": command for name, command in FLEET.items()}
    for name, command in named.items():
        description, _, examples = cleandoc(command.__doc__ or "").partition("Examples:\n")
        parts += [f"## atomtune {name}\n", description.strip() + "\n"]
        parts += ["```console", *(line.strip() for line in examples.splitlines()), "```\n"]
        options = [option for cls in option_classes(command).values() for option in options_of(cls)]
        by_panel = sorted(options, key=lambda option: [panel(one) for one in options].index(panel(option)))
        for heading, items in groupby(by_panel, key=panel):
            parts += [f"### {heading}\n", table(list(items))]
    return "\n".join(parts)


def panel(option: Option) -> str:
    """The heading that an option is under in help."""
    return option.panel or option.group.panel


def table(options: list[Option] | tuple[Option, ...]) -> str:
    """A table of options."""
    rows = ["| option | | must be | default | other trainers |", "|---|---|---|---|---|"]
    for option in options:
        flag = f"`{option.flag}{' ' + option.metavar if option.metavar else ''}`"
        expected = "" if option.kind is bool or option.expected in ("text", "a path") else option.expected
        default = "required" if option.is_required else option.default_text
        names = ", ".join(f"`--{name}`" for name in option.aliases)
        cells = [flag, option.help, expected, default, names]
        shown = (cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells)
        rows.append("| " + " | ".join(shown) + " |")
    return "\n".join(rows) + "\n"


def main() -> int:
    """Write, or check, every page."""
    stale = {path: text for path, text in pages().items() if not path.is_file() or path.read_text("utf-8") != text}
    for path, text in stale.items():
        if "--check" in sys.argv:
            sys.stderr.write(f"{path} is not current: python docs/reference.py\n")
        else:
            path.write_text(text, encoding="utf-8")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
