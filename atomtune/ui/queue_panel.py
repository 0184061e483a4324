"""The list of jobs below the tabs: what runs, what waits in which order, and how others ended."""

from typing import Any

import gradio as gr

from ..errors import AtomtuneError
from . import jobs, messages, texts
from .jobs import QUEUED, RUNNING, Job
from .teach import HIDDEN

_SHOWN = 12


def queue_panel() -> None:
    """Lay the panel out."""
    with gr.Accordion(texts.QUEUE, open=False, elem_id="queue"):
        listed = gr.HTML(texts.QUEUE_EMPTY, elem_id="queue-list")
        with gr.Row():
            choice = gr.Dropdown([], label=texts.QUEUE_CHOICE, elem_id="queue-choice", min_width=160)
            stop = gr.Button(texts.QUEUE_STOP, elem_id="queue-stop", min_width=120)
        said = gr.HTML()
    shown: gr.State = gr.State(None)
    timer = gr.Timer(1.5)

    def tick(chosen: int | None, before: Any) -> tuple[Any, ...]:
        states = [(job, job.state) for job in jobs.jobs()]
        now = tuple((job.number, state) for job, state in states)
        if now == before or not states:
            return gr.skip(), gr.skip(), gr.skip()
        open_jobs = [job for job, state in states if state in (QUEUED, RUNNING)]
        choices = [(f"{job.number}: {job.title}", job.number) for job in open_jobs]
        kept = chosen if chosen in [number for _, number in choices] else None
        return queue_table(states), gr.update(choices=choices, value=kept), now

    def do_stop(number: int | None) -> str:
        try:
            if number is None:
                return ""
            jobs.job_of(int(number)).stop()
        except AtomtuneError as problem:
            return messages.error(problem)
        return messages.note(f"job {number} stops")

    timer.tick(tick, [choice, shown], [listed, choice, shown], **HIDDEN)
    stop.click(do_stop, choice, said, **HIDDEN)


def queue_table(states: list[tuple[Job, str]]) -> str:
    """The jobs in words: those that run, those that wait in their order, then the last that ended."""
    running = [job for job, state in states if state == RUNNING]
    waiting = [job for job, state in states if state == QUEUED]
    ended = [(job, state) for job, state in reversed(states) if state not in (RUNNING, QUEUED)][:_SHOWN]
    rows = [[str(job.number), job.title, job.device, texts.STATES[RUNNING], job.progress] for job in running]
    places: dict[str, int] = {}
    for job in waiting:
        places[job.device] = places.get(job.device, 0) + 1
        rows.append(
            [str(job.number), job.title, job.device, f"{texts.STATES[QUEUED]}, number {places[job.device]}", ""]
        )
    for job, state in ended:
        problem = job.problem
        rows.append(
            [
                str(job.number),
                job.title,
                job.device,
                texts.STATES[state],
                problem.message if problem is not None else "",
            ]
        )
    return messages.table(["job", "what", "device", "state", ""], rows, texts.QUEUE)
