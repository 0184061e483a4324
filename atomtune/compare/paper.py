"""The paper's baselines and the variants of its Figure 5 by name, as "paper:lora" (arXiv 2403.00269)."""

from dataclasses import replace

from ..methods.specs import PRESETS, InPlaceSpec, LoKrSpec, RankSpec, ScaledOFTSpec, Spec

PAPER = "paper"
"""Stands for all of the names below, with its colon before one of them."""

RATE, FULL_RATE = 1e-3, 5e-6
"""The paper's learning rates, constant: of every method, and of the full model."""

STEPS, BATCH_SIZE, SCHEDULE = 1000, 1, "constant"

_FILTERS = "blocks,!linear"
_PEFT_EPS = 6e-5  # COFT's bound in the peft of the time, whose OFT had the scales

VARIANTS: dict[str, tuple[str, Spec]] = {
    **{name: ("atoms", PRESETS[name]) for name in ("c1", "c2", "c3", "c4")},
    "lora": ("loralib", RankSpec("blocks", rank=16, alpha=16)),
    "loha": ("loha", RankSpec(rank=4, alpha=4)),
    "loha-16": ("loha", RankSpec(rank=16, alpha=16)),
    "lokr": ("lokr", LoKrSpec(rank=4, alpha=4, factor=4)),
    "oft": ("oft-scaled", ScaledOFTSpec()),
    "coft": ("oft-scaled", ScaledOFTSpec(eps=_PEFT_EPS)),
    "bitfit": ("bitfit", InPlaceSpec()),
    "difffit": ("difffit", InPlaceSpec()),
    "full": ("full", InPlaceSpec()),
    "d": ("atoms", replace(PRESETS["c2"], layers=_FILTERS)),
    "d_c": ("atoms", replace(PRESETS["c2"], layers="blocks,!conv")),
    "alpha": ("atoms", replace(PRESETS["c4"], train_atoms=False)),
    "beta": ("atoms", replace(PRESETS["c3"], layers=_FILTERS)),
}
"""What each name means, as method and spec.

`d` to `beta` train one part alone: the atoms of the 3×3 convolutions, those of the tiles, the coefficients of both, and
the overcomplete atoms of all convolutions with their mixes. Counts on Stable Diffusion v1.4 are in docs/comparison.md.
"""


def paper_rate(method: str) -> float:
    """The learning rate that the paper trains a method with."""
    return FULL_RATE if method == "full" else RATE
