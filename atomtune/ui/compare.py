"""The tab Compare: figures and curves of runs side by side, their reports, and the choice of a checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from ..errors import AtomtuneError, UsageError
from ..evaluation.options import EvaluateOptions
from ..sampling.options import RUNS, trained_concepts
from . import figures, jobs, messages, orders, run_state, texts, watch
from .forms import form
from .options import UiOptions
from .teach import HIDDEN

ESSENTIAL = ("checkpoints", "per_prompt", "steps")
ELSEWHERE = ("concept",)


@dataclass(frozen=True)
class CompareTab:
    """What other tabs follow: the choice of a checkpoint and the button that takes it."""

    run: gr.Dropdown
    step: gr.Dropdown
    pick: gr.Button


def compare_tab(ui: UiOptions) -> CompareTab:
    """Lay the tab out."""
    chosen = gr.Dropdown([], multiselect=True, label=texts.RUNS, elem_id="compare-runs")
    table = gr.HTML(texts.NO_FIGURES, elem_id="compare-figures")
    with gr.Row():
        with gr.Column(min_width=300):
            losses = gr.LinePlot(
                x="step",
                y="loss",
                color="line",
                color_title=" ",
                label=texts.CURVES,
                height=320,
                elem_id="compare-loss",
                elem_classes="chart",
            )
        with gr.Column(min_width=300):
            steps = gr.LinePlot(
                x="step",
                y="value",
                color="figure",
                color_title=" ",
                label=texts.CHECKPOINTS,
                height=320,
                elem_id="compare-checkpoints",
                elem_classes="chart",
            )
    with gr.Row():
        run = gr.Dropdown([], label=texts.EVALUATE_RUN, elem_id="compare-run", min_width=180)
        step = gr.Dropdown([], label=texts.PICK_STEP, elem_id="compare-step", min_width=140)
        pick = gr.Button(texts.PICK, elem_id="compare-pick", min_width=140)
    reason = gr.HTML(elem_id="compare-reason")
    with gr.Accordion(texts.EVALUATE, open=False, elem_id="compare-evaluate"):
        starts = {"checkpoints": True, "steps": 25, **({"model": ui.model} if ui.model else {})}
        options = form(EvaluateOptions, prefix="evaluate", essential=ESSENTIAL, without=ELSEWHERE, starts=starts)
        evaluate = gr.Button(texts.EVALUATE, variant="primary", elem_id="compare-evaluate-start")
    with gr.Accordion(texts.METHODS, open=False, elem_id="compare-methods"):
        concept = gr.Textbox(label=texts.CONCEPT, info=texts.METHODS_CONCEPT, elem_id="compare-methods-concept")
        methods = gr.Textbox(
            "atoms:c2,lora", label=texts.METHODS, info=texts.METHODS_INFO, elem_id="compare-methods-list"
        )
        count = gr.Number(300, label="Steps", precision=0, minimum=1, elem_id="compare-methods-steps")
        start = gr.Button(texts.METHODS_BUTTON, variant="primary", elem_id="compare-methods-start")
    said = gr.HTML(elem_id="compare-said")
    status = gr.HTML(elem_id="compare-status")
    report_choice = gr.Dropdown([], label=texts.REPORT, elem_id="compare-report")
    report = gr.HTML(elem_id="compare-page", elem_classes="report")
    shown: gr.State = gr.State(None)
    timer = gr.Timer(2.0)

    def tick(names: list[str], one: str | None, page: str | None, before: Any) -> tuple[Any, ...]:
        there = trained_concepts("")
        pages = figures.reports()
        job = next((job for job in reversed(jobs.jobs()) if job.kind in ("evaluate", "compare")), None)
        doing = (job.number, job.state, job.progress) if job is not None else None
        now = (tuple(there), tuple(pages.items()), doing)
        if now == before:
            return (gr.skip(),) * 6
        names = [name for name in names if name in there] or there[:4]
        one = one if one in there else (next((name for name in run_state.runs() if name in there), None))
        labels = [(title, where) for where, title in pages.items()]
        return (
            gr.update(choices=there, value=names),
            gr.update(choices=there, value=one),
            gr.update(choices=labels, value=page if page in pages else (labels[0][1] if labels else None)),
            _job_status(job),
            _table(names),
            now,
        )

    def draw(names: list[str]) -> tuple[Any, ...]:
        states = [run_state.run_state(name) for name in names]
        return _table(names), watch.curve(states) if states else gr.skip(), _checkpoints(names)

    def show_run(name: str | None) -> tuple[Any, ...]:
        if not name:
            return gr.update(choices=[], value=None), ""
        kept = figures.steps_of(name)
        selected, why = figures.selected(name)
        value = selected if selected in kept else (kept[-1] if kept else None)
        return gr.update(choices=[(f"step {number}", number) for number in kept], value=value), messages.note(why)

    def do_evaluate(name: str | None, *values: Any) -> str:
        try:
            if not name:
                raise UsageError("there is nothing to evaluate", "teach a concept first")
            given = options.given(values)
            asked = orders.checked(EvaluateOptions, given | {"concept": name})
            words = ["evaluate", f"--concept={name}", *orders.flags(EvaluateOptions, given)]
            job = orders.command(words, f"evaluate {name}", name, asked.device)
        except AtomtuneError as problem:
            return messages.error(problem)
        return messages.note(f"job {job.number}: {job.title}")

    def do_compare(concept: str, methods: str, count: int | None) -> str:
        try:
            if not concept.strip():
                raise UsageError("say what to compare on", "the name of a concept whose images are in concepts/")
            words = [
                "compare",
                f"--concept={concept.strip()}",
                f"--methods={methods.strip()}",
                f"--steps={count or 300}",
            ]
            words += [f"--model={ui.model}"] if ui.model else []
            job = orders.command(words, f"compare {methods.strip()}", "", None)
        except AtomtuneError as problem:
            return messages.error(problem)
        return messages.note(f"job {job.number}: {job.title}")

    timer.tick(
        tick,
        [chosen, run, report_choice, shown],
        [chosen, run, report_choice, status, table, shown],
        **HIDDEN,
    )
    chosen.change(draw, chosen, [table, losses, steps], **HIDDEN)
    status.change(draw, chosen, [table, losses, steps], **HIDDEN)
    run.change(show_run, run, [step, reason], **HIDDEN)
    evaluate.click(do_evaluate, [run, *options.components], said, **HIDDEN)
    start.click(do_compare, [concept, methods, count], said, **HIDDEN)
    report_choice.change(frame, report_choice, report, **HIDDEN)
    return CompareTab(run, step, pick)


def frame(page: str | None) -> str:
    """A report inside the page, in a frame that can neither run scripts nor reach the page."""
    if not page:
        return ""
    return f'<iframe sandbox="" title="{texts.REPORT}" loading="lazy" src="./report/{quote(page)}"></iframe>'


def _table(names: list[str]) -> str:
    rows = figures.rows(names)
    return messages.table(figures.HEADER, rows, texts.FIGURES) if rows else messages.note(texts.NO_FIGURES)


def _checkpoints(names: list[str]) -> Any:
    import pandas

    return pandas.DataFrame(figures.checkpoints(names), columns=["step", "value", "figure"])


def _job_status(job: jobs.Job | None) -> str:
    if job is None:
        return ""
    state, problem = job.state, job.problem
    pairs = {job.title: texts.STATES[state], "now": job.progress if state == jobs.RUNNING else ""}
    return messages.facts(pairs) + (messages.error(problem) if problem is not None else "")


def report_file(place: str) -> Path | None:
    """The file of a report by the name that `figures.reports` gives it; None for anything else."""
    return RUNS / place if place in figures.reports() else None
