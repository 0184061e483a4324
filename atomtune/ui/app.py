"""The page: its tabs, what they share, and the endpoints of its API."""

from typing import Any

import gradio as gr

from . import texts
from .api import endpoints
from .compare import CompareTab, compare_tab
from .health import health_tab
from .library import library_tab
from .options import UiOptions
from .queue_panel import queue_panel
from .teach import HIDDEN, teach_tab
from .try_out import TryTab, try_tab

_DAY = 86_400


def page(ui: UiOptions) -> gr.Blocks:
    """The whole page."""
    with gr.Blocks(title=texts.TITLE, analytics_enabled=False, delete_cache=(3600, _DAY)) as blocks:
        endpoints()  # first, as the functions of the tabs would take their names
        gr.Markdown(f"# {texts.TITLE}\n{texts.INTRODUCTION}")
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab(texts.TABS["teach"], id="teach"):
                teach_tab(ui)
            with gr.Tab(texts.TABS["try"], id="try"):
                tried = try_tab(ui)
            with gr.Tab(texts.TABS["compare"], id="compare"):
                compared = compare_tab(ui)
            with gr.Tab(texts.TABS["library"], id="library"):
                library_tab(ui)
            with gr.Tab(texts.TABS["health"], id="health"):
                health_tab()
        queue_panel()
        _pick(tabs, compared, tried)
    made: gr.Blocks = blocks
    return made


def _pick(tabs: gr.Tabs, compared: CompareTab, tried: TryTab) -> None:
    """A checkpoint that was chosen in Compare is what Try begins with."""

    def pick(name: str | None, step: int | None, prompt: str) -> tuple[Any, ...]:
        if not name:
            return (gr.skip(),) * 4
        return gr.update(selected="try"), name, str(step or ""), prompt if prompt.strip() else f"a photo of a <{name}>"

    compared.pick.click(
        pick, [compared.run, compared.step, tried.prompt], [tabs, tried.concept, tried.step, tried.prompt], **HIDDEN
    )
