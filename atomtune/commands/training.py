"""Options of `train` that say how it learns, by panel of its help."""

from typing import Annotated, Literal

import typer

TRAINING, RATE, OBJECTIVE, PRIOR = "Training", "Learning rate", "Objective", "Prior preservation"

Steps = Annotated[int, typer.Option(min=1, metavar="N", help="Optimiser steps.", rich_help_panel=TRAINING)]
BatchSize = Annotated[
    int, typer.Option(min=1, metavar="N", help="Images at a time on each device.", rich_help_panel=TRAINING)
]
GradAccum = Annotated[
    int, typer.Option(min=1, metavar="N", help="Batches whose mean gradient makes a step.", rich_help_panel=TRAINING)
]
GradientCheckpointing = Annotated[
    bool,
    typer.Option("--gradient-checkpointing", help="Less memory for about a third more time.", rich_help_panel=TRAINING),
]
LowMemory = Annotated[
    bool,
    typer.Option(
        "--low-memory", help="Atoms: frozen weights in half precision; and checkpointing.", rich_help_panel=TRAINING
    ),
]
CudaGraph = Annotated[bool, typer.Option(help="Record a step on the GPU once and replay it.", rich_help_panel=TRAINING)]
Compile = Annotated[
    bool, typer.Option("--compile", help="torch.compile, for long runs; checked first.", rich_help_panel=TRAINING)
]
Optimizer = Annotated[
    Literal["adamw", "adamw8bit", "prodigy"],
    typer.Option(help="adamw8bit needs bitsandbytes, prodigy prodigyopt.", rich_help_panel=TRAINING),
]
WeightDecay = Annotated[float, typer.Option(min=0.0, metavar="X", help="The optimiser's.", rich_help_panel=TRAINING)]
MaxGradNorm = Annotated[
    float,
    typer.Option(
        min=0.0, metavar="X", help="Longer gradients are cut to this norm; 0: never.", rich_help_panel=TRAINING
    ),
]
Ema = Annotated[
    bool,
    typer.Option("--ema", help="Draw and write the moving average of what is trained.", rich_help_panel=TRAINING),
]
EmaDecay = Annotated[
    float,
    typer.Option(min=0.0, metavar="X", help="The average's decay, which it grows to.", rich_help_panel=TRAINING),
]

Lr = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help=r"Learning rate; 1 for prodigy. \[default: 1e-3; loldu 5e-4, full 5e-6, textual-inversion 5e-3]",
        rich_help_panel=RATE,
    ),
]
LrScheduler = Annotated[
    Literal["constant", "constant-with-warmup", "linear", "cosine", "cosine-restarts", "polynomial"],
    typer.Option(help="How the rate changes over the steps.", rich_help_panel=RATE),
]
Warmup = Annotated[
    int, typer.Option(min=0, metavar="N", help="Steps on which the rate rises from 0.", rich_help_panel=RATE)
]
LrCycles = Annotated[
    int, typer.Option(min=1, metavar="N", help="How often cosine-restarts begins anew.", rich_help_panel=RATE)
]
LrPower = Annotated[float, typer.Option(metavar="X", help="Exponent of polynomial.", rich_help_panel=RATE)]

MinSnrGamma = Annotated[
    float | None,
    typer.Option(metavar="X", help="Weigh timesteps by min-SNR; 5 is usual.", rich_help_panel=OBJECTIVE),
]
NoiseOffset = Annotated[
    float,
    typer.Option(
        min=0.0, metavar="X", help="Noise of a whole channel, for dark and bright images.", rich_help_panel=OBJECTIVE
    ),
]

PriorPreservation = Annotated[
    bool,
    typer.Option("--prior-preservation", help="Learn along with images of the class.", rich_help_panel=PRIOR),
]
PriorImages = Annotated[
    int,
    typer.Option(min=1, metavar="N", help="How many; the base model draws them, once.", rich_help_panel=PRIOR),
]
PriorWeight = Annotated[
    float, typer.Option(min=0.0, metavar="X", help="Of their loss beside the concept's.", rich_help_panel=PRIOR)
]
PriorPrompt = Annotated[
    str | None,
    typer.Option(
        metavar="PROMPT",
        help=r"What they show; {} stands for the class noun. \[default: a photo of a {}]",
        rich_help_panel=PRIOR,
    ),
]

TrainTextEncoder = Annotated[
    bool,
    typer.Option("--train-text-encoder", help="Tune the text encoders too.", rich_help_panel=TRAINING),
]

Tracker = Annotated[
    Literal["tensorboard", "wandb"] | None,
    typer.Option(help="Where to log loss and learning rate besides log.jsonl.", rich_help_panel="Output"),
]
