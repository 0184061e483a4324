"""LoRA: ΔW = B·A of low rank (Hu et al. 2021, arXiv 2106.09685)."""

from dataclasses import replace
from typing import Any

from .injected import PeftMethod
from .specs import RankSpec


class LoRA(PeftMethod):
    """The method. With `layers` "attention" it is what diffusers' scripts train.

    Its file is one that diffusers' `load_lora_weights` takes. That one takes alpha for the rank where nothing says
    otherwise, so alpha/rank is multiplied into B.
    """

    name = "lora"
    title = "a product of two low-rank matrices"
    takes_groups = False

    def config(self, spec: RankSpec) -> Any:
        """See `PeftMethod.config`."""
        from peft import LoraConfig

        return LoraConfig(r=spec.rank, lora_alpha=spec.alpha, init_lora_weights="gaussian")

    def factor(self, spec: RankSpec, name: str) -> float:
        """See `PeftMethod.factor`."""
        return spec.alpha / spec.rank if ".lora_B." in name else 1.0

    def read(self, spec: RankSpec) -> RankSpec:
        """See `PeftMethod.read`."""
        return replace(spec, alpha=spec.rank)


LORA = LoRA()
