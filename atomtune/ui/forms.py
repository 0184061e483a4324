"""Forms made from options classes: a component for every option, and what was filled in."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ..runtime.option import Option
from ..runtime.options import Options, options_of
from . import texts


@dataclass
class Form:
    """The components of some options.

    Attributes:
        fields: options with their components, in the order in which a page shows them.
        starts: values that the page begins with where they are not the options' own defaults, by name.
    """

    options: tuple[type[Options], ...]
    fields: dict[str, tuple[Option, Any]] = field(default_factory=dict)
    starts: dict[str, Any] = field(default_factory=dict)

    @property
    def components(self) -> list[Any]:
        """The components alone, in order."""
        return [component for _, component in self.fields.values()]

    def given(self, values: Sequence[Any]) -> dict[str, Any]:
        """What is filled in, by the options' names: what is empty, or the option's default, is left out.

        Raises ValueError where there are not as many values as fields.
        """
        return self.some(list(self.fields), values)

    def some(self, names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
        """The same of some of the fields."""
        found = {}
        for name, value in zip(names, values, strict=True):
            option, _ = self.fields[name]
            filled = cleaned(option, value)
            if filled is not None and (filled != option.default or name in self.starts):
                found[name] = filled
        return found


def options_by_name(classes: Iterable[type[Options]]) -> dict[str, Option]:
    """Every option of some classes, by its name."""
    return {option.name: option for kind in classes for option in options_of(kind)}


def form(
    *classes: type[Options],
    prefix: str,
    essential: Sequence[str],
    without: Collection[str] = (),
    starts: Mapping[str, Any] | None = None,
) -> Form:
    """Lay out a form within the current context of Gradio: essentials first, the rest folded away by panels.

    Args:
        prefix: of the components' ids in the page, as in "train-steps".
        essential: names of options that are shown at once.
        without: names of options that other parts of the page have.
        starts: values to begin with.
    """
    made = Form(classes, starts=dict(starts or {}))
    known = options_by_name(classes)
    shown = {name: option for name, option in known.items() if name not in without}
    if essential:
        with gr.Row():
            for name in essential:
                made.fields[name] = (shown[name], component(shown[name], prefix, made.starts.get(name)))
    rest = [option for name, option in shown.items() if name not in essential]
    if not rest:
        return made
    with gr.Accordion(texts.ADVANCED, open=False, elem_id=f"{prefix}-advanced"):
        for panel in dict.fromkeys(map(_panel, rest)):
            with gr.Accordion(panel, open=False), gr.Row():
                for option in rest:
                    if _panel(option) == panel:
                        made.fields[option.name] = (option, component(option, prefix, made.starts.get(option.name)))
    return made


def component(option: Option, prefix: str, start: Any = None) -> Any:
    """The component of one option."""
    value = start if start is not None else shown_default(option)
    common: dict[str, Any] = {
        "label": label(option),
        "info": option.help.replace("; give it again for more", "").replace(" Give it again for more.", ""),
        "elem_id": f"{prefix}-{option.name.replace('_', '-')}",
        "min_width": 240,
    }
    if option.kind is bool and option.default is None:  # neither on nor off means something of its own
        words = [(placeholder(option), ""), (texts.YES, texts.YES), (texts.NO, texts.NO)]
        return gr.Dropdown(choices=words, value="", **common)
    if option.kind is bool:
        return gr.Checkbox(value=bool(value), **common)
    if option.choices is not None and not option.many:
        empty = [] if option.default is not None or start is not None else [(placeholder(option), "")]
        listed = [(choice, choice) for choice in option.allowed]
        return gr.Dropdown(choices=[*empty, *listed], value=value if value is not None else "", **common)
    # an empty gr.Number becomes 0, so a number that may be left out is a text
    if option.kind in (int, float) and not option.many and value is not None:
        return gr.Number(
            value=value,
            precision=0 if option.kind is int else None,
            step=1 if option.kind is int else 0.1,
            **common,
        )
    lines = 2 if option.many else 1
    text = "\n".join(map(str, value)) if option.many and value else "" if value is None or option.many else str(value)
    common["info"] += texts.ONE_A_LINE if option.many else ""
    return gr.Textbox(value=text, placeholder=placeholder(option), lines=lines, max_lines=8, **common)


def label(option: Option) -> str:
    """The option's name in words; what it is called on the command line."""
    words = option.name.replace("_", " ")
    return words[:1].upper() + words[1:]


def placeholder(option: Option) -> str:
    """What an empty field says: the default, or what a value must be."""
    return (
        option.default_text
        or option.shown_default
        or (option.expected if option.kind in (int, float) else option.metavar or "")
    )


def shown_default(option: Option) -> Any:
    """The default as a component begins with it; None where it is derived or there is none."""
    return None if option.is_required or option.default in (None, ()) else option.default


def cleaned(option: Option, value: Any) -> Any:
    """A component's value as the option takes it; None for an empty field."""
    if value is None or value == "" or value == []:
        return None
    if option.kind is bool:
        return value == texts.YES if isinstance(value, str) else bool(value)
    if option.many:
        lines = value.splitlines() if isinstance(value, str) else list(value)
        listed = tuple(str(line).strip() for line in lines if str(line).strip())
        return listed or None
    if option.kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str) or not value.strip():
        return value if not isinstance(value, str) else None
    try:
        return option.parsed(value.strip())
    except ValueError:
        return value.strip()  # the option says what is wrong with it


def _panel(option: Option) -> str:
    return option.panel or option.group.panel
