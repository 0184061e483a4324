"""atomtune train: teach a base model a concept."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..runtime.units import size
from .console import Console, duration, fields, table
from .method import (
    Alpha,
    BlockSize,
    Eps,
    Method,
    Overcomplete,
    PaperScaling,
    Rank,
    Start,
    TrainCoefficients,
    TrainToken,
    method_spec,
)
from .shared import (
    OUTPUT,
    Atoms,
    ClassName,
    ConceptName,
    Crop,
    Device,
    Flip,
    Images,
    Layers,
    Model,
    Overwrite,
    Precision,
    Preset,
    Prompt,
    Resolution,
    Seed,
    Sparsity,
    Tile,
    Token,
)
from .training import (
    BatchSize,
    Compile,
    CudaGraph,
    Ema,
    EmaDecay,
    GradAccum,
    GradientCheckpointing,
    LowMemory,
    Lr,
    LrCycles,
    LrPower,
    LrScheduler,
    MaxGradNorm,
    MinSnrGamma,
    NoiseOffset,
    Optimizer,
    PriorImages,
    PriorPreservation,
    PriorPrompt,
    PriorWeight,
    Steps,
    Tracker,
    TrainTextEncoder,
    Warmup,
    WeightDecay,
)

if TYPE_CHECKING:
    from ..methods.base import LayerPlan
    from ..training.options import TrainOptions
    from ..training.train import TrainResult

SPEC = frozenset(
    {
        *("preset", "atoms", "tile", "overcomplete", "sparsity", "layers", "train_coefficients", "paper_scaling"),
        *("rank", "alpha", "block_size", "eps", "start"),
    }
)


def train(
    console: Console,
    explicit: frozenset[str],
    concept: ConceptName,
    images: Images = None,
    class_name: ClassName = None,
    token: Token = "sks",
    prompt: Prompt = "a photo of a {}",
    model: Model = None,
    device: Device = None,
    precision: Precision = "fp32",
    method: Method = "atoms",
    layers: Layers = None,
    train_token: TrainToken = False,
    preset: Preset = None,
    atoms: Atoms = None,
    tile: Tile = None,
    overcomplete: Overcomplete = None,
    sparsity: Sparsity = None,
    train_coefficients: TrainCoefficients = False,
    paper_scaling: PaperScaling = False,
    rank: Rank = None,
    alpha: Alpha = None,
    block_size: BlockSize = None,
    eps: Eps = None,
    start: Start = None,
    steps: Steps = 1000,
    batch_size: BatchSize = 1,
    grad_accum: GradAccum = 1,
    gradient_checkpointing: GradientCheckpointing = False,
    low_memory: LowMemory = False,
    cuda_graph: CudaGraph = True,
    compile: Compile = False,
    optimizer: Optimizer = "adamw",
    weight_decay: WeightDecay = 1e-2,
    max_grad_norm: MaxGradNorm = 1.0,
    train_text_encoder: TrainTextEncoder = False,
    ema: Ema = False,
    ema_decay: EmaDecay = 0.9999,
    lr: Lr = None,
    lr_scheduler: LrScheduler = "constant",
    warmup: Warmup = 0,
    lr_cycles: LrCycles = 3,
    lr_power: LrPower = 1.0,
    min_snr_gamma: MinSnrGamma = None,
    noise_offset: NoiseOffset = 0.0,
    prior_preservation: PriorPreservation = False,
    prior_images: PriorImages = 100,
    prior_weight: PriorWeight = 1.0,
    prior_prompt: PriorPrompt = None,
    resolution: Resolution = None,
    crop: Crop = "center",
    flip: Flip = False,
    seed: Seed = 0,
    output: Annotated[
        Path | None,
        typer.Option(help=r"Folder of the run. \[default: runs/NAME]", metavar="DIR", rich_help_panel=OUTPUT),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run in the folder, as it was begun.", rich_help_panel=OUTPUT),
    ] = False,
    overwrite: Overwrite = False,
    checkpoint_every: Annotated[
        int, typer.Option(min=1, metavar="N", help="Steps between two saved states.", rich_help_panel=OUTPUT)
    ] = 250,
    sample_every: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Steps between two sets of images; 0 for none.", rich_help_panel=OUTPUT),
    ] = 0,
    sample_prompt: Annotated[
        list[str] | None,
        typer.Option(help="What to draw then; give it again for more.", metavar="PROMPT", rich_help_panel=OUTPUT),
    ] = None,
    sample_steps: Annotated[
        int, typer.Option(min=1, metavar="N", help="Denoising steps of those images.", rich_help_panel=OUTPUT)
    ] = 25,
    tracker: Tracker = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be trained, and stop.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Teach the base model a concept from a few images.

    Writes the run's folder: atoms.safetensors (the result), run.json, log.jsonl, loss.svg and the state to resume from.
    """
    from ..data.concept import Concept
    from ..methods import METHODS
    from ..training.options import TrainOptions

    options = TrainOptions(
        concept=Concept(concept, class_name or concept, token),
        images=images or Path("concepts") / concept,
        model=model,
        method=method,
        spec=method_spec(
            method,
            preset,
            atoms=atoms,
            tile=tile,
            overcomplete=overcomplete,
            sparsity=sparsity,
            layers=layers,
            train_coefficients=train_coefficients or None,
            paper_scaling=paper_scaling or None,
            rank=rank,
            alpha=alpha,
            block_size=block_size,
            eps=eps,
            start=start,
        ),
        prompt=prompt,
        steps=steps,
        batch_size=batch_size,
        lr=METHODS[method].learning_rate if lr is None else lr,
        weight_decay=weight_decay,
        seed=seed,
        resolution=resolution,
        crop=crop,
        flip=flip,
        precision=precision,
        device=device,
        sample_every=sample_every,
        sample_prompts=tuple(sample_prompt or ()),
        sample_steps=sample_steps,
        checkpoint_every=checkpoint_every,
        grad_accum=grad_accum,
        gradient_checkpointing=gradient_checkpointing,
        low_memory=low_memory,
        cuda_graph=cuda_graph,
        compile=compile,
        optimizer=optimizer,
        lr_scheduler=lr_scheduler,
        warmup=warmup,
        lr_cycles=lr_cycles,
        lr_power=lr_power,
        max_grad_norm=max_grad_norm,
        min_snr_gamma=min_snr_gamma,
        noise_offset=noise_offset,
        prior_preservation=prior_preservation,
        prior_images=prior_images,
        prior_weight=prior_weight,
        prior_prompt=prior_prompt,
        ema=ema,
        ema_decay=ema_decay,
        tracker=tracker,
        train_text_encoder=train_text_encoder,
        train_token=train_token,
    )
    if dry_run:
        _plan(console, options)
        return
    from ..training.train import train as run

    result = run(
        options,
        output or Path("runs") / concept,
        resume=resume,
        explicit=_fields_given(explicit),
        overwrite=overwrite,
        events=console.events,
    )
    console.result(asdict(result), _text(result))
    files = f"--concept {concept}" if output is None else f"--atoms {result.atoms_file}"
    console.info(f'Try: atomtune sample {files} --prompt "a <{concept}> in the snow"')


def _fields_given(explicit: frozenset[str]) -> frozenset[str]:
    """The fields of TrainOptions that options on the command line or in a file set."""
    renamed = {"sample_prompt": "sample_prompts", "class_name": "concept", "token": "concept"}
    # the concept's name alone says which run is meant, not how it is to be changed
    names = explicit - {"concept", "output", "resume", "overwrite", "dry_run"}
    return frozenset("spec" if name in SPEC else renamed.get(name, name) for name in names)


def _text(result: "TrainResult") -> str:
    sitting = f" (from step {result.resumed_from})" if result.resumed_from else ""
    return fields(
        {
            "atoms file": str(result.atoms_file),
            "size": size(result.atoms_bytes),
            "parameters": f"{result.trainable_parameters:,}",
            "steps": f"{result.steps:,}{sitting} in {duration(result.seconds)}",
            "final loss": f"{result.final_loss:.4f}",
        }
    )


def _plan(console: Console, options: "TrainOptions") -> None:
    """Show what would be trained, by group of layers."""
    from ..models.base_model import resolve
    from ..training.plan import plan as planned

    base, plan = resolve(options.model).name, planned(options)
    groups = [
        (group, [layer for layer in plan if layer.group == group])
        for group in dict.fromkeys(layer.group for layer in plan)
    ]
    total = _counts(plan)
    data = {
        "trainable_parameters": total["parameters"],
        **total,
        "groups": [{"group": group, **_counts(part)} for group, part in groups],
        "method": options.method,
        "preset": options.preset,
        "spec": asdict(options.spec),
        "base": base,
    }
    columns = ["layers", "conv", "conv_1x1", "linear", "rows", "parameters"]
    counted = [(group, _counts(part)) for group, part in groups] + [("total", total)]
    rows = [[group, *(f"{counts[column]:,}" for column in columns)] for group, counts in counted]
    header = ["group", *(column.replace("_", " ") for column in columns)]
    heading = f"{options.preset} on {base} would train {total['parameters']:,} parameters"
    console.result(data, f"{heading}\n\n{table(header, rows)}")


def _counts(plan: "Sequence[LayerPlan]") -> dict[str, Any]:
    kinds = [layer.kind for layer in plan]
    return {
        "layers": len(plan),
        "conv": kinds.count("conv"),
        "conv_1x1": kinds.count("conv 1x1"),
        "linear": kinds.count("linear"),
        "rows": sum(layer.rows for layer in plan),
        "parameters": sum(layer.parameters for layer in plan),
    }
