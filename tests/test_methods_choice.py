"""What a user chooses: the layers, by kind or by pattern, and the spec."""

import json
import math
from collections import OrderedDict
from typing import Any

import pytest
from torch import nn

from atomtune.errors import UsageError
from atomtune.methods import METHODS
from atomtune.methods.atoms import Atoms
from atomtune.methods.select import group_of, select_layers
from atomtune.methods.specs import PRESETS, AtomsSpec, preset_name


def small_model() -> nn.Module:
    attention = nn.ModuleDict({"to_q": nn.Linear(8, 8, bias=False), "to_out": nn.ModuleList([nn.Linear(8, 8)])})
    return nn.Sequential(
        OrderedDict(
            conv_in=nn.Conv2d(3, 8, 3),
            blocks=nn.ModuleList(
                [nn.ModuleDict({"conv": nn.Conv2d(8, 8, 3, groups=2), "skip": nn.Conv2d(8, 4, 1), "attn": attention})]
            ),
        )
    )


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("all", ["conv_in", "blocks.0.conv", "blocks.0.skip", "blocks.0.attn.to_q", "blocks.0.attn.to_out.0"]),
        ("conv", ["conv_in", "blocks.0.conv"]),
        ("attention", None),
        ("blocks", ["conv_in", "blocks.0.conv", "blocks.0.skip", "blocks.0.attn.to_q", "blocks.0.attn.to_out.0"]),
        ("blocks.*", ["blocks.0.conv", "blocks.0.skip", "blocks.0.attn.to_q", "blocks.0.attn.to_out.0"]),
        (" *.skip , conv_in", ["conv_in", "blocks.0.skip"]),
        ("*.to_q,*.attn.*", ["blocks.0.attn.to_q", "blocks.0.attn.to_out.0"]),
    ],
)
def test_choice_of_layers(layers: str, expected: list[str] | None) -> None:
    if expected is None:  # a model without to_k and to_v has no attention to name
        with pytest.raises(UsageError, match=r"\*\.to_k"):
            select_layers(small_model(), layers)
    else:
        assert list(select_layers(small_model(), layers)) == expected


@pytest.mark.parametrize("layers", ["nothing.*", "conv_in,nothing", "", "conv_in,", "CONV_IN", "conv,attention"])
def test_a_pattern_without_a_match_is_a_usage_error(layers: str) -> None:
    with pytest.raises(UsageError, match="no layer of the model matches") as caught:
        select_layers(small_model(), layers)
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_the_blocks_of_a_unet() -> None:
    parts = ("conv_in", "time_embedding", "down_blocks", "mid_block", "up_blocks", "conv_out")
    model = nn.ModuleDict({part: nn.ModuleList([nn.Linear(2, 2)]) for part in parts})
    assert list(select_layers(model, "blocks")) == ["down_blocks.0", "mid_block.0", "up_blocks.0"]


def test_a_model_without_convolutions() -> None:
    with pytest.raises(UsageError, match="no layers for 'conv'"):
        select_layers(nn.Sequential(nn.Linear(4, 4)), "conv")


@pytest.mark.parametrize(
    ("name", "group"),
    [("conv_in", "conv_in"), ("down_blocks.1.resnets.0.conv1", "down_blocks.1"), ("mid_block.attn", "mid_block")],
)
def test_groups(name: str, group: str) -> None:
    assert group_of(name) == group


def test_presets_are_named_and_go_through_json() -> None:
    assert list(PRESETS) == [
        *("c1", "c2", "c3", "c4"),
        *("conv", "conv-overcomplete"),
    ]
    for name, spec in PRESETS.items():
        assert AtomsSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
        assert preset_name(spec) == name
    assert preset_name(AtomsSpec(atoms=5)) == "custom"
    assert isinstance(METHODS["atoms"], Atoms)


@pytest.mark.parametrize(
    "fields",
    [
        {"atoms": 0},
        {"atoms": 513},
        {"atoms": 6.0},
        {"atoms": True},
        {"atoms": "6"},
        {"tile": 0},
        {"tile": 65},
        {"overcomplete": 0},
        {"overcomplete": 17},
        {"sparsity": -0.1},
        {"sparsity": math.nan},
        {"sparsity": math.inf},
        {"sparsity": "0.1"},
        {"sparsity": True},
        {"layers": None},
        {"train_coefficients": 1},
        {"tile_atoms": "all"},
        {"tile_atoms": "complete", "sparsity": 0.05},
        {"tile_atoms": "complete", "tile": 17},
        {"pointwise": 1},
        {"filter_block": 3},
        {"filter_block": 16},
        {"filter_block": 2, "overcomplete": 3},
        {"filter_block": 8, "atoms": 17},
        {"mix_start": "random"},
        {"mix_start": "zero", "overcomplete": 3},
        {"rank": 4},
    ],
    ids=str,
)
def test_impossible_specs_are_usage_errors(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        AtomsSpec.from_dict(fields)
    assert caught.value.hint


def test_the_decomposition_key_tells_decompositions_apart_and_no_more() -> None:
    specs = [
        AtomsSpec(),
        AtomsSpec(atoms=8),
        AtomsSpec(tile=8),
        AtomsSpec(layers="conv"),
        AtomsSpec(sparsity=0.0500001),
        AtomsSpec(tile_atoms="complete"),
        AtomsSpec(pointwise="filters"),
        AtomsSpec(pointwise="filters", overcomplete=3),
        AtomsSpec(pointwise="atoms"),
        AtomsSpec(filter_block=2),
    ]
    assert len({spec.decomposition_key for spec in specs}) == len(specs)
    same = AtomsSpec(overcomplete=3, mix_start="random", train_coefficients=True)
    assert same.decomposition_key == AtomsSpec().decomposition_key
    assert AtomsSpec(sparsity=1).decomposition_key == AtomsSpec(sparsity=1.0).decomposition_key
