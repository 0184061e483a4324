"""The atoms method: what it counts, and that an atoms file's tensors give the change back."""

import json
import math
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

import atomtune
from atomtune.core.deltas import AtomDelta, OvercompleteDelta, RandomMixDelta, WeightDelta
from atomtune.core.layout import RowLayout
from atomtune.errors import AtomtuneError, UsageError
from atomtune.methods.atoms import Atoms, chosen_layers, decompose_model
from atomtune.methods.select import select_layers
from atomtune.methods.specs import PRESETS, AtomsSpec
from atomtune.models.base_model import load_unet, resolve
from atomtune.models.decomposition import load_or_decompose

METHOD = Atoms()
CONFIG = Path(atomtune.__file__).parent / "models/configs/sd-v1-4/unet/config.json"


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    """The UNet of SD v1.4 without its numbers."""
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(json.loads(CONFIG.read_text(encoding="utf-8")))


def small_model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    attention = nn.ModuleDict({"to_q": nn.Linear(8, 8, bias=False), "to_out": nn.ModuleList([nn.Linear(8, 8)])})
    return nn.Sequential(
        OrderedDict(
            conv_in=nn.Conv2d(3, 8, 3),
            blocks=nn.ModuleList(
                [nn.ModuleDict({"conv": nn.Conv2d(8, 8, 3, groups=2), "skip": nn.Conv2d(8, 4, 1), "attn": attention})]
            ),
        )
    )


SPECS = {
    "atoms": AtomsSpec(atoms=4, tile=4),
    "overcomplete": AtomsSpec(atoms=4, tile=4, overcomplete=3),
    "coefficients": AtomsSpec(atoms=4, tile=4, train_coefficients=True),
    "all": AtomsSpec(atoms=4, tile=4, overcomplete=2, train_coefficients=True),
    "more atoms than taps": AtomsSpec(atoms=12, tile=2, sparsity=0.2),
    "convolutions": AtomsSpec(atoms=4, layers="conv", sparsity=0.0),
    "complete tiles": AtomsSpec(atoms=4, tile=4, tile_atoms="complete"),
    "complete tiles and every coefficient": AtomsSpec(atoms=4, tile=2, tile_atoms="complete", train_coefficients=True),
    "filters of one tap": AtomsSpec(atoms=4, tile=4, overcomplete=3, pointwise="filters"),
    "filters of one tap, coded": AtomsSpec(atoms=4, tile=4, overcomplete=3, pointwise="filters", sparsity=0.05),
    "filters of one tap with many atoms": AtomsSpec(atoms=9, tile=4, pointwise="atoms"),
    "overcomplete, many atoms of one tap": AtomsSpec(atoms=9, tile=4, overcomplete=3, pointwise="atoms"),
    "blocks": AtomsSpec(atoms=9, tile=4, pointwise="atoms", filter_block=2),
    "blocks of few atoms": AtomsSpec(atoms=4, tile=4, pointwise="filters", filter_block=4, train_coefficients=True),
    "blocks, coded": AtomsSpec(atoms=4, tile=4, filter_block=4, sparsity=0.05),
    "random mix": AtomsSpec(atoms=4, tile=4, overcomplete=3, mix_start="random"),
}
each_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())


def trained(model: nn.Module, spec: AtomsSpec, size: float = 0.1) -> dict[str, WeightDelta]:
    deltas = METHOD.create(model, spec, decompose_model(model, spec))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for delta in deltas.values():
            for parameter in delta.trainable().values():
                parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
    return deltas


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        *(("c1", 49_292), ("c2", 749_522), ("c3", 2_393_600)),  # the paper's: 0.05, 0.75 and 2.39 million
        ("c4", 585_555_858),  # the paper's: 587 million
    ],
)
def test_counts_of_the_presets_on_sd_v1_4(unet: nn.Module, preset: str, expected: int) -> None:
    assert sum(plan.parameters for plan in METHOD.plan(unet, PRESETS[preset])) == expected


@pytest.fixture(scope="module")
def resnet50() -> nn.Module:
    """timm's ResNet50 for CIFAR-100, without its numbers."""
    with torch.device("meta"):
        model: nn.Module = timm.create_model("resnet50", num_classes=100)
    return model


TABLE_1 = {  # the paper's Table 1, the trained head of 2,048 × 100 + 100 numbers included
    "ΔD": (AtomsSpec("all,!fc", 9, pointwise="atoms"), 206_961),
    "m₁ = 3": (AtomsSpec("all,!fc", 9, pointwise="atoms", overcomplete=3), 819_420),
    "m₁ = 4": (AtomsSpec("all,!fc", 9, pointwise="atoms", overcomplete=4), 1_024_260),
    "m₁ = 5": (AtomsSpec("all,!fc", 9, pointwise="atoms", overcomplete=5), 1_229_100),
    "ΔD_c, k_c = 2": (AtomsSpec("all,!fc", 9, pointwise="atoms", filter_block=2), 232_584),
    "ΔD_c, k_c = 4": (AtomsSpec("all,!fc", 9, pointwise="atoms", filter_block=4), 626_676),
}


@pytest.mark.parametrize(("spec", "expected"), TABLE_1.values(), ids=TABLE_1.keys())
def test_counts_of_the_papers_resnet50(resnet50: Any, spec: AtomsSpec, expected: int) -> None:
    plans = METHOD.plan(resnet50, spec)
    assert len(plans) == 53
    head = sum(parameter.numel() for parameter in resnet50.fc.parameters())
    assert sum(plan.parameters for plan in plans) + head == expected


def test_c4_trains_every_coefficient(unet: nn.Module) -> None:
    coefficients = 0
    for name, layer in unet.named_modules():
        if not name.startswith(("down_blocks", "mid_block", "up_blocks")):
            continue
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            coefficients += 9 * layer.out_channels * layer.in_channels
        elif isinstance(layer, (nn.Conv2d, nn.Linear)):
            coefficients += 9 * layer.weight.numel() // 64
    plans = METHOD.plan(unet, PRESETS["c4"])
    assert sum(plan.parameters for plan in plans) == coefficients + sum(plan.atoms * plan.row_length for plan in plans)
    assert coefficients == pytest.approx(541e6 + 44.4e6, rel=0.001)


@pytest.mark.parametrize("spec", PRESETS.values(), ids=PRESETS.keys())
def test_the_presets_have_no_more_coefficients_than_weights(unet: nn.Module, spec: AtomsSpec) -> None:
    layers = chosen_layers(unet, spec)
    plans = METHOD.plan(unet, spec)
    assert sum(plan.rows * plan.atoms for plan in plans) <= sum(layer.weight.numel() for layer in layers.values())


@pytest.mark.parametrize(
    "spec", [AtomsSpec(atoms=512), AtomsSpec(atoms=64, tile=1), AtomsSpec(atoms=64, layers="conv")]
)
def test_more_memory_than_the_model_could_mean_is_refused_before_it_is_taken(unet: nn.Module, spec: AtomsSpec) -> None:
    for ask in (
        lambda: METHOD.restore(unet, spec, {}),
        lambda: METHOD.plan(unet, spec),
        lambda: METHOD.create(unet, spec, {}),
    ):
        with pytest.raises(UsageError, match=r"need [\d,]+ coefficients for [\d,]+ weights"):
            ask()


def test_a_small_model_may_have_many_atoms() -> None:
    assert len(chosen_layers(small_model(), AtomsSpec(atoms=512, tile=1))) == 5


def test_what_the_presets_train_on_sd_v1_4(unet: nn.Module) -> None:
    counts = {}
    for name in ("c1", "c2", "c3"):
        plans = METHOD.plan(unet, PRESETS[name])
        assert not any(plan.name.startswith(("conv_", "time_embedding")) for plan in plans)
        counts[name] = {kind: sum(plan.kind == kind for plan in plans) for kind in ("conv", "conv 1x1", "linear")}
    assert counts["c1"] == counts["c2"] == {"conv": 50, "conv 1x1": 0, "linear": 182}
    assert counts["c3"] == {"conv": 50, "conv 1x1": 46, "linear": 182}


def test_complete_tiles_hold_no_coefficients_and_can_become_any_change_of_their_kind() -> None:
    model, spec = small_model(), SPECS["complete tiles"]
    deltas = METHOD.create(model, spec, decompose_model(model, spec))
    name = "blocks.0.attn.to_q"
    delta, weight = deltas[name], model.get_submodule(name).weight.detach()
    assert sum(buffer.numel() for buffer in delta.buffers()) == 2 * 16 * 16  # D and D⁺
    matrix = torch.randn(16, 16, generator=torch.Generator().manual_seed(3))
    layout = RowLayout.of(weight.shape, 4)
    target = layout.to_weight(layout.to_rows(weight) @ matrix)
    with torch.no_grad():
        delta.delta_atoms.copy_(delta.atoms @ matrix / delta.gain)
    torch.testing.assert_close(delta.delta_weight(weight), target, rtol=1e-3, atol=1e-3)


def test_complete_tiles_need_no_atoms_in_the_file_and_may_have_them() -> None:
    model, spec = small_model(), SPECS["complete tiles"]
    deltas = trained(model, spec)
    tensors = METHOD.export(deltas)
    names = {name for name, delta in deltas.items() if isinstance(delta, AtomDelta) and delta.is_complete}
    assert names == {"blocks.0.skip", "blocks.0.attn.to_q", "blocks.0.attn.to_out.0"}
    assert not any(f"{name}.atoms" in tensors for name in names)
    for name in names:
        delta = deltas[name]
        assert isinstance(delta, AtomDelta)
        own = {"atoms": delta.atoms, "delta_atoms": delta.gain * delta.delta_atoms.detach()}
        tensors |= {f"{name}.{key}": value.half() for key, value in own.items()}
    for name, delta in METHOD.restore(small_model(), spec, tensors).items():
        weight = model.get_submodule(name).weight
        torch.testing.assert_close(delta.delta_weight(weight), deltas[name].delta_weight(weight), rtol=1e-2, atol=1e-3)


def test_pointwise_convolutions_without_a_mix_are_left_alone() -> None:
    spec = AtomsSpec(atoms=4, tile=4, pointwise="filters")
    assert "blocks.0.skip" not in chosen_layers(small_model(), spec)
    with pytest.raises(UsageError, match="only 1×1 convolutions are chosen") as caught:
        chosen_layers(small_model(), replace(spec, layers="*.skip"))
    assert "--pointwise" in str(caught.value.hint)


def test_decompositions_with_complete_tiles_blocks_and_filters_of_one_tap_go_through_the_cache() -> None:
    source = resolve("pocket")
    unet, spec = load_unet(source), replace(PRESETS["c3"], layers="down_blocks.*")
    blocks, _ = load_or_decompose(unet, source, AtomsSpec(layers="conv_out", filter_block=4))
    again, report = load_or_decompose(unet, source, AtomsSpec(layers="conv_out", filter_block=4))
    assert report.found
    assert again["conv_out"].layout == blocks["conv_out"].layout
    assert again["conv_out"].layout.channels == 16
    made, _ = load_or_decompose(unet, source, spec)
    found, report = load_or_decompose(unet, source, spec)
    assert report.found
    assert {part.layout.is_filter and part.layout.length == 1 for part in made.values()} == {True, False}
    for name, part in made.items():
        assert part.coefficients is None
        assert found[name].layout == part.layout
        assert torch.equal(found[name].atoms, part.atoms)


def test_layers_of_sd_v1_4(unet: nn.Module) -> None:
    plans = METHOD.plan(unet, AtomsSpec())
    kinds = {kind: sum(plan.kind == kind for plan in plans) for kind in ("conv", "conv 1x1", "linear")}
    assert kinds == {"conv": 52, "conv 1x1": 46, "linear": 184}
    assert sum(plan.rows * plan.row_length for plan in plans if plan.kind == "conv") == pytest.approx(541.0e6, rel=1e-3)
    assert len(select_layers(unet, "conv")) == 52
    assert len(select_layers(unet, "attention")) == 16 * 2 * 4
    assert {plan.group for plan in plans} == {
        "conv_in",
        "time_embedding",
        "mid_block",
        "conv_out",
        *(f"{side}_blocks.{i}" for side in ("down", "up") for i in range(4)),
    }


@each_spec
def test_the_plan_counts_what_create_makes(spec: AtomsSpec) -> None:
    model = small_model()
    plans = METHOD.plan(model, spec)
    parts = decompose_model(model, spec)
    deltas = METHOD.create(model, spec, parts)
    assert [plan.name for plan in plans] == list(deltas)
    for plan in plans:
        delta = deltas[plan.name]
        assert plan.parameters == sum(parameter.numel() for parameter in delta.parameters())
        assert (plan.rows, plan.row_length) == (parts[plan.name].layout.count, parts[plan.name].layout.length)
        weight = model.get_submodule(plan.name).weight
        assert torch.equal(delta.delta_weight(weight), torch.zeros_like(weight))
        filters = plan.kind == "conv" or (plan.kind == "conv 1x1" and spec.pointwise != "tiles")
        mixed = OvercompleteDelta if spec.mix_start == "copies" else RandomMixDelta
        assert type(delta) is (mixed if spec.overcomplete > 1 and filters else AtomDelta)


@each_spec
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=lambda d: str(d)[6:])
def test_tensors_and_base_model_give_the_change_back(spec: AtomsSpec, dtype: torch.dtype) -> None:
    model = small_model().to(dtype)
    deltas = trained(model, spec)
    tensors = METHOD.export(deltas)
    assert all(t.dtype == torch.float16 and t.is_contiguous() and not t.requires_grad for t in tensors.values())
    restored = METHOD.restore(small_model().to(dtype), spec, tensors)
    assert list(restored) == list(deltas)
    for name, delta in deltas.items():
        weight = model.get_submodule(name).weight
        # the very coefficients: what is lost is the rounding of the deltas to float16
        assert isinstance(delta, AtomDelta)
        if not delta.is_complete:
            assert torch.equal(restored[name].coefficients(weight).half(), delta.coefficients(weight).half())
        expected, found = delta.delta_weight(weight), restored[name].delta_weight(weight)
        assert (found - expected).norm() < 2e-3 * expected.norm()
    again = METHOD.export(restored)
    assert all(torch.equal(again[key], tensor) for key, tensor in tensors.items())


def test_a_gain_is_folded_into_the_exported_atoms() -> None:
    model, spec = small_model(), AtomsSpec(atoms=4, layers="conv_in")
    delta = AtomDelta(decompose_model(model, spec)["conv_in"], gain=0.25)
    torch.nn.init.normal_(delta.delta_atoms, std=0.1)
    restored = METHOD.restore(model, spec, METHOD.export({"conv_in": delta}))["conv_in"]
    weight = model.conv_in.weight
    torch.testing.assert_close(restored.delta_weight(weight), delta.delta_weight(weight), rtol=2e-3, atol=1e-5)


def test_the_tensors_apply_to_another_base_of_the_same_architecture() -> None:
    spec, other = SPECS["overcomplete"], small_model(seed=7)
    for name, delta in METHOD.restore(other, spec, METHOD.export(trained(small_model(), spec))).items():
        change = delta.delta_weight(other.get_submodule(name).weight)
        assert torch.isfinite(change).all()
        assert torch.count_nonzero(change)


@pytest.mark.parametrize("size", [1e6, math.inf, math.nan])
def test_a_diverged_delta_is_not_exported(size: float) -> None:
    with pytest.raises(AtomtuneError, match="is not finite in float16") as caught:
        METHOD.export(trained(small_model(), SPECS["atoms"], size))
    assert "--lr" in str(caught.value.hint)


def drop(tensors: dict[str, Tensor]) -> None:
    del tensors["blocks.0.conv.delta_mixing"]


def drop_atoms(tensors: dict[str, Tensor]) -> None:
    del tensors["conv_in.atoms"]


def reshape(tensors: dict[str, Tensor]) -> None:
    tensors["conv_in.delta_atoms"] = tensors["conv_in.delta_atoms"].transpose(0, 2).contiguous()


def reshape_atoms(tensors: dict[str, Tensor]) -> None:
    tensors["conv_in.atoms"] = tensors["conv_in.atoms"][:3]


def add(tensors: dict[str, Tensor]) -> None:
    tensors["up_blocks.9.atoms"] = tensors["up_blocks.9.delta_atoms"] = torch.zeros(4, 9)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop, r"nothing for blocks\.0\.conv\.delta_mixing"),
        (drop_atoms, r"nothing for conv_in\.atoms"),
        (reshape, r"conv_in\.delta_atoms has shape \(9, 3, 4\), the base model needs \(4, 3, 9\)"),
        (reshape_atoms, r"conv_in\.atoms has shape \(3, 9\)"),
        (add, r"no place for up_blocks\.9\.atoms and 1 more"),
    ],
)
def test_tensors_that_do_not_fit(damage: Any, message: str) -> None:
    model, spec = small_model(), SPECS["overcomplete"]
    tensors = METHOD.export(trained(model, spec))
    damage(tensors)
    with pytest.raises(AtomtuneError, match=message) as caught:
        METHOD.restore(model, spec, tensors)
    assert "base model" in str(caught.value.hint)


def test_values_that_float16_cannot_hold_are_refused() -> None:
    model, spec = small_model(), SPECS["atoms"]
    tensors = METHOD.export(trained(model, spec))
    tensors["conv_in.atoms"] = torch.full((4, 9), 1e30)  # finite, but not their products
    with pytest.raises(AtomtuneError, match=r"conv_in\.atoms is not in float16"):
        METHOD.restore(model, spec, tensors)


def test_a_damaged_base_model_is_named() -> None:
    model, spec = small_model(), SPECS["atoms"]
    tensors = METHOD.export(trained(model, spec))
    with torch.no_grad():
        model.conv_in.weight[0, 0, 0, 0] = math.nan
    with pytest.raises(AtomtuneError, match="cannot decompose conv_in"):
        decompose_model(model, spec)
    with pytest.raises(AtomtuneError, match="cannot encode conv_in"):
        METHOD.restore(model, spec, tensors)


@pytest.mark.parametrize("sparsity", [0.0, 0.05])
def test_a_layer_gets_the_same_atoms_alone_together_from_the_cache_and_in_any_order(sparsity: float) -> None:
    source = resolve("pocket")
    unet = load_unet(source)
    spec = AtomsSpec(sparsity=sparsity, layers="up_blocks.*")
    together = decompose_model(unet, spec)
    measured, _ = load_or_decompose(unet, source, spec)
    cached, report = load_or_decompose(unet, source, spec)
    assert report.found
    for name, expected in reversed(together.items()):
        alone = decompose_model(unet, replace(spec, layers=name))[name]
        for found in (alone, measured[name], cached[name]):
            assert torch.equal(found.atoms, expected.atoms), name
            if sparsity > 0.0:
                assert torch.equal(found.coefficients, expected.coefficients), name


def test_decomposing_reports_every_layer_in_order() -> None:
    heard: list[str] = []
    parts = decompose_model(small_model(), SPECS["atoms"], on_layer=lambda name, part: heard.append(name))
    assert heard == list(parts) == list(select_layers(small_model(), "all"))
