"""Hostile files on the command line: an error and a hint at most, and a terminal that nobody else steers."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from torch import Tensor

from atomtune.files.atoms_file import AtomsInfo, load_atoms, save_atoms
from hostile import TEXTS, budgets, check_answer, content, for_all, sealed
from made import made_atoms

Cli = Callable[..., Any]
Atoms = tuple[dict[str, Tensor], AtomsInfo]


@pytest.fixture(scope="module")
def atoms(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Atoms:
    """What a good atoms file for the tiny model holds."""
    tensors, info, _ = load_atoms(made_atoms(tmp_path_factory.mktemp("atoms") / "file", tiny_model))
    return tensors, info


@budgets(12)
def test_inspect_says_what_a_file_is_or_what_is_wrong(cli: Cli, examples: int) -> None:
    tensors, metadata = content("atoms")

    def check(name: str, text: str) -> None:
        sealed(Path("file"), "atoms", tensors, {**metadata, name: text})
        check_answer(cli("inspect", "file"))
        answer = cli("inspect", "file", "--json")
        check_answer(answer)
        if answer.code == 0:
            json.loads(answer.out, parse_constant=lambda constant: pytest.fail(constant))

    for_all(examples, check, st.sampled_from(sorted(metadata)), TEXTS)


def test_what_a_file_says_does_not_steer_the_terminal(cli: Cli) -> None:
    tensors, metadata = content("atoms")
    prompts, training = json.dumps(["\x1b]0;owned\x07", "\u202egnp.exe"]), json.dumps({"lr": float("inf")})
    sealed(Path("file"), "atoms", tensors, {**metadata, "prompts": prompts, "training": training})
    check_answer(cli("inspect", "file"))
    answer = cli("inspect", "file", "--json")
    check_answer(answer)
    facts = json.loads(answer.out)
    assert facts["prompts"] == ["\x1b]0;owned\x07", "\u202egnp.exe"]
    assert facts["training"] == {"lr": None}


@pytest.mark.parametrize(
    "base",
    [
        "/etc",
        "/etc/passwd",
        "../..",
        "~nobody-of-this-name/x",
        "x" * 3000,
        "a/" + "b" * 3000,
        "a/b/c",
        "a b/c",
        "é/..",
        "",
    ],
    ids=lambda base: base[:20],
)
def test_the_base_that_a_file_names_is_a_model_or_nothing(cli: Cli, atoms: Atoms, base: str) -> None:
    tensors, info = atoms
    save_atoms(Path("file"), replace(info, base=base), tensors)
    answer = cli("merge", "--atoms", "file", "--output", "out")
    check_answer(answer)
    assert answer.code == 1
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "spec",
    [{"atoms": 10**9}, {"atoms": 512, "tile": 1}, {"tile": 64}, {"layers": "conv"}, {"overcomplete": 16}],
    ids=str,
)
def test_merging_a_file_with_another_spec_is_refused(cli: Cli, atoms: Atoms, spec: dict[str, Any]) -> None:
    tensors, info = atoms
    save_atoms(Path("file"), replace(info, spec={**info.spec, **spec}), tensors)
    answer = cli("merge", "--atoms", "file", "--output", "out")
    check_answer(answer)
    assert answer.code in (1, 2)
    assert not Path("out").exists()
