"""What a learning rate does to C1 and C2, with the scaling that suits each layer and with the paper's.

    python -m benchmarks.scaling --work DIR [--things castle teapot] [--rates 1e-3 3e-3] [--steps 300]

On `pocket`, for each thing 5 images of a new instance, one run for each preset, scaling and rate, scored on the same
prompts and seeds. Prints a table in Markdown, the means over the things; what is done is not done again.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from atomtune.data.concept import Concept
from atomtune.demo.demo import PROMPT_SCENES, render_concept
from atomtune.evaluation.encoders.base import encoders_for
from atomtune.evaluation.evaluate import evaluate_concept
from atomtune.evaluation.measure import Measures
from atomtune.evaluation.options import EvaluateOptions
from atomtune.files.run_result import result_in
from atomtune.methods.specs import PRESETS
from atomtune.models.base_model import POCKET
from atomtune.pocket.world import FIRST_HELD_OUT_SEED, Style
from atomtune.sampling.options import Settings
from atomtune.training.options import TrainOptions
from atomtune.training.train import train

INSTANCE = 7
COLUMNS = ("fidelity", "diversity", "alignment", "drift")


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--things", nargs="+", default=["castle", "teapot"])
    parser.add_argument("--presets", nargs="+", default=["c1", "c2"], choices=list(PRESETS))
    parser.add_argument("--rates", nargs="+", type=float, default=[1e-3, 3e-3])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--per-prompt", type=int, default=2)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    prompts = options.work / "prompts.txt"
    prompts.write_text("".join(f"a {{}} {scene}\n" for scene in PROMPT_SCENES), encoding="utf-8")
    lines = ["| preset | scaling | rate | " + " | ".join(COLUMNS) + " |", "|---|---|--:|--:|--:|--:|--:|"]
    for preset in options.presets:
        for paper in (False, True):
            for rate in options.rates:
                scored = []
                for thing in options.things:
                    images = draw(options.work / thing / "concept", thing)
                    run = options.work / thing / f"{preset}-{'paper' if paper else 'layer'}-{rate:g}"
                    wanted = TrainOptions(
                        concept=Concept(thing, thing),
                        images=images,
                        model=POCKET,
                        spec=replace(PRESETS[preset], paper_scaling=paper),
                        steps=options.steps,
                        batch_size=options.batch_size,
                        lr=rate,
                    )
                    asked = EvaluateOptions(
                        run=run, prompts=prompts, per_prompt=options.per_prompt, settings=Settings()
                    )
                    scored.append(score(wanted, run, asked))
                means = [sum(getattr(one, name) for one in scored) / len(scored) for name in COLUMNS]
                figures = " | ".join(f"{mean:.3f}" for mean in means)
                name = "the paper's" if paper else "by layer"
                lines.append(f"| {preset.upper()} | {name} | {rate:g} | {figures} |")
                print(lines[-1], flush=True)
    print("\n" + "\n".join(lines))


def draw(folder: Path, thing: str) -> Path:
    """The images of a thing that training has not seen."""
    if not folder.is_dir():
        render_concept(folder, thing, Style(FIRST_HELD_OUT_SEED + INSTANCE))
    return folder


def score(options: TrainOptions, run: Path, asked: EvaluateOptions) -> Measures:
    """Train if need be, and score; the base model's images are drawn once for all runs of a thing."""
    if not result_in(run).is_file():
        begun = (run / "checkpoint.safetensors").is_file()
        train(options, run, resume=begun, overwrite=not begun)
    evaluation = evaluate_concept(asked, encoders_for, run.parent / "images")
    return evaluation.final.scored.measures


if __name__ == "__main__":
    main()
