"""atomtune compare: tuning methods on the same concepts, and the table of what they come to."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.concept import Concept
from ..data.options import DataOptions
from ..errors import AtomtuneError, UsageError
from ..evaluation.options import EvaluateOptions
from ..fleet.options import ClusterOptions
from ..models.options import ModelOptions
from ..runtime.option import option, same_as
from ..runtime.options import Options
from ..sampling.options import RUNS, Settings
from ..training.options import OptimizerOptions, SpeedOptions, TrainOptions
from ..training.preservation_options import PreservationOptions
from ..vision.options import CLASSIFIERS, ClassDataOptions, ClassifyOptions, EpochOptions, NetworkOptions
from .console import Console, table
from .evaluate import EncoderOptions
from .options.groups import OutputOptions

CLASSIFY = "classify"
CLASSIFIER_METHODS = "linear-probe,bitfit,lora,atoms:c1,atoms:c2,atoms:c3,loldu,full"
OF_CLASSIFIERS = frozenset({"images", "test_images", "weights", "image_size", "epochs", "augment"})
FOR_BOTH = frozenset(
    {
        *("task", "methods", "lr", "seeds", "batch_size", "lr_scheduler"),
        *("model", "device", "precision", "output", "overwrite"),
    }
)

if TYPE_CHECKING:
    from ..compare.compare import Comparison
    from ..compare.options import Subject


@dataclass(frozen=True, kw_only=True)
class CompareSubjects(Options, panel="Concepts"):
    """The concepts that every method learns."""

    concept: tuple[str, ...] = option(
        (),
        "Concept of concepts/NAME, with its class noun; give it again for more.",
        metavar="NAME[=NOUN]",
        word="first",
    )
    concepts: str = option("", "The same for several, separated by commas.", metavar="A,B=NOUN,…")
    token: str | None = same_as(Concept, "token", default=None, derived=None)
    prompt: str = same_as(DataOptions, "prompt", panel="Concepts")
    resolution: int | None = same_as(DataOptions, "resolution", panel="Concepts")


@dataclass(frozen=True, kw_only=True)
class CompareMethods(Options, panel="Methods"):
    """The methods, and what their runs have in common."""

    methods: str = option(
        "atoms:c2,atoms:c3,lora",
        "Variants METHOD[:PRESET or layers], separated by commas, as atoms:c2,lora:attention,full; all is the whole "
        "table, paper are the paper's baselines. docs/comparison.md has the grammar.",
        metavar="A,B,…",
    )
    lr: tuple[str, ...] = option(
        (),
        "Learning rate of a method or a variant; give it again for more.",
        metavar="METHOD=X",
        shown_default="the methods' own",
        aliases=("learning_rate",),
    )
    seeds: str = option("0", "Seeds of training, separated by commas.", metavar="0,1,…")
    steps: int = same_as(OptimizerOptions, "steps")
    batch_size: int = same_as(OptimizerOptions, "batch_size")
    grad_accum: int = same_as(OptimizerOptions, "grad_accum")
    lr_scheduler: str = same_as(OptimizerOptions, "lr_scheduler")
    gradient_checkpointing: bool = same_as(SpeedOptions, "gradient_checkpointing")
    low_memory: bool = same_as(SpeedOptions, "low_memory")


@dataclass(frozen=True, kw_only=True)
class CompareImages(Options, panel="Images"):
    """How the images that are scored are generated."""

    prompts: Path = same_as(EvaluateOptions, "prompts")
    per_prompt: int = same_as(EvaluateOptions, "per_prompt")
    sample_seed: int = same_as(EvaluateOptions, "seed")
    sample_steps: int = same_as(Settings, "steps", default=25)
    guidance_scale: float = same_as(Settings, "guidance_scale")
    scheduler: str | None = same_as(EvaluateOptions, "scheduler")
    sample_batch: int = same_as(EvaluateOptions, "batch_size")
    scales: str = option(
        "",
        "Score every run at these scales too, and draw curves: 0.25,0.5,0.75,1.25,1.5 is usual; 0 and 1 are there.",
        metavar="X,Y,…",
    )


@dataclass(frozen=True, kw_only=True)
class CompareClassifiers(Options, panel="Classifiers"):
    """What is compared with `--task classify`; `--model` names the network then."""

    task: str = option("generate", "Images of concepts, or classifiers of images.", choices=("generate", CLASSIFY))
    images: Path | None = same_as(ClassDataOptions, "images", default=None, panel="Classifiers")
    test_images: Path | None = option(None, "Folder of test images, with a folder for each class.", metavar="DIR")
    weights: str | None = same_as(NetworkOptions, "weights", panel="Classifiers")
    image_size: int | None = same_as(NetworkOptions, "image_size", panel="Classifiers", aliases=())
    epochs: int = same_as(EpochOptions, "epochs", panel="Classifiers", aliases=())
    augment: str = same_as(ClassDataOptions, "augment", panel="Classifiers")


@dataclass(frozen=True, kw_only=True)
class CompareCluster(Options, panel="Output"):
    """Who trains and scores."""

    address: str | None = same_as(
        ClusterOptions,
        "address",
        panel="Output",
        help="Ray cluster that trains and scores, as ray://head:10001 or auto; all machines see the same folders.",
    )


@dataclass(frozen=True, kw_only=True)
class CompareOutput(OutputOptions):
    """Where the comparison goes."""

    output: Path = option(RUNS / "comparison", "Folder for runs, images and page.", metavar="DIR")
    overwrite: bool = same_as(OutputOptions, "overwrite", help="Train runs again that are there with other options.")


def compare(
    console: Console,
    subject: CompareSubjects,
    method: CompareMethods,
    preservation: PreservationOptions,
    model: ModelOptions,
    image: CompareImages,
    encoder: EncoderOptions,
    classifier: CompareClassifiers,
    place: CompareOutput,
    cluster: CompareCluster,
    explicit: frozenset[tuple[str, ...]],
) -> None:
    """Train and score methods on the same concepts, steps and seeds. Writes comparison.html, tables and figures.

    What is complete is not done again, and what was interrupted goes on: the same command with more methods, concepts
    or seeds adds to what is there.

    Examples:
        atomtune compare --concept rex=dog --methods atoms:c2,lora:attention,full
        atomtune compare --concepts castle,rex=dog --methods all --seeds 0,1
        atomtune compare --concepts castle,rex=dog --methods paper --address auto
        atomtune compare --task classify --images flowers --test-images flowers-test --model timm:resnet50.a1_in1k
    """
    given = {path[-1] for path in explicit}
    if classifier.task == CLASSIFY:
        _compare_classifiers(console, given, method, model, classifier, place)
        return
    if foreign := sorted(given & OF_CLASSIFIERS):
        flags = ", ".join("--" + name.replace("_", "-") for name in foreign)
        raise UsageError(f"{flags} needs --task classify", "concepts are compared on images in concepts/NAME")
    from ..compare.compare import compare as run
    from ..compare.compare import listed_failures
    from ..compare.curves import parse_scales
    from ..compare.options import CompareOptions, listed, parse_concept, parse_seeds
    from ..compare.report import PAGE, write_comparison
    from ..compare.variants import parse_rates, parse_variants
    from ..evaluation.encoders.base import parse_encoder_paths

    named = [*subject.concept, *listed(subject.concepts)]
    if not named:
        raise UsageError("say what to compare on", "--concept NAME takes the images in concepts/NAME")
    variants = parse_variants(listed(method.methods))
    rates = parse_rates(method.lr, variants)
    subjects = tuple(_subject(parse_concept(text, subject.token), image.prompts) for text in named)
    options = CompareOptions(
        subjects=subjects,
        variants=variants,
        seeds=parse_seeds(method.seeds),
        training=TrainOptions(
            concept=subjects[0].concept,
            images=subjects[0].images,
            model=model.model,
            vae=model.vae,
            prompt=subject.prompt,
            steps=method.steps,
            batch_size=method.batch_size,
            grad_accum=method.grad_accum,
            gradient_checkpointing=method.gradient_checkpointing,
            low_memory=method.low_memory,
            lr_scheduler=method.lr_scheduler,
            resolution=subject.resolution,
            precision=model.precision,
            device=model.device,
            **vars(preservation),
        ),
        scoring=EvaluateOptions(
            run=place.output,
            prompts=image.prompts,
            per_prompt=image.per_prompt,
            seed=image.sample_seed,
            settings=Settings(steps=image.sample_steps, guidance_scale=image.guidance_scale),
            scheduler=image.scheduler,
            vae=model.vae,
            device=model.device,
            precision=model.precision,
            batch_size=image.sample_batch,
        ),
        output=place.output,
        rates=rates,
        encoder_paths=parse_encoder_paths(encoder.encoder_path),
        scales=parse_scales(image.scales),
    )
    ahead = None
    if cluster.address is not None:
        from ..fleet.comparison import OnCluster

        ahead = OnCluster(ClusterOptions(address=cluster.address))
    result = run(options, overwrite=place.overwrite, ahead=ahead, events=console.events)
    figures = write_comparison(result)
    page = place.output / PAGE
    console.result({"report": page, "output": place.output, **figures}, f"{_text(result)}\n\n{page}")
    if result.failures:
        runs = len(result.runs) + len(result.failures)
        raise AtomtuneError(
            f"not every run came to its end: {listed_failures(result.failures, runs)}",
            "these runs are not in the table; the same command tries them again",
        )


def _compare_classifiers(
    console: Console,
    given: set[str],
    method: CompareMethods,
    model: ModelOptions,
    classifier: CompareClassifiers,
    place: CompareOutput,
) -> None:
    from ..compare.classifiers import compare_classifiers
    from ..compare.compare import listed_failures
    from ..compare.options import listed, parse_seeds
    from ..compare.variants import parse_rates, parse_variants

    if foreign := sorted(given - OF_CLASSIFIERS - FOR_BOTH):
        flags = ", ".join("--" + name.replace("_", "-") for name in foreign)
        raise UsageError(f"{flags} does not go with --task classify", "it is for diffusion models")
    images, test = classifier.images, classifier.test_images
    if images is None or test is None or model.model is None:
        raise UsageError(
            "say what is learned by which network", "--images DIR, --test-images DIR and --model timm:NAME"
        )
    variants = parse_variants(listed(method.methods if "methods" in given else CLASSIFIER_METHODS))
    more = {name: getattr(method, name) for name in ("batch_size", "lr_scheduler") if name in given}
    base = ClassifyOptions(
        name=images.name if images.name.replace("-", "").replace("_", "").isalnum() else CLASSIFY,
        images=images,
        model=model.model,
        weights=classifier.weights,
        image_size=classifier.image_size,
        epochs=classifier.epochs,
        augment=classifier.augment,
        device=model.device,
        precision=model.precision,
        **more,
    )
    rates = parse_rates(method.lr, variants)
    output = place.output if "output" in given else CLASSIFIERS / "comparison"
    result = compare_classifiers(
        base,
        variants,
        parse_seeds(method.seeds),
        rates,
        test,
        output,
        overwrite=place.overwrite,
        events=console.events,
    )
    header = ["variant", "runs", "parameters", "lr", "accuracy", "±", "seconds"]
    rows = [
        [one.variant, str(one.runs), f"{one.parameters:,}", f"{one.lr:g}"]
        + [f"{one.accuracy:.4f}", f"{one.spread:.4f}", f"{one.seconds:.1f}"]
        for one in result.lines
    ]
    text = f"{table(header, rows)}\n\n{result.report}"
    console.result({"report": result.report, "output": output, **result.figures}, text)
    if result.failures:
        runs = sum(one.runs for one in result.lines) + len(result.failures)
        raise AtomtuneError(
            f"not every run came to its end: {listed_failures(result.failures, runs)}",
            "these runs are not in the table; the same command tries them again",
        )


def _subject(concept: Concept, prompts: Path) -> "Subject":
    from ..compare.options import Subject

    return Subject(concept, Path("concepts") / concept.name, prompts)


def _text(result: "Comparison") -> str:
    from ..compare.table import lines, reference, text_rows

    return table(*text_rows(lines(result.runs, result.options.variants), reference(result.runs)))
