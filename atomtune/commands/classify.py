"""atomtune classify: image classifiers, tuned as diffusion models are."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from ..runtime.option import option, same_as
from ..runtime.options import Options
from ..runtime.progress import Events
from ..runtime.units import counted, size
from ..vision.options import CLASSIFIERS, ClassifyOptions, EpochOptions, NetworkOptions, trained_classifiers
from .console import Console, duration, fields, table
from .options.groups import OutputOptions

if TYPE_CHECKING:
    from ..vision.classifier import Classifier
    from ..vision.train import ClassifierResult

classify = typer.Typer(
    help="Tune an image classifier to classes of your own, score it, and see where it looks.", no_args_is_help=True
)


@dataclass(frozen=True, kw_only=True)
class ClassifierOutput(OutputOptions):
    """The folder of the run, and what to do with one that is there."""

    output: Path | None = option(
        None, "Folder of the run.", shown_default="classifiers/NAME", metavar="DIR", aliases=("output_dir",)
    )
    resume: bool = option(False, "Resume the run in the folder, with its own options.")
    dry_run: bool = option(False, "Show what would be trained, and stop.")


@dataclass(frozen=True, kw_only=True)
class TrainedOptions(Options, panel="Classifier"):
    """Which trained classifier is used."""

    name: str | None = option(None, "Classifier of classifiers/NAME.", metavar="NAME", completes=trained_classifiers)
    run: Path | None = option(None, "Folder of its run.", shown_default="classifiers/NAME", metavar="DIR")
    weights: str | None = same_as(
        NetworkOptions,
        "weights",
        help="File of the network's weights (.safetensors), if it is not where it was.",
        shown_default="as it was trained",
        panel="Classifier",
    )
    batch_size: int = same_as(EpochOptions, "batch_size", help="Images at a time.", panel="Classifier")
    device: str | None = same_as(NetworkOptions, "device", panel="Classifier")

    def folder(self) -> Path:
        """The folder of the run. Raises UsageError where none is named."""
        if (self.name is None) == (self.run is None):
            raise UsageError("say which classifier", "--name NAME of classifiers/NAME, or --run DIR")
        return self.run or CLASSIFIERS / str(self.name)


@dataclass(frozen=True, kw_only=True)
class PredictOptions(Options, panel="Answers"):
    """How much is said of each image."""

    top: int = option(5, "Likeliest classes of each image, in JSON.", at_least=1, metavar="N")


@dataclass(frozen=True, kw_only=True)
class ScoredOptions(Options, panel="Images"):
    """Images with known classes."""

    images: Path = option(..., "Folder of images, with a folder for each class.", metavar="DIR")
    output: Path | None = option(
        None, "Folder for page and figures.", shown_default="classifiers/NAME/evaluation", metavar="DIR"
    )


@dataclass(frozen=True, kw_only=True)
class ExplainOptions(Options, panel="Images"):
    """Images whose maps are shown."""

    images: Path = option(..., "Folder of images, or of a folder for each class.", metavar="DIR")
    num: int = option(5, "Images shown.", at_least=1, at_most=100, metavar="N")
    layer: str | None = option(
        None, "Layer whose maps are shown.", shown_default="the last one with places", metavar="NAME"
    )
    output: Path | None = option(
        None, "Folder for the page.", shown_default="classifiers/NAME/explanation", metavar="DIR"
    )


def train(
    console: Console, explicit: frozenset[tuple[str, ...]], options: ClassifyOptions, place: ClassifierOutput
) -> None:
    """Tune a network to the classes of a folder. Its head is trained in full beside any method.

    Writes the run's folder, as atomtune train does: NAME.safetensors, run.json, log.jsonl, loss.svg.

    Examples:
        atomtune classify train --name flowers --images photos/flowers --model timm:convnext_base.fb_in22k
        atomtune classify train --name flowers --images photos/flowers --model timm:resnet50.a1_in1k --method atoms:c1
        atomtune classify train --name pets --images pets --model timm:vit_base_patch16_224 --method lora --rank 4
    """
    if place.dry_run:
        _plan(console, options)
        return
    from ..vision.train import train as run

    result = run(
        options,
        place.output or CLASSIFIERS / options.name,
        resume=place.resume,
        explicit=frozenset(path[0] for path in explicit),
        overwrite=place.overwrite,
        events=console.events,
    )
    console.result(asdict(result), _text(result))
    which = f"--name {options.name}" if place.output is None else f"--run {place.output}"
    console.info(f"Next: atomtune classify evaluate {which} --images FOLDER")


def predict(
    console: Console,
    options: TrainedOptions,
    answers: PredictOptions,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Image files, or folders of them.")],
) -> None:
    """Say what is on images.

    Examples:
        atomtune classify predict --name flowers garden/1.jpg garden/2.jpg
    """
    from ..vision.predict import predict as answer

    found = answer(_classifier(options, console.events), images, answers.top, console.events)
    rows = [[str(one.path), one.answer, f"{one.probability:.3f}"] for one in found]
    console.result({"images": [asdict(one) for one in found]}, table(["image", "class", "probability"], rows))


def evaluate(console: Console, options: TrainedOptions, scored: ScoredOptions) -> None:
    """Score a classifier on images of known classes: accuracy, by class, confusions, one page.

    Examples:
        atomtune classify evaluate --name flowers --images photos/flowers-test
    """
    from ..vision.evaluate import evaluate as score

    output = scored.output or options.folder() / "evaluation"
    result = score(_classifier(options, console.events), scored.images, output, console.events)
    scores = result.scores
    text = {
        "report": str(result.report),
        "accuracy": f"{scores.accuracy:.4f} ± {scores.standard_error:.4f} "
        f"(standard error, {counted(scores.images, 'image')})",
        "mean per class": f"{scores.mean_per_class:.4f}",
    }
    console.result({"report": result.report, **result.figures}, fields(text))


def explain(console: Console, options: TrainedOptions, shown: ExplainOptions) -> None:
    """Show where a classifier looks, before and after tuning: Grad-CAM, and the share of the active area.

    Examples:
        atomtune classify explain --name flowers --images photos/flowers-test
    """
    from ..vision.explain import explain as run

    output = shown.output or options.folder() / "explanation"
    page, figures = run(
        _classifier(options, console.events),
        shown.images,
        output,
        number=shown.num,
        layer=shown.layer,
        events=console.events,
    )
    text = {
        "report": str(page),
        "active before": f"{figures['base_active']:.3f} of the image",
        "active after": f"{figures['active']:.3f}",
    }
    console.result({"report": page, **figures}, fields(text))


CLASSIFY: dict[str, Callable[..., None]] = {
    "train": train,
    "predict": predict,
    "evaluate": evaluate,
    "explain": explain,
}


def _classifier(options: TrainedOptions, events: Events) -> "Classifier":
    from ..vision.classifier import load_classifier

    return load_classifier(
        options.name,
        options.folder(),
        weights=options.weights,
        device=options.device,
        batch_size=options.batch_size,
        events=events,
    )


def _text(result: "ClassifierResult") -> str:
    sitting = f" (from step {result.resumed_from})" if result.resumed_from else ""
    return fields(
        {
            "atoms file": str(result.atoms_file),
            "size": size(result.atoms_bytes),
            "classes": f"{len(result.classes)}, {counted(result.images, 'image')}",
            "parameters": f"{result.trainable_parameters:,}, {result.head_parameters:,} of them in the head",
            "steps": f"{result.steps:,}{sitting} in {duration(result.seconds)}",
            "final loss": f"{result.final_loss:.4f}",
        }
    )


def _plan(console: Console, options: ClassifyOptions) -> None:
    """Show what would be trained, by kind of layer."""
    from ..vision.folders import read_classes
    from ..vision.train import planned

    classes = len(read_classes(options.images, console.events).classes)
    layers, head = planned(options, classes, console.events)
    kinds = {kind: [one for one in layers if one.kind == kind] for kind in dict.fromkeys(one.kind for one in layers)}
    of_method = sum(layer.parameters for layer in layers)
    data = {
        "trainable_parameters": of_method + head,
        "head_parameters": head,
        "kinds": [
            {"kind": kind, "layers": len(some), "parameters": sum(one.parameters for one in some)}
            for kind, some in kinds.items()
        ],
        "method": options.method,
        "preset": options.preset,
        "spec": asdict(options.spec),
        "model": options.model,
    }
    rows = [[kind, str(len(some)), f"{sum(one.parameters for one in some):,}"] for kind, some in kinds.items()]
    rows += [["head", "1", f"{head:,}"]]
    heading = (
        f"{options.preset} on {options.model} would train {counted(of_method, 'parameter')}, and {head:,} of the head"
    )
    console.result(data, f"{heading}\n\n{table(['kind', 'layers', 'parameters'], rows)}")
