"""Wrong content under right checksums, which anybody can compute: refused in a line, and in little memory."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from atomtune.core.fingerprint import fingerprint
from atomtune.errors import AtomtuneError
from atomtune.files import store
from atomtune.files.atoms_file import load_atoms
from atomtune.files.decomposition_file import load_decomposition
from atomtune.files.untrusted_json import DEEPEST, LONGEST, parse_json
from atomtune.models.base_model import ModelSource
from atomtune.models.decomposition import cache_path, load_or_decompose
from hostile import (
    READERS,
    SPEC,
    TEXTS,
    budgets,
    content,
    damaged,
    each_kind,
    for_all,
    refusal,
    refused,
    sealed,
    small_model,
    use_atoms,
    with_header,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.safetensors"


@each_kind
@budgets(30)
def test_any_metadata_under_a_right_checksum(path: Path, kind: str, examples: int) -> None:
    tensors, metadata = content(kind)

    def check(name: str, text: str) -> None:
        sealed(path, kind, tensors, {**metadata, name: text})
        for read in READERS[kind]:
            refusal(read, path)

    for_all(examples, check, st.sampled_from(sorted(metadata)), TEXTS)


JSON_FIELDS = {
    "atoms": ["spec", "training", "prompts"],
    "decomposition": ["spec", "layers", "report"],
    "checkpoint": ["order", "optimizer_state", "param_groups", "schedule", "scaler"],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in JSON_FIELDS.items() for name in names])
def test_no_field_can_be_nested_deep(path: Path, kind: str, name: str) -> None:
    tensors, metadata = content(kind)
    for text in ("[" * 100_000, "[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900):
        sealed(path, kind, tensors, {**metadata, name: text})
        for read in READERS[kind]:
            refusal(read, path)


def damage_in(kind: str) -> st.SearchStrategy[tuple[str, Any]]:
    """A field of a kind's metadata, and its value with a part of it damaged."""
    _, metadata = content(kind)
    return st.one_of([st.tuples(st.just(name), damaged(json.loads(metadata[name]))) for name in JSON_FIELDS[kind]])


@each_kind
@budgets(40)
def test_any_part_of_the_metadata_under_a_right_checksum(path: Path, kind: str, examples: int) -> None:
    tensors, metadata = content(kind)

    def check(change: tuple[str, Any]) -> None:
        sealed(path, kind, tensors, {**metadata, change[0]: json.dumps(change[1])})
        for read in READERS[kind]:
            refusal(read, path)

    for_all(examples, check, damage_in(kind))


@each_kind
@budgets(30)
def test_any_tensors_under_a_right_checksum(path: Path, kind: str, examples: int) -> None:
    tensors, metadata = content(kind)
    types = [torch.float16, torch.float32, torch.float64, torch.bfloat16, torch.uint8, torch.int64, torch.bool]

    def check(name: str, shape: list[int], dtype: torch.dtype, value: float, rename: str | None) -> None:
        changed = {**tensors, name: torch.full(shape, value).to(dtype)}
        if rename is not None:
            changed[rename] = changed.pop(name)
        sealed(path, kind, changed, metadata)
        for read in READERS[kind]:
            refusal(read, path)

    for_all(
        examples,
        check,
        st.sampled_from(sorted(tensors)),
        st.lists(st.integers(0, 9), max_size=4),
        st.sampled_from(types),
        st.sampled_from([0.0, 1.0, -1.0, 1e30, 6e4]),
        st.none() | st.text(max_size=6),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"atoms": 10**9},
        {"tile": 10**9},
        {"overcomplete": 10**9},
        {"atoms": -1},
        {"atoms": float("nan")},
        {"sparsity": float("nan")},
        {"sparsity": 10**400},
        {"layers": "*," * 1_000_000 + "*"},
        {"layers": ["conv"]},
        {"layers": "../../etc/*"},
        {"x" * 100_000: 1},
        {"\x1b[2J\n": 1},
    ],
    ids=lambda changes: str(changes)[:24],
)
def test_specs_that_ask_for_the_impossible(path: Path, changes: dict[str, Any]) -> None:
    tensors, metadata = content("atoms")
    sealed(path, "atoms", tensors, {**metadata, "spec": json.dumps({**SPEC.to_dict(), **changes})})
    refused(use_atoms, path)


@pytest.mark.parametrize(
    "shape", [["x", 10**10, 3, 3], [[0], 10**10, 3, 3], [10**4000, 3, 3, 3], [8, 3.0, 3, 3], [], [-8, -3, 3, 3]]
)
def test_shapes_that_would_fill_the_memory(path: Path, shape: list[Any]) -> None:
    tensors, metadata = content("decomposition")
    layers = json.loads(metadata["layers"])
    layers["conv"]["shape"] = shape
    sealed(path, "decomposition", tensors, {**metadata, "layers": json.dumps(layers)})
    refused(load_decomposition, path)


def test_json_is_refused_where_it_is_too_deep_too_long_or_no_text() -> None:
    assert parse_json("[" * DEEPEST + "]" * DEEPEST)
    for text in (
        "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1),
        "[" * 10**6,
        " " * (LONGEST + 1),
        '{"a": "\\ud800"}',
        "NaN",
    ):
        with pytest.raises(ValueError, match=r"deep|many|NaN|surrogates"):
            parse_json(text)


@budgets(40)
def test_a_hostile_cache_never_changes_a_decomposition(
    examples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATOMTUNE_CACHE", str(tmp_path))
    model, source = small_model(), ModelSource("small", "small")
    expected, _ = load_or_decompose(model, source, SPEC)
    place = cache_path(model, fingerprint(model), SPEC)
    tensors, metadata = content("decomposition")

    def check(change: tuple[str, Any]) -> None:
        sealed(place, "decomposition", tensors, {**metadata, change[0]: json.dumps(change[1])})
        held, report = load_or_decompose(model, source, SPEC)
        assert held.keys() == expected.keys()
        for name, part in held.items():
            assert (part.layout, part.sparsity) == (expected[name].layout, expected[name].sparsity)
            assert torch.equal(part.coefficients, expected[name].coefficients)
        assert report.total.sparsity >= 0.0
        assert all(group.relative_error >= 0.0 for group in report.groups)

    for_all(examples, check, damage_in("decomposition"))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(2, 3).to(torch.float8_e4m3fn),
        torch.zeros([1] * 9, dtype=torch.float16),
        torch.full((2,), torch.inf, dtype=torch.float64),
    ],
    ids=["float8", "nine sides", "infinite"],
)
def test_tensors_that_cannot_be_checked(path: Path, tensor: Tensor) -> None:
    tensors, metadata = content("atoms")
    sealed(path, "atoms", {**tensors, "extra": tensor}, metadata)
    refused(load_atoms, path)


def test_a_header_over_the_limit_is_neither_written_nor_parsed(path: Path) -> None:
    tensors, metadata = content("atoms")
    too_long = {**metadata, "modelspec.title": "x" * (store.MAX_HEADER + 1)}
    with pytest.raises(AtomtuneError, match="its header of"):
        sealed(path, "atoms", tensors, too_long)
    assert not path.exists()
    path.write_bytes(with_header({"__metadata__": too_long}))
    assert "its header of" in refused(load_atoms, path).message
