"""LoKr: ΔW is a Kronecker product with a factor of low rank (Yeh et al. 2023, arXiv 2309.14859)."""

from typing import Any

from .injected import PeftMethod
from .specs import LoKrSpec, Spec


class LoKr(PeftMethod):
    """The method."""

    name = "lokr"
    title = "a Kronecker product"
    spec: type[Spec] = LoKrSpec

    def config(self, spec: LoKrSpec) -> Any:
        """See `PeftMethod.config`."""
        from peft import LoKrConfig

        return LoKrConfig(r=spec.rank, alpha=spec.alpha, decompose_factor=spec.factor or -1)


LOKR = LoKr()
