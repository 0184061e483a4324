"""What each method trains: the fields of its spec, their ranges, and the presets. Nothing here imports torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

from ..errors import UsageError, excerpt

_LONGEST_CHOICE = 20_000


@dataclass(frozen=True)
class Spec:
    """What a method trains, as JSON can hold it. Each method has its own.

    Attributes:
        layers: which layers, as for `select_layers`.
    """

    layers: str = "all"

    def __post_init__(self) -> None:
        if not isinstance(self.layers, str):
            raise UsageError("layers must be text", "see atomtune train --help")
        if len(self.layers) > _LONGEST_CHOICE:
            raise UsageError(
                f"layers has {len(self.layers):,} characters", "patterns such as 'up_blocks.*' are shorter"
            )

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` is the way back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The spec that JSON describes. Raises UsageError for unknown or impossible fields."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UsageError(
                f"unknown spec fields: {excerpt(', '.join(unknown))}", "a newer atomtune may have written the file"
            )
        return cls(**values)


def whole_number(name: str, value: Any, low: int, high: int, hint: str = "see atomtune train --help") -> None:
    """Raise UsageError unless a field of a spec is a whole number in a range."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{name} must be a whole number from {low} to {high}, got {excerpt(repr(value))}", hint)


def number(name: str, value: Any, low: float, high: float, hint: str = "see atomtune train --help") -> None:
    """Raise UsageError unless a field of a spec is a number in a range, the bounds included."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UsageError(f"{name} must be between {low:g} and {high:g}, got {excerpt(repr(value))}", hint)


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


@dataclass(frozen=True)
class RankSpec(Spec):
    """What a low-rank method trains.

    Attributes:
        rank: r. alpha: the change is scaled by alpha/rank.
    """

    rank: int = 8
    alpha: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("rank", self.rank, 1, 4096)
        whole_number("alpha", self.alpha, 1, 65536)


@dataclass(frozen=True)
class OFTSpec(Spec):
    """What is trained.

    Attributes:
        block_size: b, the side of a block; a layer whose inputs it does not divide takes the nearest number that does.
    """

    block_size: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("block_size", self.block_size, 2, 1024)


@dataclass(frozen=True)
class COFTSpec(OFTSpec):
    """What is trained.

    Attributes:
        eps: the skew-symmetric matrix that makes a block has at most this norm over √(number of blocks).
    """

    eps: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        number("eps", self.eps, 1e-9, 1e3)


@dataclass(frozen=True)
class InPlaceSpec(Spec):
    """Which modules' parameters are trained: `layers` is "all" or shell patterns on the modules' names."""


Start = Literal["decomposed", "constant", "uniform", "normal", "zeros", "ones"]
STARTS = get_args(Start)
"""What z₀ is: the decomposition's own diagonal, its mean everywhere, noise of its spread, zeros or ones."""


@dataclass(frozen=True)
class LoLDUSpec(Spec):
    """What is trained.

    Attributes:
        rank: r, the length of z; less where a weight has fewer rows or columns.
        alpha: the change is scaled by alpha/rank.
        start: z₀, one of `STARTS`.
    """

    layers: str = "attention"
    rank: int = 32
    alpha: int = 32
    start: str = "decomposed"

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("rank", self.rank, 1, 4096)
        whole_number("alpha", self.alpha, 1, 65536)
        if self.start not in STARTS:
            raise UsageError(f"start must be one of {', '.join(STARTS)}, not {excerpt(repr(self.start))}", "--start")
