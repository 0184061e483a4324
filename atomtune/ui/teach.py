"""The tab Teach: images and captions, options, and the run as it goes on."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from ..data.image_files import SUFFIXES
from ..errors import AtomtuneError
from ..pocket.world import THINGS
from ..runtime.units import counted
from ..training.options import PrepareOptions, TrainOptions
from ..training.prepare import examine
from . import jobs, messages, orders, run_state, texts, uploads, watch
from .estimate import estimate
from .forms import Form, form
from .options import UiOptions
from .run_state import RunState

ESSENTIAL = ("preset", "steps", "sample_every", "sample_prompt")
ELSEWHERE = ("concept", "class_noun", "images")
SAMPLE_EVERY = 50
HIDDEN: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def teach_tab(ui: UiOptions) -> gr.Dropdown:
    """Lay the tab out; returns the choice of the run, for others to set."""
    with gr.Row():
        with gr.Column(min_width=300):
            name = gr.Textbox(label=texts.NAME, info=texts.NAME_INFO, elem_id="teach-name", max_lines=1)
            noun = gr.Textbox(label=texts.NOUN, info=texts.NOUN_INFO, elem_id="teach-noun", max_lines=1)
            files = gr.File(
                label=texts.UPLOAD,
                file_count="multiple",
                file_types=sorted(SUFFIXES),
                elem_id="teach-upload",
                height=150,
            )
            with gr.Accordion(texts.THING, open=False, elem_id="teach-thing"):
                kind = gr.Dropdown(sorted(THINGS), value="castle", label=texts.THING_KIND, elem_id="teach-thing-kind")
                number = gr.Number(7, label=texts.THING_NUMBER, precision=0, minimum=0, elem_id="teach-thing-number")
                render_button = gr.Button(texts.THING_BUTTON, elem_id="teach-thing-use")
        with gr.Column(min_width=300):
            options = form(
                TrainOptions,
                prefix="train",
                essential=ESSENTIAL,
                without=ELSEWHERE,
                starts={"sample_every": SAMPLE_EVERY, "preset": "c2", **({"model": ui.model} if ui.model else {})},
            )
            planned = gr.HTML(elem_id="teach-plan")
            with gr.Row():
                start = gr.Button(texts.START, variant="primary", elem_id="teach-start")
                again = gr.Button(texts.START_AGAIN, elem_id="teach-again", visible=False)
            said = gr.HTML(elem_id="teach-said")
    look = gr.Button(texts.LOOK, elem_id="teach-look", size="sm")
    looked = gr.State(0)
    _crops(looked, name, noun, options)
    run, events = _run_panel()

    def given(name: str, noun: str, values: tuple[Any, ...]) -> dict[str, Any]:
        found = options.given(values) | {"concept": name.strip()}
        return found | ({"class_noun": noun.strip()} if noun.strip() else {})

    def upload(paths: list[str] | None, name: str, count: int) -> tuple[Any, ...]:
        if not paths:
            return gr.skip(), gr.skip(), gr.skip()
        try:
            taken = uploads.take([uploads.uploaded(path) for path in paths], name)
        except AtomtuneError as problem:
            return messages.error(problem), gr.skip(), count
        now_in = f"{counted(len(taken.kept), 'image')} now in {uploads.concept_folder(name)}"
        kept = messages.note(now_in) if taken.kept else ""
        return kept + messages.warnings(list(taken.refused)), None, count + 1

    def thing(kind: str, number: float | None, name: str, noun: str, count: int) -> tuple[Any, ...]:
        wanted = name.strip() or kind
        try:
            names = uploads.render_thing(kind, int(number or 0), wanted)
        except AtomtuneError as problem:
            return messages.error(problem), gr.skip(), gr.skip(), count
        return messages.note(f"{counted(len(names), 'image')} of a {kind}"), wanted, noun.strip() or kind, count + 1

    def show_plan(name: str, noun: str, *values: Any) -> str:
        try:
            asked = given(name.strip() or "concept", noun, values)
            return messages.note(estimate(orders.checked(TrainOptions, asked)).text)
        except AtomtuneError as problem:
            return messages.error(problem)

    def begin(name: str, noun: str, *values: Any, overwrite: bool = False) -> tuple[Any, ...]:
        try:
            job = orders.train(given(name, noun, values), again=overwrite)
        except AtomtuneError as problem:
            return messages.error(problem), gr.skip(), gr.skip()
        return messages.note(f"job {job.number}: {job.title}"), _choose(job.run), gr.update(visible=False)

    filled = [name, noun, *options.components]
    files.upload(upload, [files, name, looked], [said, files, looked], **HIDDEN)
    render_button.click(thing, [kind, number, name, noun, looked], [said, name, noun, looked], **HIDDEN)
    look.click(lambda count: count + 1, looked, looked, **HIDDEN)
    name.blur(lambda count: count + 1, looked, looked, **HIDDEN)
    for label in ("preset", "steps", "model", "method", "resolution", "crop"):
        options.fields[label][1].change(show_plan, filled, planned, **HIDDEN)
    start.click(begin, filled, [said, run, again], **HIDDEN)
    again.click(lambda *values: begin(*values, overwrite=True), filled, [said, run, again], **HIDDEN)
    events(said, again)
    return run


def _crops(looked: gr.State, name: gr.Textbox, noun: gr.Textbox, options: Form) -> None:
    """The images as training sees them, with warnings and captions, anew whenever `looked` changes."""
    shared = ("model", "seed", "prompt", "resolution", "crop", "masked", "caption_lines")
    fields = [options.fields[label][1] for label in shared]

    @gr.render(inputs=[looked, name, noun, *fields], triggers=[looked.change])
    def show(count: int, name: str, noun: str, *values: Any) -> None:
        if not name.strip():
            return
        given: dict[str, Any] = {"concept": name.strip()} | ({"class_noun": noun.strip()} if noun.strip() else {})
        given |= options.some(shared, values)
        try:
            folder = uploads.concept_folder(name)
            if not folder.is_dir():
                return
            seen = examine(orders.checked(PrepareOptions, given))
        except AtomtuneError as problem:
            gr.HTML(messages.error(problem))
            return
        gr.Markdown(f"### {texts.SEEN}: {counted(len(seen.crops), 'image')} of {seen.side} × {seen.side} pixels")
        gr.HTML(messages.warnings(seen.warnings))
        with gr.Row():
            for crop, fact in zip(seen.crops, seen.facts, strict=True):
                with gr.Column(scale=0, min_width=220):
                    _one_image(crop, fact, name, looked)

    del show


def _one_image(crop: Any, fact: Any, name: str, looked: gr.State) -> None:
    file = crop.path.name
    notes = [f"{fact.width} × {fact.height}"]
    notes += [f"the same as {fact.same_as.name}"] if fact.same_as else []
    notes += [f"nearly the same as {fact.similar_to.name}"] if fact.similar_to else []
    notes += ["smaller than this, so it is enlarged"] if fact.enlarged else []
    gr.Image(crop.thumbnail, label=file, interactive=False, height=180, buttons=[], elem_classes="crop")
    caption = gr.Textbox(
        fact.caption,
        label=texts.CAPTION.format(name=file),
        info=", ".join(notes),
        lines=2,
        elem_id=f"caption-{crop.path.stem}",
    )
    with gr.Row():
        save = gr.Button(texts.SAVE_CAPTION, size="sm", min_width=80)
        remove = gr.Button(texts.REMOVE.format(name=file), size="sm", min_width=80)
    result = gr.HTML()

    def write(text: str, count: int) -> tuple[Any, ...]:
        try:
            uploads.write_caption(name, file, text)
        except AtomtuneError as problem:
            return messages.error(problem), count
        return messages.note("saved"), count + 1

    def delete(count: int) -> tuple[Any, ...]:
        try:
            uploads.remove_image(name, file)
        except AtomtuneError as problem:
            return messages.error(problem), count
        return "", count + 1

    save.click(write, [caption, looked], [result, looked], **HIDDEN)
    caption.submit(write, [caption, looked], [result, looked], **HIDDEN)
    remove.click(delete, looked, [result, looked], **HIDDEN)


def _choose(name: str) -> Any:
    return gr.update(choices=sorted({name, *run_state.runs()}), value=name)


def _run_panel() -> tuple[gr.Dropdown, Callable[[gr.HTML, gr.Button], None]]:
    """The part that follows a run, and a function that wires it up to where messages go."""
    gr.Markdown(f"### {texts.RUN}")
    with gr.Row():
        run = gr.Dropdown([], label=texts.RUN, info=texts.RUN_INFO, elem_id="teach-run", min_width=200)
        stop = gr.Button(texts.STOP, variant="stop", interactive=False, elem_id="teach-stop", min_width=100)
        resume = gr.Button(texts.RESUME, interactive=False, elem_id="teach-resume", min_width=100)
    with gr.Row():
        with gr.Column(min_width=300):
            status = gr.HTML(texts.NO_RUNS, elem_id="teach-status")
        with gr.Column(min_width=300):
            plot = gr.LinePlot(
                x="step",
                y="loss",
                color="line",
                color_title=" ",
                label=texts.LOSS,
                height=320,
                elem_id="teach-loss",
                elem_classes="chart",
            )
    gallery = gr.Gallery(
        label=texts.PREVIEWS,
        columns=6,
        height="auto",
        object_fit="contain",
        elem_id="teach-previews",
        interactive=False,
    )
    shown: gr.State = gr.State(None)
    timer = gr.Timer(1.0)

    def tick(name: str | None, before: Any) -> tuple[Any, ...]:
        there = run_state.runs()
        if not name or name not in there:
            name = there[0] if there else None
        if name is None:
            return (gr.skip(),) * 7
        state = run_state.run_state(name)
        now = (watch.signature(state), tuple(there))
        if now == before:
            return (gr.skip(),) * 7
        return (*_views(state, before), gr.update(choices=there, value=name), now)

    def do_stop(name: str) -> str:
        job = jobs.newest(name)
        if job is not None:
            job.stop()
        return messages.note("it saves its state and stops")

    def do_resume(name: str) -> str:
        try:
            return messages.note(f"job {orders.resume(name).number}")
        except AtomtuneError as problem:
            return messages.error(problem)

    outputs = [status, plot, gallery, stop, resume, run, shown]
    timer.tick(tick, [run, shown], outputs, **HIDDEN)
    run.change(tick, [run, shown], outputs, **HIDDEN)

    def wire(said: gr.HTML, again: gr.Button) -> None:
        def offer(name: str | None) -> Any:
            problem = run_state.run_state(name).problem if name else None
            return gr.update(visible=problem is not None and "--overwrite" in problem.hint)

        stop.click(do_stop, run, said, **HIDDEN)
        resume.click(do_resume, run, said, **HIDDEN)
        status.change(offer, run, again, **HIDDEN)

    return run, wire


def _views(state: RunState, before: Any) -> tuple[Any, ...]:
    """Status, curve, images and buttons; those that have not changed stay as they are."""
    can = watch.can(state)
    old: tuple[Any, ...] = before[0] if before else (None,) * 8
    same = old[0] == state.name
    return (
        watch.status(state),
        gr.skip() if same and old[2] == state.step else watch.curve([state]),
        gr.skip() if same and old[4] == len(state.previews) else watch.previews(state),
        gr.update(interactive=can["stop"]),
        gr.update(interactive=can["resume"]),
    )
