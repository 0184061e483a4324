"""Options of exports."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..models.options import ModelOptions
from ..runtime.option import option, same_as
from ..runtime.options import Options
from ..sampling.options import TunedModelOptions

TARGETS = {
    "lora": "-lora.safetensors",
    "lora-diffusers": "-lora-diffusers.safetensors",
    "diff": "-diff.safetensors",
    "checkpoint": "-checkpoint.safetensors",
    "diffusers": "-model",
    "embedding": "-embedding.safetensors",
}
"""The forms of an export, each with the end of its default name."""

PRECISIONS = ("fp16", "fp32")
PSNR = 30.0
"""The PSNR in dB that a LoRA reaches where neither it nor the rank is given."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Options, panel="Output"):
    """A concept in a form that other programs load.

    Attributes:
        to: one of TARGETS.
        rank: of the two factors of each layer of a LoRA; None for the smallest that reaches `psnr`.
        psnr: what the images must reach against those of the atoms, in dB; None for PSNR where a LoRA has no rank, else
            nothing is generated to measure it.
        weighted: whether a LoRA keeps what changes the outputs of the layers, not the largest part of ΔW; and whether
            the weights of a checkpoint are rounded so that the outputs change least.
        refine: steps for which a LoRA's factors are trained to predict what the atoms predict; 0 for none.
        precision: type of the numbers.
        preview: whether an image goes beside the file and into it.
        licence: None for the base model's, where it is known.
        model: None for the model that the first atoms file was trained on.
        device: where factors are computed and images generated; None for the CPU.
    """

    to: str = option("lora", "Form of the result.", choices=TARGETS)
    rank: int | None = option(
        None,
        "Rank of each layer of a LoRA; higher keeps more of the change.",
        at_least=1,
        metavar="R",
        shown_default="the smallest that reaches --psnr",
        aliases=("network_dim", "lora_rank"),
    )
    psnr: float | None = option(
        None,
        "PSNR of images against those of the atoms, in dB, that the result must reach.",
        above=0,
        at_most=90,
        metavar="DB",
        shown_default="30 for a LoRA without --rank",
    )
    weighted: bool = option(True, "Weigh the loss of a LoRA, and the rounding of a checkpoint, by what the layers see.")
    refine: int = option(
        0,
        "Steps for which a LoRA is trained to predict what the atoms predict, as 200; a GPU's work.",
        at_least=0,
        metavar="STEPS",
    )
    precision: str = option(
        "fp16",
        "Type of the numbers; fp16 is half the size.",
        choices=PRECISIONS,
        aliases=("save_precision",),
    )
    preview: bool = option(True, "Generate an image to show in galleries, beside the file and in it.")
    licence: str | None = option(
        None,
        "Licence to name in the file.",
        metavar="TEXT",
        shown_default="the base model's, where it is known",
        aliases=("license",),
    )
    model: str | None = same_as(TunedModelOptions, "model")
    device: str | None = same_as(ModelOptions, "device", shown_default="cpu")

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        if self.rank is not None and not self.to.startswith("lora"):
            yield "rank", f"is of LoRA files, not of --to {self.to}"
        if self.refine and not self.to.startswith("lora"):
            yield "refine", f"is of LoRA files, not of --to {self.to}"

    @property
    def target_psnr(self) -> float | None:
        """What images must reach, in dB; None where nothing is promised of them."""
        if self.psnr is None and self.rank is None and self.to.startswith("lora"):
            return PSNR
        return self.psnr


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
