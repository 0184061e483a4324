"""The paper's Table 2: thirty subjects, 25 prompts with 4 images each, 1000 steps; or its like on pocket.

    python -m benchmarks.table2 --photos DIR --work DIR [--model CompVis/stable-diffusion-v1-4] [--estimate]
    python -m benchmarks.table2 --pocket --work DIR --sweep      # first a learning rate for each variant
    python -m benchmarks.table2 --pocket --work DIR              # then the table
    python -m benchmarks.table2 --pocket --work DIR --protocol paper                # one rate for all, as the paper
    python -m benchmarks.table2 --photos DIR --work DIR --address auto  # trained and scored by a Ray cluster
    python -m benchmarks.table2 --customconcept DIR --work DIR --protocol paper     # its Tables 9 and 10

Says how long it will take, from a few steps of each variant timed on this machine, and then asks; --yes does not ask.
Prints the table in Markdown and writes comparison.html beside the runs. What is done is not done again, so that it can
be stopped at any time. Nothing is downloaded but a base model and encoders that are named by their hub ids.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from atomtune.commands.console import Console, duration
from atomtune.compare.compare import Comparison, compare
from atomtune.compare.curves import SCALES
from atomtune.compare.options import CompareOptions, Subject, listed
from atomtune.compare.paper import BATCH_SIZE, PAPER, SCHEDULE, STEPS, paper_rate
from atomtune.compare.report import PAGE, write_comparison
from atomtune.compare.subprocess_training import Trainer, train_apart
from atomtune.compare.table import lines, markdown, reference
from atomtune.compare.variants import Variant, parse_rates, parse_variants
from atomtune.demo.demo import GUIDANCE
from atomtune.errors import AtomtuneError, UsageError
from atomtune.evaluation.encoders.base import parse_encoder_paths
from atomtune.evaluation.options import EvaluateOptions
from atomtune.fleet.comparison import OnCluster
from atomtune.fleet.options import ClusterOptions
from atomtune.methods.options import TEXTUAL_INVERSION
from atomtune.models.base_model import DEFAULT_MODEL, POCKET
from atomtune.sampling.options import Settings
from atomtune.training.options import SCHEDULES, TrainOptions

from .table2_customconcept import custom_concepts
from .table2_estimate import estimate, told
from .table2_rates import FIRST, as_markdown, earlier, read_rates, sweep, write_rates
from .table2_subjects import drawn, drawn_for_sweep, photographed

TUNED = "tuned"
PROTOCOLS = (TUNED, PAPER)
RATES = "rates.json"
_SWEEP_PER_PROMPT = 1


def main(arguments: Sequence[str] | None = None, trainer: Trainer = train_apart) -> int:
    """Run the command line; returns the exit code."""
    console = Console()
    console.hush_libraries()  # those of the training processes; for this one it is too late
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    try:
        return _main(_parser().parse_args(arguments), console, trainer)
    except AtomtuneError as problem:
        console.events.end()
        console.error(problem)
        return problem.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks.table2", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--photos", type=Path, metavar="DIR", help="DreamBooth's photos, a folder for each subject")
    where.add_argument("--customconcept", type=Path, metavar="DIR", help="CustomConcept101, its castle and canal")
    where.add_argument("--pocket", action="store_true", help="unseen things of the miniature's world instead")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="for runs, images and the page")
    parser.add_argument("--methods", default="all", metavar="A,B", help="variants, as for atomtune compare")
    parser.add_argument("--also-preserve", type=float, metavar="X", help="each once more, with --preserve X")
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default=TUNED,
        help="each variant at its best rate (%(default)s), or the paper's: one constant rate, 1000 steps of one image",
    )
    parser.add_argument("--subjects", default="", metavar="A,B", help="some of them, or all of CustomConcept101")
    parser.add_argument("--concepts", type=int, default=6, metavar="N", help="things, with --pocket")
    parser.add_argument("--seeds", type=int, metavar="N", help="how many (1; with --pocket 2)")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="the base model of the photos")
    parser.add_argument("--steps", type=int, metavar="N", help="of training (1000; tuned with --pocket 200)")
    parser.add_argument(
        "--lr-scheduler", choices=SCHEDULES, help="(constant, as the paper; cosine tuned with --pocket)"
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="of training (1; tuned with --pocket 4)")
    parser.add_argument("--per-prompt", type=int, metavar="N", help="images of each prompt (4; with --pocket 3)")
    parser.add_argument("--sample-steps", type=int, metavar="N", help="denoising steps (50; with --pocket 25)")
    parser.add_argument("--curves", action="store_true", help="score every run at scales from 0 to 1.5")
    parser.add_argument("--device")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "fp16", "bf16"])
    parser.add_argument("--encoder-path", action="append", default=[], metavar="NAME=DIR")
    parser.add_argument("--lr", action="append", default=[], metavar="METHOD=X", help="wins over the file of rates")
    parser.add_argument("--rates", type=Path, metavar="FILE", help=f"rates by variant (WORK/{RATES} where it is there)")
    parser.add_argument("--sweep", action="store_true", help=f"with --pocket: choose the rates, write WORK/{RATES}")
    parser.add_argument("--tries", type=int, default=5, metavar="N", help="of a sweep: rates for each variant at most")
    parser.add_argument(
        "--address", metavar="ADDRESS", help="Ray cluster that trains and scores; sees the same folders"
    )
    parser.add_argument("--overwrite", action="store_true", help="train again what was trained with other options")
    parser.add_argument("--estimate", action="store_true", help="say how long it takes, and stop")
    parser.add_argument("--yes", action="store_true", help="begin without asking")
    return parser


def _main(given: argparse.Namespace, console: Console, trainer: Trainer) -> int:
    if given.sweep and not given.pocket:
        raise UsageError("--sweep goes with --pocket", "rates for real models are given with --lr or --rates")
    if given.tries < len(FIRST):
        raise UsageError(f"--tries must be at least {len(FIRST)}, not {given.tries}", "5 is the default")
    if given.sweep and (given.lr or given.rates or given.seeds):
        raise UsageError("--sweep chooses the rates itself, with one seed", "leave out --lr, --rates and --seeds")
    if given.protocol == PAPER and (given.sweep or given.lr or given.rates):
        raise UsageError("--protocol paper has one rate for all", "leave out --sweep, --lr and --rates")
    options = options_of(given)
    if given.sweep:
        earlier(given.work / RATES, options, given.tries, given.overwrite)  # what cannot be added to ends it now
    found = estimate(options, given.work, console.events, trainer)
    console.info(told(found))
    if given.sweep:
        console.info(
            f"That is one rate of each variant. At most {given.tries} are tried, which take "
            f"{duration(given.tries * found.seconds)} less what is done."
        )
    elif lacking := [variant.name for variant in options.variants if variant.name not in options.rates]:
        console.info(f"At the methods' own learning rates: {', '.join(lacking)}.")
    if given.estimate:
        return 0
    if found.done < found.runs and not given.yes and not _agreed():
        return 0

    def run(asked: CompareOptions) -> Comparison:
        ahead = OnCluster(ClusterOptions(address=given.address)) if given.address is not None else None
        return compare(asked, overwrite=given.overwrite, trainer=trainer, ahead=ahead, events=console.events)

    if given.sweep:
        tried = sweep(options, given.tries, run)
        write_rates(given.work / RATES, options, given.tries, tried, given.overwrite)
        print(f"{as_markdown(tried)}\n\n{given.work / RATES}")
        return 0
    result = run(options)
    write_comparison(result)
    print(markdown(lines(result.runs, options.variants), reference(result.runs)))
    print(f"\n{options.output / PAGE}")
    for failure in result.failures:
        console.warn(f"not in the table: {failure.concept}, seed {failure.seed}, {failure.variant}: {failure.reason}")
    return 1 if result.failures else 0


def options_of(given: argparse.Namespace) -> CompareOptions:
    """The comparison that is asked for. Raises as `photographed`, and UsageError for impossible values."""
    small, as_paper = given.pocket, given.protocol == PAPER
    quick = small and not as_paper
    subjects = _subjects(given)
    variants = _variants(given)
    seeds = 1 if given.sweep else given.seeds or (2 if small else 1)
    training = TrainOptions(
        concept=subjects[0].concept,
        images=subjects[0].images,
        model=POCKET if small else given.model,
        steps=given.steps or (200 if quick else STEPS),
        lr_scheduler=given.lr_scheduler or ("cosine" if quick else SCHEDULE),
        batch_size=given.batch_size or (4 if quick else BATCH_SIZE),
        precision=given.precision,
        device=given.device,
    )
    scoring = EvaluateOptions(
        run=given.work,
        prompts=subjects[0].prompts,
        per_prompt=given.per_prompt or (_SWEEP_PER_PROMPT if given.sweep else 3 if small else 4),
        settings=Settings(steps=given.sample_steps or (25 if small else 50), guidance_scale=GUIDANCE if small else 7.5),
        device=given.device,
        precision=given.precision,
    )
    return CompareOptions(
        subjects=subjects,
        variants=variants,
        training=training,
        scoring=scoring,
        output=given.work / ("sweep" if given.sweep else PAPER if as_paper else "table"),
        seeds=tuple(range(seeds)),
        rates=_rates(given, variants),
        encoder_paths=parse_encoder_paths(given.encoder_path),
        scales=SCALES if given.curves and not given.sweep else (),
        # the base model's images are the same under both protocols
        image_folder=None if given.sweep else given.work / "table",
    )


def _subjects(given: argparse.Namespace) -> tuple[Subject, ...]:
    if given.sweep:
        return drawn_for_sweep(given.work)
    if given.pocket:
        return drawn(given.work, given.concepts)
    if given.customconcept:
        return custom_concepts(given.customconcept, listed(given.subjects))
    return photographed(given.photos, listed(given.subjects))


def _variants(given: argparse.Namespace) -> tuple[Variant, ...]:
    """Those of --methods, and with --also-preserve each once more that changes prompts without the token."""
    variants = parse_variants(listed(given.methods))
    if given.also_preserve is None:
        return variants
    if any("preserve" in dict(variant.training) for variant in variants):
        raise UsageError("--also-preserve adds the variants with preservation itself", "leave out preserve=X")
    kept = [variant for variant in variants if variant.method != TEXTUAL_INVERSION]
    more = parse_variants([f"{variant.name}:preserve={given.also_preserve:g}" for variant in kept])
    by_plain = {variant.plain.name: variant for variant in more}
    return tuple(one for variant in variants for one in (variant, by_plain.get(variant.plain.name)) if one is not None)


def _rates(given: argparse.Namespace, variants: Sequence[Variant]) -> dict[str, float]:
    """By the variants' names; one with options of training of its own has the rate of the same without them."""
    if given.protocol == PAPER:
        return {variant.name: paper_rate(variant.method) for variant in variants}
    stored = given.rates or given.work / RATES
    rates = read_rates(stored) if given.rates or (stored.is_file() and not given.sweep) else {}
    found = {one.name: rates.get(one.name, rates.get(one.plain.name)) for one in variants}
    return {name: lr for name, lr in found.items() if lr is not None} | parse_rates(given.lr, variants)


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked whether to begin", "--yes begins without asking")
    return input("Begin? [y/N] ").strip().lower() in ("y", "yes")


if __name__ == "__main__":
    raise SystemExit(main())
