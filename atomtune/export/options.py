"""Options of exports."""

from dataclasses import dataclass

from ..models.options import ModelOptions
from ..runtime.option import option, same_as
from ..runtime.options import Options
from ..sampling.options import TunedModelOptions

FORMATS = ("kohya", "diffusers")


@dataclass(frozen=True, kw_only=True)
class LoraOptions(Options, panel="Output"):
    """A LoRA file of what atoms change.

    Attributes:
        rank: of the two factors of each layer.
        format: "kohya", which ComfyUI and A1111 read, or "diffusers".
        precision: type of the factors.
        model: None for the model that the first atoms file was trained on.
        device: where the factors are computed; None for the CPU.
    """

    model: str | None = same_as(TunedModelOptions, "model")
    device: str | None = same_as(ModelOptions, "device", shown_default="cpu")
    rank: int = option(
        32,
        "Rank of each layer; higher keeps more of the change.",
        at_least=1,
        metavar="R",
        aliases=("network_dim", "lora_rank"),
    )
    format: str = option("kohya", "Names of the layers; kohya's are read by ComfyUI and A1111.", choices=FORMATS)
    precision: str = option(
        "fp16",
        "Type of the factors; fp16 is half the size.",
        choices=("fp16", "fp32"),
        aliases=("save_precision",),
    )


@dataclass(frozen=True, kw_only=True)
class MergeOptions(Options, panel="Output"):
    """A diffusers folder of a base model with atoms merged in.

    Attributes:
        model: None for the model that the first atoms file was trained on.
        precision: type of the weights.
    """

    model: str | None = same_as(TunedModelOptions, "model")
    precision: str = option(
        "fp32",
        "Type of the weights; fp16 is half the size.",
        choices=("fp32", "fp16"),
        aliases=("save_precision",),
    )
