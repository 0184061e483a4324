"""What every method keeps to, whatever it trains: the contract of `methods.base`."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

import atomtune
from atomtune.errors import AtomtuneError, UsageError
from atomtune.methods import METHODS
from atomtune.methods.base import Startable, Tuning, switched_off
from atomtune.methods.specs import (
    PRESETS,
    STARTS,
    AtomsSpec,
    COFTSpec,
    LoKrSpec,
    LoLDUSpec,
    OFTSpec,
    RankSpec,
    ScaledOFTSpec,
    Spec,
)

CONFIG = Path(atomtune.__file__).parent / "models/configs/sd-v1-4/unet/config.json"

EVERY = "conv_in,down,resnets.*,skip,attn.*,net.*"  # all but the grouped convolution

CASES: dict[str, tuple[str, Spec]] = {
    "atoms": ("atoms", AtomsSpec(atoms=4, tile=4)),
    "atoms, overcomplete": ("atoms", AtomsSpec(atoms=4, tile=4, overcomplete=2)),
    "atoms, coefficients": ("atoms", AtomsSpec(atoms=4, tile=4, overcomplete=2, train_coefficients=True)),
    "atoms, complete tiles": ("atoms", AtomsSpec(atoms=4, tile=4, tile_atoms="complete")),
    "atoms, the paper's": ("atoms", AtomsSpec("blocks", 4, 4, 2, tile_atoms="complete", pointwise="filters")),
    "atoms, blocks of filters": ("atoms", AtomsSpec(atoms=9, tile=4, pointwise="atoms", filter_block=2)),
    "atoms, random mixes": ("atoms", AtomsSpec(atoms=4, tile=4, overcomplete=2, mix_start="random")),
    "atoms, coefficients alone": ("atoms", AtomsSpec(atoms=4, tile=4, train_coefficients=True, train_atoms=False)),
    "lora": ("lora", RankSpec(EVERY, rank=2, alpha=4)),
    "lora, attention": ("lora", RankSpec("attention", rank=2)),
    "loha": ("loha", RankSpec(rank=2)),
    "lokr": ("lokr", LoKrSpec(rank=2)),
    "lokr, factor": ("lokr", LoKrSpec(rank=2, factor=4)),
    "oft": ("oft", OFTSpec(EVERY, block_size=4)),
    "coft": ("coft", COFTSpec(EVERY, block_size=4, eps=0.5)),
    "loralib": ("loralib", RankSpec(rank=2, alpha=4)),
    "oft-scaled": ("oft-scaled", ScaledOFTSpec("all", blocks=2)),
    "oft-scaled, bounded": ("oft-scaled", ScaledOFTSpec("all", blocks=2, eps=0.3)),
    "bitfit": ("bitfit", Spec()),
    "difffit": ("difffit", Spec()),
    "full": ("full", Spec()),
    "full, a part": ("full", Spec("attn*,norm")),
    **{f"loldu, {start}": ("loldu", LoLDUSpec("all", rank=3, alpha=6, start=start)) for start in STARTS},
    "loldu, fixed scale": ("loldu", LoLDUSpec("all", rank=3, alpha=6, fixed_scale=True)),
}
each_case = pytest.mark.parametrize(("name", "spec"), CASES.values(), ids=CASES.keys())
each_method = pytest.mark.parametrize("name", sorted({name for name, _ in CASES.values()}))


class Net(nn.Module):
    """Every kind of layer a UNet has, and a grouped convolution, under the names that a UNet gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.resnets = nn.ModuleList([nn.ModuleDict({"conv2": nn.Conv2d(8, 8, 3, padding=1)})])
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.skip = nn.Conv2d(8, 12, 1)
        names = ("to_q", "to_k", "to_v")
        self.attn = nn.ModuleDict({name: nn.Linear(12, 12, bias=False) for name in names})
        self.attn["to_out"] = nn.ModuleList([nn.Linear(12, 12)])
        self.net = nn.ModuleList([nn.LayerNorm(12), nn.Linear(12, 6)])

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, 8, 8) → (n, 16, 6)."""
        x = self.norm(self.conv_in(x))
        x = x + self.resnets[0]["conv2"](x).tanh()  # type: ignore[index]
        x = self.skip(self.grouped(self.down(x)).tanh()).flatten(2).transpose(1, 2)
        q, k, v = (self.attn[name](x).unsqueeze(1) for name in ("to_q", "to_k", "to_v"))
        x = x + self.attn["to_out"][0](F.scaled_dot_product_attention(q, k, v).squeeze(1))  # type: ignore[index]
        for layer in self.net:
            x = layer(x)
        return x


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    built = Net()
    for parameter in built.parameters():  # norms and biases that are not at rest either
        parameter.data += 0.05 * torch.randn_like(parameter)
    built.requires_grad_(False)
    return built


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def moved(tuning: Tuning, size: float = 0.05) -> Tuning:
    """A tuning away from its start, at values that a file holds exactly."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in tuning.parameters.values():
            parameter += size * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(parameter.half())
    return tuning


def merged(net: Net, changes: dict[str, Tensor], scale: float = 1.0) -> None:
    with torch.no_grad():
        for name, change in changes.items():
            assert change.dtype == torch.float32
            net.get_parameter(name).add_(change, alpha=scale)


def rounding(name: str) -> float:
    """How far outputs may be off after a file, which is in float16, of those of the largest size."""
    # these two move what the file cannot hold exactly: bounded parameters, and changes of a whole model
    return 1e-3 if name in ("coft", "full") else 2e-4


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(model: nn.Module, before: dict[str, Tensor]) -> bool:
    after = model.state_dict()
    return list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)


@each_case
def test_the_start_is_the_base_model(net: Net, images: Tensor, name: str, spec: Spec) -> None:
    before = net(images)
    METHODS[name].attach(net, spec)
    with torch.no_grad():
        assert torch.equal(net(images), before)
    # where gradients are recorded, atoms compute the same in another order
    torch.testing.assert_close(net(images), before)


@each_case
def test_what_is_trained_and_nothing_else(net: Net, images: Tensor, name: str, spec: Spec) -> None:
    tuning = moved(METHODS[name].attach(net, spec))
    own = {id(parameter) for parameter in tuning.parameters.values()}
    required = {id(parameter) for parameter in net.parameters() if parameter.requires_grad}
    assert required == own
    others = {key: p.clone() for key, p in net.named_parameters() if id(p) not in own}
    optimizer = torch.optim.SGD(tuning.parameters.values(), lr=1e-3)
    net(images).square().sum().backward()
    for key, parameter in tuning.parameters.items():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None, key
        assert bool(torch.isfinite(parameter.grad).all()), key
        assert bool(parameter.grad.any()), key
    was = {key: parameter.detach().clone() for key, parameter in tuning.parameters.items()}
    optimizer.step()
    assert all(not torch.equal(parameter, was[key]) for key, parameter in tuning.parameters.items())
    assert all(torch.equal(p, others[key]) for key, p in net.named_parameters() if id(p) not in own)


@each_case
def test_switched_off_it_is_the_base_model_and_back_to_the_last_bit(
    net: Net, images: Tensor, name: str, spec: Spec
) -> None:
    before = net(images)
    tuning = moved(METHODS[name].attach(net, spec))
    tuned = net(images).detach()
    for _ in range(2):  # what the first time prepares, the second uses
        trained = {key: parameter.data.clone() for key, parameter in tuning.parameters.items()}
        with torch.no_grad(), switched_off(tuning):
            assert torch.equal(net(images), before)
        assert all(torch.equal(parameter, trained[key]) for key, parameter in tuning.parameters.items())
        assert all(parameter.requires_grad for parameter in tuning.parameters.values())
        torch.testing.assert_close(net(images), tuned)  # not to the last bit: COFT bounds what it trains in each pass
    net(images).square().sum().backward()
    assert all(parameter.grad is not None for parameter in tuning.parameters.values())


@each_case
def test_merged_is_as_attached_after_a_file(net: Net, images: Tensor, name: str, spec: Spec) -> None:
    method, before, weights = METHODS[name], net(images), state(net)
    modules = dict(net.named_modules())
    tuning = moved(method.attach(net, spec))
    with torch.no_grad():
        net(images)  # coft bounds its rotation as it computes
        attached = net(images)
    assert not torch.allclose(attached, before, atol=1e-3)
    tensors = tuning.export()
    assert all(tensor.dtype == torch.float16 and tensor.is_contiguous() for tensor in tensors.values())
    tuning.detach()
    assert same(net, weights)
    assert dict(net.named_modules()) == modules
    assert torch.equal(net(images), before)
    assert not any(parameter.requires_grad for parameter in net.parameters())
    changes = method.changes(net, type(spec).from_dict(json.loads(json.dumps(spec.to_dict()))), tensors)
    assert same(net, weights)
    assert dict(net.named_modules()) == modules
    merged(net, changes)
    assert (net(images) - attached).abs().max() < rounding(name) * attached.abs().max()


@each_case
def test_it_begins_with_what_a_file_holds(net: Net, images: Tensor, name: str, spec: Spec) -> None:
    method = METHODS[name]
    tuning = moved(method.attach(net, spec))
    with torch.no_grad():
        net(images)  # coft bounds its rotation as it computes
        attached = net(images)
    tensors = tuning.export()
    tuning.detach()
    again = method.attach(net, spec, seed=1)
    assert isinstance(again, Startable)
    with pytest.raises(AtomtuneError, match=r"nothing for|has shape"):
        again.load({key: tensor for key, tensor in tensors.items() if key != next(iter(tensors))})
    again.load(tensors)
    with torch.no_grad():
        assert (net(images) - attached).abs().max() < rounding(name) * attached.abs().max()
    assert all(parameter.requires_grad for parameter in again.parameters.values())
    written = again.export()
    for key, tensor in tensors.items():
        torch.testing.assert_close(written[key], tensor, rtol=2e-3, atol=2e-4, msg=key)


@each_case
def test_the_plan_counts_what_is_trained(net: Net, name: str, spec: Spec) -> None:
    plans = METHODS[name].plan(net, spec)
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert not hasattr(net, "peft_config")
    tuning = METHODS[name].attach(net, spec)
    assert sum(plan.parameters for plan in plans) == sum(p.numel() for p in tuning.parameters.values())
    assert sum(plan.in_file for plan in plans) == sum(tensor.numel() for tensor in tuning.export().values())
    assert len({plan.name for plan in plans}) == len(plans)
    assert all(plan.parameters > 0 for plan in plans)


@each_case
def test_tensors_that_do_not_fit_are_refused(net: Net, name: str, spec: Spec) -> None:
    tuning = METHODS[name].attach(net, spec)
    tensors = tuning.export()
    tuning.detach()
    key, first = next(iter(tensors.items()))
    wrong: list[tuple[dict[str, Tensor], str]] = [
        ({other: tensor for other, tensor in tensors.items() if other != key}, "nothing for|no place for"),
        (tensors | {key: torch.zeros(3, 1, 2, dtype=torch.float16)}, "has shape"),
        (tensors | {key: first.double()}, "not in float16"),
        (tensors | {"nowhere.weight": first}, "no place for nowhere.weight"),
    ]
    weights = state(net)
    for held, message in wrong:
        with pytest.raises(AtomtuneError, match=message):
            METHODS[name].changes(net, spec, held)
        assert same(net, weights)


@each_case
def test_the_same_seed_gives_the_same_start(net: Net, name: str, spec: Spec) -> None:
    def start(seed: int) -> dict[str, Tensor]:
        tuning = METHODS[name].attach(net, spec, seed=seed)
        values = {key: parameter.detach().clone() for key, parameter in tuning.parameters.items()}
        tuning.detach()
        return values

    torch.manual_seed(5)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    first, again = start(1), start(1)
    assert torch.equal(torch.rand(1), drawn)  # the global generator is left alone
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize("name", ["lora", "loha", "lokr", "oft"])
def test_the_change_is_that_of_peft(net: Net, name: str) -> None:
    from peft import inject_adapter_in_model

    method: Any = METHODS[name]
    spec = CASES[name][1]
    tuning = moved(method.attach(net, spec))
    tensors = tuning.export()
    tuning.detach()
    ours = method.changes(net, spec, tensors)
    config = method.config(method.read(spec))
    config.target_modules = [key.removesuffix(".weight") for key in ours]
    weights = state(net)
    inject_adapter_in_model(config, net)
    for path, layer in list(net.named_modules()):
        if f"{path}.weight" not in ours:
            continue
        for inner, parameter in layer.named_parameters():
            stored = ".".join(part for part in inner.split(".") if part != "default")
            if not inner.startswith("base_layer"):
                parameter.data.copy_(tensors[f"{path}.{stored}"])
        layer.merge()
        theirs = layer.get_base_layer().weight - weights[f"{path}.weight"]
        torch.testing.assert_close(ours[f"{path}.weight"], theirs, atol=2e-6, rtol=1e-4)


def test_a_base_in_half_precision(net: Net, images: Tensor) -> None:
    net.half()
    for name, spec in CASES.values():
        tuning = moved(METHODS[name].attach(net, spec))
        assert all(
            parameter.dtype == torch.float32 or name in ("bitfit", "difffit", "full")
            for parameter in tuning.parameters.values()
        ), name
        tensors = tuning.export()
        tuning.detach()
        assert all(change.dtype == torch.float32 for change in METHODS[name].changes(net, spec, tensors).values())


@pytest.mark.parametrize("name", ["lora", "oft", "coft"])
def test_no_grouped_convolutions_for_what_peft_cannot_merge(net: Net, name: str) -> None:
    weights = state(net)
    with pytest.raises(AtomtuneError, match="grouped convolutions"):
        METHODS[name].attach(net, METHODS[name].spec())
    assert same(net, weights)


@each_method
def test_layers_that_are_not_there(net: Net, name: str) -> None:
    with pytest.raises(UsageError, match="no layer of the model matches 'elsewhere'"):
        METHODS[name].plan(net, METHODS[name].spec(layers="elsewhere"))


IMPOSSIBLE: list[tuple[str, dict[str, Any]]] = [
    ("lora", {"rank": 0}),
    ("lora", {"rank": 2.5}),
    ("lora", {"rank": True}),
    ("loha", {"alpha": 0}),
    ("lokr", {"alpha": float("nan")}),
    ("oft", {"block_size": 1}),
    ("coft", {"eps": -1.0}),
    ("loldu", {"start": "elsewhere"}),
    ("loldu", {"rank": "3"}),
    ("bitfit", {"rank": 3}),
    ("full", {"layers": 3}),
]


@pytest.mark.parametrize(("name", "fields"), IMPOSSIBLE)
def test_impossible_specs(name: str, fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        METHODS[name].spec.from_dict(fields)


def test_nothing_to_train(net: Net) -> None:
    with pytest.raises(UsageError, match=r"bitfit finds nothing to train in 'attn\.to_q'"):
        METHODS["bitfit"].plan(net, Spec("attn.to_q"))


COUNTS: list[tuple[str, Spec, int]] = [
    ("atoms", PRESETS["conv"], 52 * 81),
    ("lora", RankSpec(), 8_465_728),
    ("lora", RankSpec("attention", rank=4), 797_184),  # what diffusers' script reports
    ("loha", RankSpec(), 16_931_456),
    ("lokr", LoKrSpec(), 485_616),
    ("loralib", RankSpec(), 11_415_104),
    ("loralib", RankSpec("blocks", rank=16, alpha=16), 22_670_336),
    ("oft-scaled", ScaledOFTSpec(), 11_751_936),
    ("oft", OFTSpec(), 2_589_360),
    ("coft", COFTSpec(), 2_589_360),
    ("bitfit", Spec(), 343_684),
    ("difffit", Spec(), 343_684 + 100_160 + 57_600),
    ("loldu", LoLDUSpec(), 128 * 33),
    ("full", Spec(), 859_520_964),
    ("textual-inversion", Spec(), 0),  # all that it trains is in the text encoder
]


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    """The UNet of SD v1.4 without its numbers."""
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(json.loads(CONFIG.read_text(encoding="utf-8")))


@pytest.mark.parametrize(("name", "spec", "expected"), COUNTS, ids=[f"{name}-{count}" for name, _, count in COUNTS])
def test_counts_on_sd_v1_4(unet: nn.Module, name: str, spec: Spec, expected: int) -> None:
    assert sum(plan.parameters for plan in METHODS[name].plan(unet, spec)) == expected
