"""The names of variants: what they mean, what they are not."""

import pytest

from atomtune.compare.variants import TABLE, parse_rates, parse_variant, parse_variants
from atomtune.errors import UsageError
from atomtune.methods import METHODS
from atomtune.methods.specs import PRESETS
from atomtune.models.architecture import unet_on_meta
from atomtune.models.base_model import resolve


@pytest.mark.parametrize(
    ("text", "name", "fields"),
    [
        ("atoms", "atoms:c2", {"atoms": 9, "overcomplete": 1}),
        ("atoms:c3", "atoms:c3", {"overcomplete": 3}),
        ("atoms:conv", "atoms:conv", {"layers": "conv", "tile": 16}),
        ("atoms:c2:overcomplete=3", "atoms:c3", {"overcomplete": 3}),
        ("atoms:c1:tile=8", "atoms:c1:tile=8", {"atoms": 6, "tile": 8}),
        ("lora", "lora", {"layers": "all", "rank": 8}),
        ("lora:attention", "lora:attention", {"layers": "attention"}),
        ("lora:rank=4:attention", "lora:attention:rank=4", {"layers": "attention", "rank": 4}),
        ("atoms:conv:sparsity=1", "atoms:conv:sparsity=1.0", {"sparsity": 1.0}),
        ("lora:all:rank=8", "lora", {}),
        ("loldu:start=zeros", "loldu:start=zeros", {"start": "zeros"}),
        ("loldu:attention", "loldu", {"layers": "attention"}),
        ("full:up_blocks.*", "full:up_blocks.*", {"layers": "up_blocks.*"}),
        (" bitfit ", "bitfit", {}),
        ("lora:blocks", "lora:blocks", {"layers": "blocks"}),
        ("paper:lora", "paper:lora", {"layers": "blocks", "rank": 16}),
        ("paper:lora:rank=4", "paper:lora:rank=4", {"layers": "blocks", "rank": 4}),
        ("paper:d:atoms=6", "paper:d:atoms=6", {"layers": "blocks,!linear", "atoms": 6}),
        ("paper:c2", "atoms:c2", {}),
        ("paper:full", "full", {}),
    ],
)
def test_a_name_says_what_is_trained(text: str, name: str, fields: dict[str, object]) -> None:
    variant = parse_variant(text)
    assert variant.name == name
    assert variant.spec.to_dict().items() >= fields.items()
    assert parse_variant(name) == variant, "the short name means the same"
    assert not variant.train_token


def test_the_token_goes_with_any_method() -> None:
    assert parse_variant("lora:token").train_token
    assert parse_variant("atoms:token:c2").name == "atoms:c2:token"


def test_the_table_has_every_method_and_preset() -> None:
    variants = parse_variants(["all"])
    assert [variant.name for variant in variants] == list(TABLE)
    of_the_paper = {variant.method for variant in parse_variants(["paper"])}
    assert {variant.method for variant in variants} | of_the_paper == set(METHODS)
    assert of_the_paper - {variant.method for variant in variants} == {"loralib", "oft-scaled"}
    assert {variant.name for variant in variants if variant.method == "atoms"} == {f"atoms:{name}" for name in PRESETS}
    assert len({variant.folder for variant in variants}) == len(variants)


PAPER_COUNTS = {
    # name: trained on SD v1.4; the paper's are 22.67, 8.47, 11.75 and 0.34 million
    "paper:lora": 22_670_336,
    "paper:loha": 8_465_728,
    "paper:loha-16": 33_862_912,
    "paper:lokr": 1_062_728,
    "paper:oft": 11_751_936,
    "paper:coft": 11_751_936,
    "bitfit": 343_684,
    "full": 859_520_964,
    "paper:d": 50 * 81,
    "paper:d_c": 182 * 4096,
    "paper:alpha": 585_555_858 - 50 * 81 - 228 * 9 * 64,
    "paper:beta": 2_393_600 - 182 * 4096,
}


def test_counts_of_the_papers_variants_on_sd_v1_4() -> None:
    unet = unet_on_meta(resolve("CompVis/stable-diffusion-v1-4"))
    variants = {variant.name: variant for variant in parse_variants(["paper"])}
    assert set(variants) == set(PAPER_COUNTS) | {"difffit", *(f"atoms:c{number}" for number in range(1, 5))}
    for name, expected in PAPER_COUNTS.items():
        variant = variants[name]
        plans = METHODS[variant.method].plan(unet, variant.spec)
        assert sum(plan.parameters for plan in plans) == expected, name


def test_a_variant_may_have_options_of_training_of_its_own() -> None:
    variant = parse_variant("lora:preserve=0.5:attention:preserve_every=2:steps=320:token")
    assert variant.name == "lora:attention:token:steps=320:preserve=0.5:preserve_every=2"
    assert variant.plain == parse_variant("lora:attention:token")
    assert variant.options(0.0) == {"steps": 320, "preserve": 0.5, "preserve_every": 2}
    assert parse_variant("lora").options(1.0) == {}, "what all runs have"
    without = parse_variant("lora:preserve=0").options(1.0)
    assert without == parse_variant("textual-inversion").options(1.0)
    assert without["preserve"] == 0.0
    assert without["preserve_every"] == 1


def test_folders_are_plain_and_differ() -> None:
    texts = ["lora", "lora:attention", "full:up_blocks.*", "full:up_blocks.?", "atoms:c1:tile=8"]
    folders = [parse_variant(text).folder for text in texts]
    assert len(set(folders)) == len(folders)
    assert folders[:2] == ["lora", "lora-attention"]
    assert not any(set(folder) & set(':*?/\\<>|"') for folder in folders)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "there is no method 'nonsense'"),
        ("", "there is no method ''"),
        ("c2", "there is no method 'c2'"),
        ("lora:c2", "'c2' is no part of lora"),
        ("atoms:c9", "'c9' is no part of atoms"),
        ("atoms:rank=4", "'rank=4' is no part of atoms"),
        ("lora:rank=", "rank must be a whole number"),
        ("lora:rank=0", "rank must be a whole number from 1"),
        ("lora:rank=4.5", "rank must be a whole number"),
        ("atoms:sparsity=nan", "sparsity must be a number from 0 to 10"),
        ("loldu:start=never", "start must be one of"),
        ("atoms:c2:", "'' is no part of atoms"),
        ("paper:lore", "'lore' is none of the paper's variants"),
        ("paper:lora:c2", "'c2' is no part of loralib"),
        ("lora:preserve=-1", "preserve must be a number of at least 0"),
        ("lora:steps=0", "steps must be a whole number of at least 1"),
        ("lora:preserve=1:preserve_rows=x", "preserve_rows must be a whole number"),
    ],
)
def test_what_is_no_variant_is_said_in_a_line(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_variant(text)
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_the_hint_lists_what_there_is() -> None:
    with pytest.raises(UsageError) as caught:
        parse_variant("lore")
    assert all(name in str(caught.value.hint) for name in METHODS)
    with pytest.raises(UsageError) as caught:
        parse_variant("atoms:c9")
    assert all(name in str(caught.value.hint) for name in PRESETS)


def test_a_variant_is_compared_once() -> None:
    with pytest.raises(UsageError, match="atoms:c2 given twice"):
        parse_variants(["atoms", "lora", "atoms:c2"])
    with pytest.raises(UsageError, match="paper:loha and loha:rank=4:alpha=4 given twice"):
        parse_variants(["paper", "loha:alpha=4:rank=4"])
    with pytest.raises(UsageError, match="nothing to compare"):
        parse_variants([])


def test_rates_are_of_a_method_or_more_exactly_of_a_variant() -> None:
    variants = parse_variants(["atoms:c2", "lora", "lora:attention", "lora:rank=4"])
    assert parse_rates([], variants) == {}
    rates = parse_rates(["lora=1e-2", "lora:attention=5e-4", "lora:rank=4=3"], variants)
    assert rates == {"lora": 1e-2, "lora:attention": 5e-4, "lora:rank=4": 3.0}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["lora"], "METHOD=X"),
        (["1e-3"], "METHOD=X"),
        (["lora=fast"], "METHOD=X"),
        (["lora=0"], "between 0 and 10"),
        (["lora=inf"], "between 0 and 10"),
        (["lora=nan"], "between 0 and 10"),
        (["full=1e-5"], "full is not compared"),
        (["lora:attention=1e-5"], "lora:attention is not compared"),
        (["nonsense=1e-5"], "there is no method 'nonsense'"),
        (["lora=1e-5", "lora=1e-4"], "given twice"),
    ],
)
def test_what_is_no_rate(texts: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_rates(texts, parse_variants(["lora", "atoms"]))
    assert said in caught.value.message
