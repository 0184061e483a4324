"""The spec of the paper's method: what is decomposed, what of it is trained, and the paper's presets."""

from dataclasses import dataclass

from ..errors import UsageError
from .base import Spec, number, whole_number

MAX_TILE = 64
MAX_ATOMS = 512

_START = "--preset c2 is a start"


@dataclass(frozen=True)
class AtomsSpec(Spec):
    """What is decomposed and what of it is trained.

    Attributes:
        atoms: m, atoms in each layer's dictionary.
        tile: k_c, the largest side of a tile of a linear layer or 1×1 convolution.
        overcomplete: m₁, atoms that each filter atom is mixed from; 1 trains the atoms themselves.
        sparsity: λ relative to the standard deviation of the weight; the paper's is about 0.05. At 0 the atoms are the
            principal directions of the rows, and the coefficients one product with them.
        layers: which layers, as for `select_layers`; "conv" is the paper's "ΔD alone".
        train_coefficients: train Δα too (the paper's C4).
        paper_scaling: train ΔD itself, as the paper does, and not in units that suit the layer (`atoms.step_gain`).
    """

    atoms: int = 9
    tile: int = 16
    overcomplete: int = 1
    sparsity: float = 0.0
    train_coefficients: bool = False
    paper_scaling: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("atoms", self.atoms, 1, MAX_ATOMS, _START)
        whole_number("tile", self.tile, 1, MAX_TILE, _START)
        whole_number("overcomplete", self.overcomplete, 1, 16, _START)
        number("sparsity", self.sparsity, 0, 10, "0 is the default, 0.05 the paper's")
        if not isinstance(self.train_coefficients, bool) or not isinstance(self.paper_scaling, bool):
            raise UsageError("train_coefficients and paper_scaling must be true or false", "see atomtune train --help")

    @property
    def decomposition_key(self) -> str:
        """What of the spec decides the decomposition, as text for names of cache files and log lines."""
        return f"m{self.atoms}-k{self.tile}-l{float(self.sparsity)!r}-{self.layers}"


PRESETS: dict[str, AtomsSpec] = {
    "c1": AtomsSpec(atoms=6, tile=4),
    "c2": AtomsSpec(atoms=9, tile=16),
    "c3": AtomsSpec(atoms=9, tile=16, overcomplete=3),
    "c4": AtomsSpec(atoms=9, tile=16, overcomplete=3, train_coefficients=True),
    "conv": AtomsSpec(atoms=9, tile=16, layers="conv"),
    "conv-overcomplete": AtomsSpec(atoms=9, tile=16, overcomplete=3, layers="conv"),
}
"""The configurations of the paper's Table 2, and its ΔD alone: the atoms of the k×k convolutions, plain or mixed."""


def preset_name(spec: AtomsSpec) -> str:
    """The preset a spec equals, or "custom"."""
    return next((name for name, preset in PRESETS.items() if preset == spec), "custom")
