"""The tab Health: what `atomtune doctor` says."""

import subprocess
import sys

import gradio as gr

from . import texts
from .teach import HIDDEN

_SECONDS = 600


def health_tab() -> None:
    """Lay the tab out."""
    button = gr.Button(texts.HEALTH_BUTTON, variant="primary", elem_id="health-check")
    said = gr.Textbox(
        label=texts.HEALTH, lines=20, max_lines=60, interactive=False, elem_id="health-text", elem_classes="doctor"
    )
    button.click(lambda: texts.HEALTH_WAIT, None, said, **HIDDEN).then(doctor, None, said, **HIDDEN)


def doctor() -> str:
    """What `atomtune doctor` prints, its errors too. It looks from a process of its own, as what it tests may crash."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "atomtune", "-q", "doctor"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return f"doctor did not answer within {_SECONDS} s"
    block = done.stdout.strip().removeprefix("```text").removesuffix("```").strip()
    return "\n\n".join(filter(None, [block, done.stderr.strip()]))
