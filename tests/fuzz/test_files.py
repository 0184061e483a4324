"""safetensors files that anybody may have written: read as they are, or refused."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from atomtune.files import store
from hostile import (
    ALL_READERS,
    KINDS,
    READERS,
    budgets,
    content,
    each_kind,
    for_all,
    good_bytes,
    refusal,
    refused,
    with_header,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.safetensors"


@each_kind
def test_the_good_files_are_read(path: Path, kind: str) -> None:
    path.write_bytes(good_bytes(kind))
    for read in READERS[kind]:
        assert refusal(read, path) is None


@budgets(40)
def test_any_bytes(path: Path, examples: int) -> None:
    def check(data: bytes, claimed: int | None) -> None:
        path.write_bytes(data if claimed is None else claimed.to_bytes(8, "little") + data)
        for read in ALL_READERS:
            refused(read, path)

    for_all(examples, check, st.binary(max_size=300), st.none() | st.integers(0, 400) | st.integers(0, 2**64 - 1))


EDITS = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "insert", "delete", "append"]), st.floats(0, 1), st.binary(min_size=1)),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    for how, where, extra in edits:
        place = int(where * (len(data) - 1)) if data else 0
        if how == "flip" and data:
            data = data[:place] + bytes([data[place] ^ (extra[0] or 1)]) + data[place + 1 :]
        elif how == "cut":
            data = data[:place]
        elif how == "insert":
            data = data[:place] + extra + data[place:]
        elif how == "delete":
            data = data[:place] + data[place + len(extra) :]
        else:
            data += extra
    return data


@each_kind
@budgets(30)
def test_damaged_files_give_the_same_tensors_or_none(path: Path, kind: str, examples: int) -> None:
    good, (tensors, _) = good_bytes(kind), content(kind)

    def check(edits: list[tuple[str, float, bytes]]) -> None:
        path.write_bytes(edited(good, edits))
        for read in READERS[kind]:
            refusal(read, path)

        def load() -> None:
            assert store.checksum(store.load(path, kind)[0]) == store.checksum(tensors)

        refusal(load)

    for_all(examples, check, EDITS)


SIDES = st.integers(-2, 5) | st.sampled_from([0, 1, 2**31, 2**62, 2**63, 2**64 - 1, 2**64, 1.5, "1", None])
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F16", "F32", "F64", "U8", "I64", "BOOL", "F8_E4M3", "F4", "C64", "", 5]),
        "shape": st.lists(SIDES, max_size=4) | st.just([1] * 5000) | st.just({}),
        "data_offsets": st.lists(
            st.integers(-1, 40) | st.sampled_from([2**63, 2**64 - 1, "0"]), min_size=0, max_size=3
        ),
    }
)
NAMES = st.sampled_from(["a", "conv.atoms", "losses", "../a", "", "__metadata__", "\u202ea", "a\nb"])


@budgets(60)
def test_any_header(path: Path, examples: int) -> None:
    def check(entries: dict[str, Any], kind: str, data: bytes) -> None:
        metadata = {"format": f"atomtune.{kind}", "format_version": "1", "sha256": store.checksum({})}
        path.write_bytes(with_header({"__metadata__": metadata, **entries}, data))
        for read in ALL_READERS:
            refused(read, path)

    for_all(
        examples, check, st.dictionaries(NAMES, ENTRIES, max_size=3), st.sampled_from(KINDS), st.binary(max_size=40)
    )


def entry(dtype: str, shape: list[int], start: int, stop: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


OURS = {"__metadata__": {"format": "atomtune.atoms", "format_version": "1", "sha256": "0" * 64}}
HEADERS: dict[str, bytes] = {
    "offsets far outside": with_header({**OURS, "a": entry("F16", [2**40], 0, 2**41)}, b"\0" * 8),
    "overlapping": with_header({**OURS, "a": entry("F16", [2], 0, 4), "b": entry("F16", [2], 2, 6)}, b"\0" * 6),
    "a hole": with_header({**OURS, "a": entry("F16", [1], 2, 4)}, b"\0" * 4),
    "the same name twice": with_header(
        b'{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"a":{"dtype":"F16","shape":[1],"data_offsets":[2,4]}}',
        b"\0" * 4,
    ),
    "nested deep": with_header(b'{"a":' * 100_000, b""),
    "a header of 2**63 bytes": with_header({}, length=2**63),
    "a header longer than the file": with_header({}, length=1000),
    "a header of 90 MB": with_header({}, length=90_000_000),
    "negative sides": with_header({**OURS, "a": entry("F16", [-1, -2], 0, 4)}, b"\0" * 4),
    "a product that overflows": with_header({**OURS, "a": entry("F16", [2**33, 2**33], 0, 4)}, b"\0" * 4),
    "nothing by very much": with_header({**OURS, "a": entry("F16", [0, 2**62, 2**62], 0, 0)}),
    "a side beyond 64 bits": with_header({**OURS, "a": entry("F16", [0, 2**64 - 1], 0, 0)}),
    "thousands of sides": with_header({**OURS, "a": entry("F16", [1] * 5000, 0, 2)}, b"\0" * 2),
    "a type without NaN test": with_header({**OURS, "a": entry("F8_E4M3", [4], 0, 4)}, b"\0" * 4),
    "metadata of numbers": with_header({"__metadata__": {"format": 1}}),
    "a version of 5000 digits": with_header(
        {"__metadata__": {"format": "atomtune.atoms", "format_version": "9" * 5000}}
    ),
    "a version in other digits": with_header({"__metadata__": {"format": "atomtune.atoms", "format_version": "٢"}}),
    "a kind of many lines": with_header(
        {"__metadata__": {"format": "atomtune.\n\x1b[2J" * 999, "format_version": "1"}}
    ),
}


@pytest.mark.parametrize("data", HEADERS.values(), ids=HEADERS.keys())
def test_headers_that_attack(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    for read in ALL_READERS:
        refused(read, path)
