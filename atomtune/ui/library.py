"""The tab Library: what has been learned, to download, export, publish and delete."""

from pathlib import Path
from typing import Any

import gradio as gr

from ..errors import AtomtuneError, UsageError
from ..export.options import ExportOptions
from ..publish.options import PublishOptions
from ..runtime.units import counted, size
from ..sampling.options import RUNS
from ..training.run_folder import RunFolder
from ..training.runs import READY, Learned, learned
from . import deletion, figures, images, jobs, messages, orders, texts, watch
from .forms import form
from .options import UiOptions
from .run_state import run_path
from .teach import HIDDEN


def library_tab(ui: UiOptions) -> None:
    """Lay the tab out."""
    table = gr.HTML(texts.NO_RUNS, elem_id="library-table")
    chosen = gr.Dropdown([], label=texts.DETAILS, elem_id="library-chosen")
    with gr.Row():
        with gr.Column(min_width=300):
            details = gr.HTML(elem_id="library-details")
            download = gr.DownloadButton(
                texts.DOWNLOAD, interactive=False, variant="primary", elem_id="library-download"
            )
        with gr.Column(min_width=300):
            thumbnails = gr.Gallery(
                label=texts.IMAGES, columns=4, height="auto", elem_id="library-images", interactive=False
            )
    said = gr.HTML(elem_id="library-said")
    status = gr.HTML(elem_id="library-status")
    files = gr.File(label=texts.EXPORTED, interactive=False, file_count="multiple", elem_id="library-files")
    base = {"model": ui.model} if ui.model else {}
    with gr.Accordion(texts.EXPORT, open=False, elem_id="library-export"):
        exports = form(ExportOptions, prefix="export", essential=("to", "rank"), starts=base)
        export_again = gr.Checkbox(False, label=texts.REPLACE, elem_id="library-export-again")
        export = gr.Button(texts.EXPORT_BUTTON, variant="primary", elem_id="library-export-start")
    with gr.Accordion(texts.PUBLISH, open=False, elem_id="library-publish"):
        publications = form(PublishOptions, prefix="publish", essential=("to", "repository"), starts=base)
        publish_again = gr.Checkbox(False, label=texts.REPLACE, elem_id="library-publish-again")
        sure = gr.Checkbox(False, label=texts.PUBLISH_SURE, elem_id="library-publish-sure")
        publish = gr.Button(texts.PUBLISH_BUTTON, elem_id="library-publish-start")
    with gr.Accordion(texts.DELETE, open=False, elem_id="library-delete"):
        typed = gr.Textbox(label=texts.DELETE_NAME, info=texts.DELETE_INFO, elem_id="library-delete-name")
        delete = gr.Button(texts.DELETE_BUTTON, variant="stop", elem_id="library-delete-start")
    shown: gr.State = gr.State(None)
    timer = gr.Timer(2.0)

    def tick(name: str | None, before: Any) -> tuple[Any, ...]:
        job = next((job for job in reversed(jobs.jobs()) if job.kind in ("export", "publish")), None)
        doing = (job.number, job.state, job.progress) if job is not None else None
        now = (_stamp(), doing)
        if now == before:
            return (gr.skip(),) * 4
        found = learned(RUNS)
        names = [run.name for run in found]
        name = name if name in names else (next((run.name for run in found if run.status == READY), None))
        return library_table(found), gr.update(choices=names, value=name), _job_status(job), now

    def show(name: str | None, _: Any) -> tuple[Any, ...]:
        found = next((run for run in learned(RUNS) if run.name == name), None)
        if name is None or found is None:
            return "", gr.update(value=None, interactive=False), None, None
        atoms = RunFolder(run_path(name)).atoms
        ready = found.status == READY
        pictures = [(str(path), images.caption(path)) for path in _thumbnails(name)]
        return (
            messages.facts(facts_of(found)),
            gr.update(value=str(atoms) if ready else None, interactive=ready),
            pictures,
            [str(path) for path in orders.exported(name)] or None,
        )

    def do_export(name: str | None, again: bool, *values: Any) -> str:
        return _ordered(name, lambda run: orders.export(run, None, exports.given(values), again=again))

    def do_publish(name: str | None, again: bool, sure: bool, *values: Any) -> str:
        return _ordered(name, lambda run: orders.publish(run, None, publications.given(values), sure=sure, again=again))

    def do_delete(name: str | None, typed: str) -> tuple[str, str]:
        try:
            if not name or typed.strip() != name:
                raise UsageError("nothing was deleted", f"type {name or 'the name of the concept'} to delete it")
            left = deletion.delete_run(run_path(name))
        except AtomtuneError as problem:
            return messages.error(problem), typed
        stays = f"; what others wrote stays in {run_path(name)} ({counted(len(left), 'file')})" if left else ""
        return messages.note(f"{name} is deleted{stays}"), ""

    timer.tick(tick, [chosen, shown], [table, chosen, status, shown], **HIDDEN)
    outputs = [details, download, thumbnails, files]
    chosen.change(show, [chosen, shown], outputs, **HIDDEN)
    table.change(show, [chosen, shown], outputs, **HIDDEN)
    status.change(show, [chosen, shown], outputs, **HIDDEN)
    export.click(do_export, [chosen, export_again, *exports.components], said, **HIDDEN)
    publish.click(do_publish, [chosen, publish_again, sure, *publications.components], said, **HIDDEN)
    delete.click(do_delete, [chosen, typed], [said, typed], **HIDDEN)


def _ordered(name: str | None, order: Any) -> str:
    try:
        if not name:
            raise UsageError("no concept is chosen", "teach one first")
        job = order(name)
    except AtomtuneError as problem:
        return messages.error(problem)
    return messages.note(f"job {job.number}: {job.title}")


def library_table(found: list[Learned]) -> str:
    """All runs: words, base, steps, size; what is wrong with those that are not ready."""
    rows = [
        [
            run.name,
            f"{run.token} {run.class_noun}".strip(),
            run.base,
            run.preset,
            f"{run.steps:,}" if run.steps else "",
            size(run.bytes) if run.bytes else "",
            run.created[:10] or f"{run.status}: {run.reason}",
        ]
        for run in found
    ]
    header = ["name", "words", "base", "preset", "steps", "size", ""]
    return messages.table(header, rows, texts.LEARNED) if rows else messages.note(texts.NO_RUNS)


def facts_of(run: Learned) -> dict[str, str]:
    """What is known of a run, in words."""
    scores = figures.rows([run.name])
    named = dict(zip(figures.HEADER[2:6], scores[0][2:6], strict=True)) if scores else {}
    return {
        "name": run.name,
        "in prompts": f"<{run.concept}>, or {run.token} {run.class_noun}" if run.concept else "",
        "base model": run.base,
        "preset": run.preset,
        "parameters": f"{run.parameters:,}" if run.parameters else "",
        "steps": f"{run.steps:,}" if run.steps else "",
        "size": size(run.bytes) if run.bytes else "",
        "made": run.created[:16].replace("T", " "),
        "state": f"{run.status}: {run.reason}" if run.status != READY else "",
        **named,
    }


def _thumbnails(name: str) -> list[Path]:
    samples = [
        path for path in watch.newest_images(run_path(name) / "samples", 12) if not path.name.startswith("grid-")
    ]
    tuned = [path for path in samples if not path.stem.endswith("-base")]
    return tuned[:4] or watch.newest_images(run_path(name) / "previews", 4)


def _stamp() -> tuple[Any, ...]:
    """Equal as long as no run has come, gone or ended."""
    files = sorted([*RUNS.glob("*/run.json"), *RUNS.glob("*/*.safetensors"), *RUNS.glob("*/evaluation/scores.json")])
    return tuple((path.as_posix(), path.stat().st_mtime_ns) for path in files if path.is_file())


def _job_status(job: jobs.Job | None) -> str:
    if job is None:
        return ""
    state, problem, result = job.state, job.problem, job.result
    pairs = {job.title: texts.STATES[state], "now": job.progress if state == jobs.RUNNING else ""}
    if state == jobs.DONE:
        pairs["result"] = str(result.get("output") or result.get("place") or "")
        if isinstance(error := result.get("relative_error"), int | float):
            pairs["error"] = f"{error:.2%} of the change"
    return messages.facts(pairs) + (messages.error(problem) if problem is not None else "")
