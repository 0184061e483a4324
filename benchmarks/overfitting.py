"""Can the measures tell an overfitted concept? C2 as it should be, against C2 and C4 trained five times as long.

    python -m benchmarks.overfitting --work DIR [--things castle robot teapot] [--steps 300]

On `pocket`, with the paper's scaling, for each thing: 5 images of a new instance, three runs with checkpoints, every
checkpoint scored on the same prompts and seeds. Prints a table in Markdown and writes overfitting.json; what is done is
not done again.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from atomtune.data.concept import Concept
from atomtune.demo.demo import PROMPT_SCENES, render_concept
from atomtune.evaluation.encoders.base import encoders_for
from atomtune.evaluation.evaluate import evaluate_concept
from atomtune.evaluation.options import EvaluateOptions
from atomtune.evaluation.report import write_report
from atomtune.files.run_result import result_in
from atomtune.methods.specs import PRESETS
from atomtune.models.base_model import POCKET
from atomtune.pocket.world import FIRST_HELD_OUT_SEED, Style
from atomtune.runtime.progress import Events
from atomtune.sampling.options import Settings
from atomtune.training.options import TrainOptions
from atomtune.training.train import train

LONGER = 5


class Told(Events):
    """Says what is being done."""

    def phase(self, text: str) -> None:
        print(text, flush=True)


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--things", nargs="+", default=["castle", "robot", "teapot"])
    parser.add_argument("--instance", type=int, default=7)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--per-prompt", type=int, default=4)
    options = parser.parse_args()
    results = []
    for thing in options.things:
        images = options.work / thing / "concept"
        render_concept(images, thing, Style(FIRST_HELD_OUT_SEED + options.instance))
        prompts = options.work / "prompts.txt"
        prompts.write_text("".join(f"a {{}} {scene}\n" for scene in PROMPT_SCENES), encoding="utf-8")
        base = TrainOptions(
            concept=Concept(thing, thing), images=images, model=POCKET, batch_size=options.batch_size, device=None
        )
        for name, preset, steps in (
            ("C2", "c2", options.steps),
            (f"C2, {LONGER}×", "c2", LONGER * options.steps),
            (f"C4, {LONGER}×", "c4", LONGER * options.steps),
        ):
            run = options.work / thing / f"{preset}-{steps}"
            # the paper's scaling: the question is what the measures see, and with it there is more to see
            spec = replace(PRESETS[preset], paper_scaling=True)
            wanted = replace(base, spec=spec, steps=steps, checkpoint_every=max(1, steps // 5))
            rows = scored(wanted, run, prompts, options.per_prompt)
            results += [{"thing": thing, "run": name, **row} for row in rows]
            (options.work / "overfitting.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(table(results))


def scored(options: TrainOptions, run: Path, prompts: Path, per_prompt: int) -> list[dict[str, Any]]:
    """Train if need be, score every checkpoint; the measures by step, the choice marked."""
    if not result_in(run).is_file():
        begun = (run / "checkpoint.safetensors").is_file()
        train(options, run, resume=begun, overwrite=not begun, events=Told())
    evaluation = evaluate_concept(
        EvaluateOptions(run=run, prompts=prompts, per_prompt=per_prompt, settings=Settings(steps=25), checkpoints=True),
        encoders_for,
        run / "evaluation",
        Told(),
    )
    figures = write_report(evaluation, run / "evaluation", {"images of each": per_prompt})
    chosen = figures["selected"]["step"] if figures["selected"] else None
    rows = [{**figures["base"], "step": 0, "picked": False}]
    return rows + [{**row, "picked": row["step"] == chosen} for row in figures["checkpoints"]]


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown; step 0 is the base model."""
    lines = ["| thing | run | step | fidelity | diversity | alignment | drift | |", "|---|---|--:|--:|--:|--:|--:|---|"]
    for row in rows:
        values = " | ".join(f"{row[name]:.3f}" for name in ("fidelity", "diversity", "alignment", "drift"))
        mark = "picked" if row["picked"] else ""
        lines.append(f"| {row['thing']} | {row['run']} | {row['step']} | {values} | {mark} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
