"""LoKr: ΔW is a Kronecker product with a factor of low rank (Yeh et al. 2023, arXiv 2309.14859)."""

from typing import Any

from .injected import PeftMethod
from .specs import RankSpec


class LoKr(PeftMethod):
    """The method."""

    name = "lokr"
    title = "a Kronecker product"

    def config(self, spec: RankSpec) -> Any:
        """See `PeftMethod.config`."""
        from peft import LoKrConfig

        return LoKrConfig(r=spec.rank, alpha=spec.alpha)


LOKR = LoKr()
