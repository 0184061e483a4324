"""Our files read with suspicion: cut, flipped, foreign, from the future; and written so that nothing is lost."""

import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from atomtune import __version__
from atomtune.core.decompose import decompose
from atomtune.errors import AtomtuneError
from atomtune.files import store
from atomtune.files.atoms_file import AtomsInfo, load_atoms, save_atoms
from atomtune.files.decomposition_file import load_decomposition, save_decomposition
from atomtune.files.describe import describe
from atomtune.methods.specs import AtomsSpec

INFO = AtomsInfo(
    method="atoms",
    preset="c2",
    spec=AtomsSpec().to_dict(),
    base="pocket",
    base_fingerprint="ab" * 32,
    architecture="stable-diffusion-v1",
    concept="castle",
    class_noun="castle",
    token="sks",
    prompts=["a photo of a sks castle", "naïve ☃"],
    steps=300,
    parameters=63,
    training={"lr": 1e-3, "seed": 7, "images": None},
)


def tensors() -> dict[str, Tensor]:
    torch.manual_seed(0)
    names = ("conv_in.atoms", "conv_in.delta_atoms", "down.0.atoms", "down.0.delta_atoms")
    return {name: torch.randn(3, 9).half() for name in names}


@pytest.fixture
def atoms_path(tmp_path: Path) -> Path:
    path = tmp_path / "atoms.safetensors"
    save_atoms(path, INFO, tensors())
    return path


@pytest.fixture
def decomposition_path(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    spec = AtomsSpec(atoms=4, tile=4)
    parts = {
        "conv": decompose(torch.randn(8, 4, 3, 3), 4, 4, 0.05),
        "fc": decompose(torch.randn(8, 12), 4, 4, 0.05),
    }
    path = tmp_path / "decomposition.safetensors"
    save_decomposition(path, parts, "pocket", "cd" * 32, spec.to_dict(), {"layers": 2})
    return path


def rewrite(path: Path, change: Callable[[dict[str, Tensor], dict[str, str]], object], rehash: bool = False) -> None:
    """Write the file again with other tensors or metadata, with a checksum that fits if asked."""
    with safe_open(path, framework="pt") as handle:
        header, held = dict(handle.metadata()), {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    change(held, header)
    if rehash:
        header["sha256"], header["metadata_sha256"] = store.checksum(held), store._signature(header)
    save_file(held, path, metadata=header)


def data_offset(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


def test_an_atoms_file_comes_back(atoms_path: Path) -> None:
    held, info, digest = load_atoms(atoms_path)
    assert held.keys() == tensors().keys()
    assert all(torch.equal(held[name], tensor) for name, tensor in tensors().items())
    assert replace(info, created="") == INFO
    assert info.tool_version == __version__
    assert info.trigger == "sks castle"
    assert digest == store.checksum(tensors())


def test_an_edited_spec_is_seen_and_an_edited_title_is_not(atoms_path: Path) -> None:
    rewrite(atoms_path, lambda _, header: header.update({"modelspec.title": "my castle"}))
    load_atoms(atoms_path)
    spec = json.dumps({**INFO.spec, "sparsity": 0.3})
    rewrite(atoms_path, lambda _, header: header.update(spec=spec))
    with pytest.raises(AtomtuneError, match="altered"):
        load_atoms(atoms_path)


def test_the_header_speaks_to_other_tools(atoms_path: Path) -> None:
    with safe_open(atoms_path, framework="pt") as handle:
        header = handle.metadata()
    assert all(isinstance(value, str) for value in header.values())
    assert header["format"] == "atomtune.atoms"
    assert header["modelspec.title"] == "castle"
    assert header["modelspec.architecture"] == "stable-diffusion-v1/atoms"
    assert header["modelspec.trigger_phrase"] == "sks castle"
    assert header["modelspec.date"] == header["created"]
    assert header["ss_base_model_version"] == "sd_v1"


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    info = replace(INFO, created="2025-01-01T00:00:00+00:00")
    for name in ("a", "b"):
        save_atoms(tmp_path / name, info, dict(sorted(tensors().items(), reverse=name == "b")))
    assert store.checksum(load_atoms(tmp_path / "a")[0]) == store.checksum(load_atoms(tmp_path / "b")[0])


def test_the_checksum_sees_names_types_shapes_and_values() -> None:
    base = {"a": torch.zeros(2, 3), "b": torch.tensor(1.0)}
    others = [
        {"a": torch.zeros(2, 3), "c": torch.tensor(1.0)},
        {"a": torch.zeros(3, 2), "b": torch.tensor(1.0)},
        {"a": torch.zeros(2, 3, dtype=torch.int32), "b": torch.tensor(1.0)},
        {"a": torch.zeros(2, 3), "b": torch.tensor(1.0 + 2**-23)},
        {"a": torch.zeros(2, 3)},
    ]
    assert len({store.checksum(t) for t in [base, *others]}) == 6
    assert store.checksum({"b": base["b"], "a": torch.zeros(3, 2).T}) == store.checksum(base)


def test_a_decomposition_comes_back_to_the_last_bit(decomposition_path: Path) -> None:
    torch.manual_seed(0)
    expected = {"conv": decompose(torch.randn(8, 4, 3, 3), 4, 4, 0.05), "fc": decompose(torch.randn(8, 12), 4, 4, 0.05)}
    parts, header = load_decomposition(decomposition_path)
    assert list(parts) == list(expected)
    for name, part in expected.items():
        assert (parts[name].layout, parts[name].sparsity) == (part.layout, part.sparsity)
        assert torch.equal(parts[name].atoms, part.atoms)
        assert torch.equal(parts[name].coefficients, part.coefficients)
        assert (parts[name].atoms.dtype, parts[name].coefficients.dtype) == (torch.float32, torch.float16)
    assert json.loads(header["report"]) == {"layers": 2}


def test_a_file_cut_anywhere_is_refused(atoms_path: Path) -> None:
    content = atoms_path.read_bytes()
    start = data_offset(content)
    for cut in {0, 1, 7, 8, 9, start - 1, start, start + 1, len(content) - 1, *range(0, len(content), 37)}:
        atoms_path.write_bytes(content[:cut])
        for read in (load_atoms, describe):
            with pytest.raises(AtomtuneError, match=r"truncated|cannot be read"):
                read(atoms_path)
    atoms_path.write_bytes(content + b"\0")
    with pytest.raises(AtomtuneError):
        load_atoms(atoms_path)


def test_any_flipped_byte_of_the_data_is_seen(atoms_path: Path) -> None:
    content = atoms_path.read_bytes()
    for place in range(data_offset(content), len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << (place % 8)
        atoms_path.write_bytes(flipped)
        with pytest.raises(AtomtuneError, match="altered or damaged"):
            load_atoms(atoms_path)


def test_a_flipped_byte_of_the_header_is_seen_or_harmless(atoms_path: Path) -> None:
    """Free text in the metadata may change unseen; tensors may not, and nothing may crash."""
    content = atoms_path.read_bytes()
    for place in [*range(16), *range(16, data_offset(content), 5)]:
        flipped = bytearray(content)
        flipped[place] ^= (1, 16, 128)[place % 3]
        atoms_path.write_bytes(flipped)
        with suppress(AtomtuneError):
            assert store.checksum(load_atoms(atoms_path)[0]) == store.checksum(tensors())


@given(st.binary(max_size=200))
@settings(max_examples=40, deadline=None)
def test_any_bytes_are_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "atoms.safetensors"
    for start in (b"", len(content).to_bytes(8, "little")):
        path.write_bytes(start + content)
        with pytest.raises(AtomtuneError) as caught:
            describe(path)
        assert "\n" not in caught.value.message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(atoms_path: Path, value: float) -> None:
    rewrite(atoms_path, lambda held, _: held["conv_in.delta_atoms"][1].fill_(value), rehash=True)
    with pytest.raises(AtomtuneError, match=r"NaN or infinite values in conv_in\.delta_atoms"):
        load_atoms(atoms_path)


def test_altered_tensors_are_refused(atoms_path: Path) -> None:
    rewrite(atoms_path, lambda held, _: held.update({"conv_in.atoms": held["conv_in.atoms"] * 2}))
    with pytest.raises(AtomtuneError, match="its checksum does not match"):
        load_atoms(atoms_path)


def test_a_lora_is_refused_as_what_it_is_not(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    for metadata in (None, {"ss_network_module": "networks.lora"}, {"format": "pt"}):
        save_file({"lora_unet_down.lora_up.weight": torch.zeros(4, 4)}, path, metadata=metadata)
        for read in (load_atoms, describe, load_decomposition):
            with pytest.raises(AtomtuneError, match="was not written by atomtune") as caught:
                read(path)
            assert "LoRA" in str(caught.value)


def header_value(name: str, value: str | None) -> Callable[[dict[str, Tensor], dict[str, str]], object]:
    return lambda _, header: header.pop(name) if value is None else header.update({name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format_version", "2", "has format version 2, this atomtune reads up to 1"),
        ("format_version", "x", "names no format version"),
        ("format_version", None, "names no format version"),
        ("format", "atomtune.else", "is of kind else, not atoms"),
        ("sha256", None, "checksum does not match"),
    ],
)
def test_versions_kinds_and_checksums_in_the_header(
    atoms_path: Path, name: str, value: str | None, message: str
) -> None:
    rewrite(atoms_path, header_value(name, value))
    with pytest.raises(AtomtuneError, match=message):
        load_atoms(atoms_path)


@pytest.mark.parametrize("name", sorted(vars(INFO).keys() - {"others"}))
def test_every_field_of_the_metadata_is_required(atoms_path: Path, name: str) -> None:
    rewrite(atoms_path, header_value(name, None), rehash=True)
    with pytest.raises(AtomtuneError, match=f"incomplete .*{name}"):
        load_atoms(atoms_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", "many"), ("steps", "1.5"), ("prompts", '"one"'), ("spec", "[]"), ("training", "{"), ("parameters", "")],
)
def test_metadata_of_the_wrong_type(atoms_path: Path, name: str, value: str) -> None:
    rewrite(atoms_path, header_value(name, value), rehash=True)
    with pytest.raises(AtomtuneError, match=r"metadata of .* is incomplete"):
        load_atoms(atoms_path)


def layers_of(change: Callable[[Any], object]) -> Callable[[dict[str, Tensor], dict[str, str]], object]:
    def apply(_: dict[str, Tensor], header: dict[str, str]) -> None:
        layers = json.loads(header["layers"])
        change(layers)
        header["layers"] = json.dumps(layers)

    return apply


@pytest.mark.parametrize(
    "change",
    [
        *(header_value(name, None) for name in ("base", "base_fingerprint", "spec", "report", "layers")),
        header_value("layers", "[]"),
        header_value("layers", "{"),
        layers_of(lambda layers: layers.update(other=layers["conv"])),
        layers_of(lambda layers: layers["conv"].pop("shape")),
        layers_of(lambda layers: layers["conv"].update(shape=[8, 4, 5, 5])),
        layers_of(lambda layers: layers["conv"].update(shape=[8, 0, 0, 0])),
        layers_of(lambda layers: layers["fc"].update(tile=[4])),
        layers_of(lambda layers: layers["fc"].update(tile=[0, 4])),
        layers_of(lambda layers: layers["fc"].update(sparsity=None)),
        lambda held, _: held.pop("fc.coefficients"),
        lambda held, _: held.update({"fc.atoms": torch.tensor(1.0).half()}),
        lambda held, _: held.update({"fc.atoms": torch.zeros(4).half()}),
    ],
)
def test_an_incomplete_decomposition_is_refused(decomposition_path: Path, change: Any) -> None:
    rewrite(decomposition_path, change, rehash=True)
    for read in (load_decomposition, describe):
        with pytest.raises(AtomtuneError):
            read(decomposition_path)


def test_kinds_are_not_mixed_up(atoms_path: Path, decomposition_path: Path) -> None:
    with pytest.raises(AtomtuneError, match="is of kind decomposition, not atoms"):
        load_atoms(decomposition_path)
    with pytest.raises(AtomtuneError, match="is of kind atoms, not decomposition"):
        load_decomposition(atoms_path)
