"""The fingerprint: the same for the same weights in other clothes, another for other weights."""

import copy

import torch
from torch import nn

from atomtune.core.fingerprint import fingerprint


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 2))


def test_it_is_64_hex_digits_and_repeats() -> None:
    first = fingerprint(model())
    assert len(bytes.fromhex(first)) == 32
    assert fingerprint(model()) == first


def test_precision_memory_format_and_mode_do_not_matter() -> None:
    expected = fingerprint(model())
    assert fingerprint(model().half()) == expected
    assert fingerprint(model().double()) == expected
    assert fingerprint(model().to(memory_format=torch.channels_last)) == expected
    assert fingerprint(model().eval().requires_grad_(False)) == expected


def test_any_changed_number_shape_or_name_matters() -> None:
    base = model()
    seen = {fingerprint(base)}
    for name, _ in base.named_parameters():
        changed = copy.deepcopy(base)
        with torch.no_grad():
            changed.get_parameter(name).view(-1)[-1] += 0.01
        seen.add(fingerprint(changed))
    reshaped = copy.deepcopy(base)
    reshaped[1].weight = nn.Parameter(base[1].weight.detach().reshape(4, 2))
    seen.add(fingerprint(reshaped))
    seen.add(fingerprint(nn.ModuleDict({"a": base[0], "b": base[1]})))
    assert len(seen) == 1 + 4 + 2


def test_a_parameter_without_dimensions() -> None:
    scalar = nn.Module()
    scalar.gate = nn.Parameter(torch.tensor(0.5))
    other = nn.Module()
    other.gate = nn.Parameter(torch.tensor(0.75))
    assert fingerprint(scalar) != fingerprint(other)
