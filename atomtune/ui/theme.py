"""How the page looks: Gradio's own theme with the fonts of the system, and a little CSS."""

from typing import Any

CSS = """
.message { padding: .6em .8em; border-left: 4px solid var(--color-accent); background: var(--block-background-fill); }
.message.error { border-color: #c62828; }
.message.warnings { border-color: #b26a00; margin: 0; padding-left: 1.8em; }
.message .hint { margin-top: .3em; opacity: .85; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .15em 1em; margin: 0; }
.facts dt { opacity: .75; }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.scrolls { overflow-x: auto; }
.scrolls table { border-collapse: collapse; width: 100%; }
.scrolls th, .scrolls td { text-align: left; padding: .25em .7em .25em 0; white-space: nowrap; }
.scrolls code, .command code { overflow-wrap: anywhere; white-space: pre-wrap; }
.chart .vega-embed { height: 250px !important; }  /* or the legend is cut off */
.scrolls thead, .scrolls tbody, .scrolls table, .scrolls th, .scrolls td { border: 0 !important; }
.scrolls tr { border-bottom: 1px solid var(--border-color-primary) !important; }
.grid-wrap.fixed-height { min-height: 0 !important; }
.crop img { width: 100%; height: 100%; object-fit: contain; }
.report iframe { width: 100%; height: 70vh; border: 1px solid var(--border-color-primary); background: white; }
.doctor textarea { font-family: ui-monospace, monospace; }
button:focus-visible, [tabindex]:focus-visible { outline: 3px solid var(--color-accent); outline-offset: 2px; }
@media (max-width: 480px) {
  .gradio-container { padding: 8px !important; }
  .facts { grid-template-columns: 1fr; }
  .facts dd { margin-bottom: .4em; }
}
"""


def theme() -> Any:
    """Gradio's default theme without fonts to fetch; it follows the system's choice of light and dark."""
    import gradio as gr

    return gr.themes.Default(
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        block_info_text_color="*neutral_600",  # as light as it comes, it is hard to read
        block_info_text_color_dark="*neutral_300",
    )
