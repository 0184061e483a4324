"""The tab Try: prompts with concepts, the images as they come, and their settings put back into the form."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ..errors import AtomtuneError, UsageError
from ..files.atoms_file import load_atoms
from ..sampling.options import SampleOptions, trained_concepts
from ..training.run_folder import RunFolder
from . import images, jobs, messages, orders, run_state, texts
from .forms import Form, form
from .jobs import Job
from .options import UiOptions
from .orders import Wanted
from .teach import HIDDEN

SLOTS = 4
ESSENTIAL = ("per_prompt", "seed", "steps", "base")
ELSEWHERE = ("prompt", "prompts", "grid")
SCALES = "0.5, 0.75, 1, 1.25"


@dataclass(frozen=True)
class TryTab:
    """What other tabs set here: the concept of the first slot, its step, the prompt."""

    concept: gr.Dropdown
    step: gr.Textbox
    prompt: gr.Textbox


def try_tab(ui: UiOptions) -> TryTab:
    """Lay the tab out."""
    with gr.Row():
        with gr.Column(min_width=300):
            slots = [_slot(0)]
            step = gr.Textbox(label=texts.STEP, info=texts.STEP_INFO, elem_id="try-step", max_lines=1)
            with gr.Accordion(texts.MORE_CONCEPTS, open=False, elem_id="try-more"):
                slots += [_slot(number) for number in range(1, SLOTS)]
            prompt = gr.Textbox(label=texts.PROMPT, info=texts.PROMPT_INFO, lines=2, elem_id="try-prompt")
        with gr.Column(min_width=300):
            starts = {"per_prompt": 2, "steps": 25, "base": True, **({"model": ui.model} if ui.model else {})}
            options = form(SampleOptions, prefix="sample", essential=ESSENTIAL, without=ELSEWHERE, starts=starts)
            with gr.Row():
                generate = gr.Button(texts.GENERATE, variant="primary", elem_id="try-generate", min_width=120)
                stop = gr.Button(texts.STOP, variant="stop", interactive=False, elem_id="try-stop", min_width=80)
            said = gr.HTML(elem_id="try-said")
            status = gr.HTML(elem_id="try-status")
    gallery = gr.Gallery(
        label=texts.IMAGES, columns=4, height="auto", object_fit="contain", elem_id="try-images", interactive=False
    )
    chosen = gr.HTML(messages.note(texts.CHOOSE_IMAGE), elem_id="try-settings")
    with gr.Accordion(texts.GRID, open=False, elem_id="try-grid"):
        scales = gr.Textbox(SCALES, label=texts.GRID_SCALES, info=texts.GRID_SCALES_INFO, elem_id="try-scales")
        grid = gr.Button(texts.GRID_BUTTON, elem_id="try-grid-start")
        sheet = gr.Gallery(label=texts.GRID_SHEET, columns=1, height="auto", elem_id="try-sheet", interactive=False)
    flat = [part for slot in slots for part in slot]
    filled = [*flat, step, prompt, *options.components]

    def order(*values: Any, scales: str | None = None) -> str:
        concepts = _wanted(values[: 2 * SLOTS])
        step, prompt, rest = values[2 * SLOTS], values[2 * SLOTS + 1], values[2 * SLOTS + 2 :]
        given = options.given(rest) | {"prompt": tuple(line.strip() for line in prompt.splitlines() if line.strip())}
        try:
            if scales is None:
                job = orders.sample(concepts, _step(step), given)
            else:
                job = orders.grid(concepts, scales, given)
        except AtomtuneError as problem:
            return messages.error(problem)
        return messages.note(f"job {job.number}: {job.title}")

    shown: gr.State = gr.State(None)
    timer = gr.Timer(1.0)

    def tick(first: str | None, before: Any) -> tuple[Any, ...]:
        latest = next((job for job in reversed(jobs.jobs()) if job.kind == "sample"), None)
        names = [first] if first else []
        found = images.images_of_jobs(latest, names)
        sheets = images.sheets_of(latest)
        trained = trained_concepts("")
        state = latest.state if latest is not None else ""
        progress = latest.progress if latest is not None and state == jobs.RUNNING else ""
        now = (tuple(found), tuple(sheets), latest.number if latest else 0, state, progress, tuple(trained), first)
        if now == before:
            return (gr.skip(),) * (SLOTS + 5)
        pictures = [(str(path), images.caption(path)) for path in found]
        same = before is not None and before[0] == now[0]
        choices = [gr.update(choices=["", *trained])] * SLOTS
        if (before is None or before[5] != now[5]) and not first and trained:
            choices[0] = gr.update(choices=["", *trained], value=_newest(trained))
        return (
            _status(latest, state, progress),
            gr.skip() if same else pictures,
            [(str(path), path.name) for path in sheets[:1]] if sheets else gr.skip(),
            gr.update(interactive=state in (jobs.QUEUED, jobs.RUNNING)),
            *(choices if before is None or before[5] != now[5] else [gr.skip()] * SLOTS),
            now,
        )

    def do_stop() -> str:
        latest = next((job for job in reversed(jobs.jobs()) if job.kind == "sample"), None)
        if latest is not None:
            latest.stop()
        return messages.note("images that are ready stay")

    def back(event: gr.SelectData, first: str | None) -> tuple[Any, ...]:
        return _put_back(event.index, first, options)

    generate.click(order, filled, said, **HIDDEN)
    prompt.submit(order, filled, said, **HIDDEN)
    grid.click(lambda scales, *values: order(*values, scales=scales), [scales, *filled], said, **HIDDEN)
    stop.click(do_stop, None, said, **HIDDEN)
    outputs = [status, gallery, sheet, stop, *(slot[0] for slot in slots), shown]
    timer.tick(tick, [slots[0][0], shown], outputs, **HIDDEN)
    gallery.select(back, slots[0][0], [chosen, prompt, *flat, *options.components], **HIDDEN)
    slots[0][0].input(_first_prompt, [slots[0][0], prompt], prompt, **HIDDEN)
    return TryTab(slots[0][0], step, prompt)


def _slot(number: int) -> tuple[gr.Dropdown, gr.Slider]:
    with gr.Row():
        concept = gr.Dropdown(
            ["", *trained_concepts("")],
            value="",
            label=texts.CONCEPT if number == 0 else f"{texts.CONCEPT} {number + 1}",
            elem_id=f"try-concept-{number + 1}",
            min_width=140,
        )
        scale = gr.Slider(
            -1,
            2,
            1,
            step=0.05,
            label=texts.SCALE if number == 0 else f"{texts.SCALE} {number + 1}",
            elem_id=f"try-scale-{number + 1}",
            min_width=140,
        )
    return concept, scale


def _wanted(values: Sequence[Any]) -> list[Wanted]:
    pairs = zip(values[::2], values[1::2], strict=True)
    return [Wanted(str(name), float(scale)) for name, scale in pairs if name]


def _step(text: str | None) -> int | None:
    if not (text or "").strip():
        return None
    try:
        return int(str(text))
    except ValueError:
        raise UsageError(f"{text!r} is no step", "a whole number, or nothing for the last") from None


def _first_prompt(name: str | None, prompt: str) -> Any:
    return f"a photo of a <{name}>" if name and not prompt.strip() else gr.skip()


def _newest(names: list[str]) -> str:
    return next((name for name in run_state.runs() if name in names), names[0])


def _status(job: Job | None, state: str, progress: str) -> str:
    if job is None:
        return ""
    pairs = {"state": texts.STATES[state], "now": progress, texts.COMMAND.lower(): job.command_line}
    problem = job.problem
    said = messages.error(problem) if problem is not None else ""
    return f'<div role="status">{messages.facts(pairs)}</div>{messages.warnings(job.warnings)}{said}'


def _put_back(number: Any, first: str | None, options: Form) -> tuple[Any, ...]:
    """The settings of the image of this number in the gallery, in the form's components."""
    latest = next((job for job in reversed(jobs.jobs()) if job.kind == "sample"), None)
    found = images.images_of_jobs(latest, [first] if first else [])
    kept = (gr.skip(),) * (1 + 2 * SLOTS + len(options.components))
    if type(number) is not int or not 0 <= number < len(found):
        return (gr.skip(), *kept)
    facts = images.settings_of(found[number])
    used = [item for item in facts.get("atoms") or [] if isinstance(item, dict)][:SLOTS]
    slots: list[Any] = []
    triggers = {}
    for item in used:
        name = str(item.get("concept"))
        slots += [name if name in trained_concepts("") else "", item.get("scale", 1.0)]
        if (words := _trigger(name)) is not None:
            triggers[name] = words
    if used:
        slots += ["", 1.0] * (SLOTS - len(used))
    else:  # the base model's: the concepts stay as they are
        slots = [gr.skip()] * (2 * SLOTS)
        if first and (words := _trigger(first)) is not None:
            triggers[first] = words
    size = facts.get("size")
    values = {
        "seed": facts.get("seed"),
        "steps": facts.get("steps"),
        "guidance_scale": facts.get("guidance_scale"),
        "negative_prompt": facts.get("negative_prompt", ""),
        "scheduler": "" if facts.get("scheduler") == "model" else facts.get("scheduler", ""),
        "per_prompt": 1,
        "size": f"{size[0]}x{size[1]}" if isinstance(size, list) and len(size) == 2 else "",
    }
    filled = [values.get(name, gr.skip()) for name in options.fields]
    return (_settings(found[number], facts), images.words_back(facts, triggers), *slots, *filled)


def _settings(path: Path, facts: dict[str, Any]) -> str:
    shown = {name: facts.get(name) for name in ("prompt", "negative_prompt", "seed", "steps", "guidance_scale")}
    shown |= {"scheduler": facts.get("scheduler"), "base": facts.get("base"), "concepts": images.caption(path)}
    pairs = {name.replace("_", " "): str(value) for name, value in shown.items() if value not in (None, "")}
    return messages.facts({"file": path.as_posix(), **pairs})


def _trigger(name: str) -> str | None:
    try:
        return load_atoms(RunFolder(run_state.run_path(name)).atoms)[1].trigger
    except (AtomtuneError, UsageError):
        return None
