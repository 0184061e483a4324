"""LoHa: ΔW is the Hadamard product of two products of low rank (Hyeon-Woo et al. 2021, arXiv 2108.06098)."""

from typing import Any

from .injected import PeftMethod
from .specs import RankSpec


class LoHa(PeftMethod):
    """The method."""

    name = "loha"
    title = "a Hadamard product of two low-rank products"

    def config(self, spec: RankSpec) -> Any:
        """See `PeftMethod.config`."""
        from peft import LoHaConfig

        return LoHaConfig(r=spec.rank, alpha=spec.alpha)


LOHA = LoHa()
