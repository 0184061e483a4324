"""What each method trains: the fields of its spec, their ranges, and the presets. Nothing here imports torch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from ..errors import UsageError, excerpt
from ..runtime.option import option, same_as
from ..runtime.options import Options

_LONGEST_CHOICE = 20_000


@dataclass(frozen=True)
class Spec(Options, panel="Method"):
    """What a method trains, as JSON can hold it. Each method has its own; its fields are options of `train`.

    Attributes:
        layers: which layers, as for `select_layers`.
    """

    hint = "atomtune train --help says what is allowed"

    layers: str = option(
        "all",
        "Layers: all, blocks (of a UNet), conv (k x k convolutions), attention, or patterns, as 'up_blocks.*,*.to_k'.",
        metavar="WHICH",
    )

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        if len(self.layers) > _LONGEST_CHOICE:
            yield "layers", f"has {len(self.layers):,} characters; patterns such as 'up_blocks.*' are shorter"

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` is the way back."""
        return self.flat_dict()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The spec that JSON describes. Raises UsageError for unknown or impossible fields."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UsageError(
                f"unknown spec fields: {excerpt(', '.join(unknown))}", "a newer atomtune may have written the file"
            )
        return cls(**values)


TILE_ATOMS = ("same", "complete")
POINTWISE = ("tiles", "filters", "atoms")
MIX_STARTS = ("copies", "random")
MAX_COMPLETE_TILE = 16
BLOCKS = (1, 2, 4, 8)
MAX_BLOCK_ATOMS = 1024


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
        train_atoms: train the atoms; without, Δα alone.
        tile_atoms: "same", as many atoms for tiles as for filters; or "complete", as many as a tile has numbers, which
            needs no coefficients: every tile of a layer meets one trained matrix.
        pointwise: 1×1 convolutions are cut into "tiles"; or are "filters" of one tap, whose single atom is trained
            where `overcomplete` gives every input channel a mix of its own, and left as it is otherwise; or such
            filters with m "atoms" of one number, which are always trained.
        filter_block: convolutions that are filters are cut into blocks of so many output and input channels (where
            these can be divided so) with m·p·q atoms of p·q·k² numbers, D_c, in place of D: ResNet50's Table 1.
        mix_start: overcomplete atoms start as "copies" of each atom, their mix at 1/m₁; or at zero with a "random" mix
            on top of the weight, as in the paper's earlier version.
        paper_scaling: train ΔD itself, as the paper does, and not in units that suit the layer (`atoms.step_gain`).
    """

    atoms: int = option(9, "Atoms of each layer (m).", at_least=1, at_most=512, metavar="M")
    tile: int = option(
        16, "Largest side of a tile of linear and 1x1 layers (k_c).", at_least=1, at_most=64, metavar="K"
    )
    overcomplete: int = option(
        1, "Atoms that each filter atom is mixed from (m1).", at_least=1, at_most=16, metavar="M1"
    )
    sparsity: float = option(
        0.0,
        "Lambda of the decomposition, in standard deviations of the weights; the paper's is 0.05.",
        at_least=0,
        at_most=10,
        metavar="LAMBDA",
    )
    train_coefficients: bool = option(False, "Train the coefficients as well, as c4 does.")
    train_atoms: bool = option(True, "Train the atoms; without them the coefficients alone.")
    paper_scaling: bool = option(False, "Train atoms as the paper does, without the scale of their layer.")
    tile_atoms: str = option(
        "same", "Atoms of tiles: as many as of filters, or complete, as many as a tile has numbers.", choices=TILE_ATOMS
    )
    pointwise: str = option(
        "tiles",
        "Of 1x1 convolutions: tiles; filters of one tap, trained where atoms are overcomplete; or with m atoms.",
        choices=POINTWISE,
    )
    filter_block: int = option(
        1,
        "Cut convolutions into blocks of K x K channels with atoms of their own, K a power of two up to 8.",
        at_least=1,
        at_most=BLOCKS[-1],
        metavar="K",
    )
    mix_start: str = option(
        "copies",
        "Start of overcomplete atoms: copies of the atom, or zero with random mixes, as the paper had it first.",
        choices=MIX_STARTS,
    )

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        yield from super().check()
        if self.tile_atoms == "complete":
            if self.tile > MAX_COMPLETE_TILE:
                yield "tile", f"must be at most {MAX_COMPLETE_TILE} where tile_atoms is complete: k_c⁴ numbers a layer"
            if self.sparsity != 0:
                yield "sparsity", "must be 0 where tile_atoms is complete; tile_atoms same goes with it"
        if self.filter_block not in BLOCKS:
            yield "filter_block", "must be 1, 2, 4 or 8"
        elif self.filter_block > 1:
            if self.overcomplete > 1:
                yield "filter_block", "must be 1 where atoms are overcomplete: it is single filters that are mixed"
            if self.atoms * self.filter_block**2 > MAX_BLOCK_ATOMS:
                yield "filter_block", f"and atoms give a layer more than {MAX_BLOCK_ATOMS:,} atoms; fewer are enough"
        if not self.train_atoms and not self.train_coefficients:
            yield "train_atoms", "leaves nothing to train, without train_coefficients"
        if not self.train_atoms and self.overcomplete > 1:
            yield "train_atoms", "goes with overcomplete atoms: it is these that are trained"
        if self.mix_start != "copies" and self.overcomplete == 1:
            yield "mix_start", "is for overcomplete atoms; overcomplete 3 gives each atom three"

    @property
    def decomposition_key(self) -> str:
        """What of the spec decides the decomposition, as text for names of cache files and log lines."""
        key = f"m{self.atoms}-k{self.tile}-l{float(self.sparsity)!r}-{self.layers}"
        if self.pointwise == "filters":
            # which of them are decomposed depends on whether they are trained
            key += "-pointwise" + ("" if self.trains_pointwise else "-none")
        elif self.pointwise == "atoms":
            key += "-pointwise-atoms"
        if self.filter_block > 1:
            key += f"-block{self.filter_block}"
        return key + ("-complete" if self.tile_atoms == "complete" else "")

    @property
    def trains_pointwise(self) -> bool:
        """Whether 1×1 convolutions are trained."""
        return self.pointwise != "filters" or self.overcomplete > 1 or self.train_coefficients


_PAPER: Any = {"layers": "blocks", "tile_atoms": "complete", "pointwise": "filters"}

PRESETS: dict[str, AtomsSpec] = {
    "c1": AtomsSpec(atoms=6, tile=4, **_PAPER),
    "c2": AtomsSpec(atoms=9, tile=8, **_PAPER),
    "c3": AtomsSpec(atoms=9, tile=8, overcomplete=3, **_PAPER),
    "c4": AtomsSpec(atoms=9, tile=8, layers="blocks", train_coefficients=True),
    "conv": AtomsSpec(atoms=9, tile=16, layers="conv"),
    "conv-overcomplete": AtomsSpec(atoms=9, tile=16, overcomplete=3, layers="conv"),
}
"""The configurations of the paper's Table 2, and its ΔD alone: the atoms of the k×k convolutions, plain or mixed.

`c1` to `c3` have the paper's counts on Stable Diffusion v1.4, which follow from one rule: complete dictionaries for the
tiles of the linear layers of the blocks, m atoms for the 3×3 convolutions of the blocks, and 1×1 convolutions as
filters of one tap, trained where every input channel has a mix of its own. `c4` is the paper's by its text (α, D and
D_c), whose count follows from no rule that is known.
"""


def preset_name(spec: AtomsSpec) -> str:
    """The preset a spec equals, or "custom"."""
    return next((name for name, preset in PRESETS.items() if preset == spec), "custom")


@dataclass(frozen=True)
class RankSpec(Spec):
    """What a low-rank method trains.

    Attributes:
        rank: r. alpha: the change is scaled by alpha/rank.
    """

    rank: int = option(
        8, "Rank of the change of each layer.", at_least=1, at_most=4096, metavar="R", aliases=("network_dim",)
    )
    alpha: int = option(
        8,
        "The change is scaled by alpha / rank.",
        at_least=1,
        at_most=65536,
        metavar="A",
        aliases=("network_alpha", "lora_alpha"),
    )


@dataclass(frozen=True)
class LoKrSpec(RankSpec):
    """What LoKr trains.

    Attributes:
        factor: side of the smaller matrix of the Kronecker product; 0 for one that is as near to a square as possible.
    """

    factor: int = option(
        0, "Side of the smaller matrix of the product; 0 for the most even one.", at_least=0, at_most=4096, metavar="F"
    )


@dataclass(frozen=True)
class OFTSpec(Spec):
    """What is trained.

    Attributes:
        block_size: b, the side of a block; a layer whose inputs it does not divide takes the nearest number that does.
    """

    block_size: int = option(8, "Side of a block of the rotation.", at_least=2, at_most=1024, metavar="B")


@dataclass(frozen=True)
class COFTSpec(OFTSpec):
    """What is trained.

    Attributes:
        eps: the skew-symmetric matrix that makes a block has at most this norm over √(number of blocks).
    """

    eps: float = option(0.1, "Bound of the rotation.", at_least=1e-9, at_most=1e3, metavar="E")


@dataclass(frozen=True)
class ScaledOFTSpec(Spec):
    """What is trained.

    Attributes:
        blocks: of the rotation of a layer's inputs; the largest number up to it that divides them.
        eps: the skew-symmetric matrix that makes a block has at most this norm over √(number of blocks); 0 for any.
    """

    layers: str = same_as(Spec, "layers", default="attention")
    blocks: int = option(8, "Blocks of the rotation.", at_least=1, at_most=1024, metavar="N")
    eps: float = option(0.0, "Bound of the rotation; 0 for none.", at_least=0, at_most=1e3, metavar="E")


@dataclass(frozen=True)
class InPlaceSpec(Spec):
    """Which modules' parameters are trained: `layers` is "all" or shell patterns on the modules' names."""


STARTS = ("decomposed", "constant", "uniform", "normal", "zeros", "ones", "wide-uniform", "wide-normal")
"""What z₀ is: the decomposition's own diagonal z; its mean everywhere; as LoLDU's authors have them, uniform within
half of the mean around 0, or normal with the mean and the standard deviation of z; zeros or ones; and noise around 0 of
z's root mean square, which version 0.1 called uniform and normal.
"""


@dataclass(frozen=True)
class LoLDUSpec(Spec):
    """What is trained.

    Attributes:
        rank: r, the length of z; less where a weight has fewer rows or columns.
        alpha: the change is scaled by alpha/rank.
        start: z₀, one of `STARTS`.
        fixed_scale: σ stays 1, and z alone is trained.
    """

    layers: str = same_as(Spec, "layers", default="attention")
    rank: int = same_as(RankSpec, "rank", default=32)
    alpha: int = same_as(RankSpec, "alpha", default=32)
    start: str = option("decomposed", "Start of the diagonal.", choices=STARTS)
    fixed_scale: bool = option(False, "Train the diagonal without a scale of its own (sigma).")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """See `Spec.from_dict`. Without `fixed_scale` it is of version 0.1, whose noises were others."""
        start = values.get("start")
        if "fixed_scale" not in values and start in ("uniform", "normal"):
            values = {**values, "start": f"wide-{start}"}
        return super().from_dict(values)


SPECS: dict[str, type[Spec]] = {
    "atoms": AtomsSpec,
    "lora": RankSpec,
    "loha": RankSpec,
    "lokr": LoKrSpec,
    "oft": OFTSpec,
    "coft": COFTSpec,
    "bitfit": InPlaceSpec,
    "difffit": InPlaceSpec,
    "loldu": LoLDUSpec,
    "loralib": RankSpec,
    "oft-scaled": ScaledOFTSpec,
    "full": InPlaceSpec,
    "textual-inversion": Spec,
}
"""The class of each method's specs, by the method's name."""
