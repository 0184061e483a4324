"""Concepts in prompts, prompt files, and prompts that are too long."""

from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from atomtune.data.concept import Concept, check_prompts, cut_by_tokenizer, expand, read_prompts
from atomtune.errors import UsageError

CASTLE, DOG = Concept("my-castle", "castle"), Concept("rex", "dog", "qzx")


def test_names_become_words() -> None:
    assert expand("a <my-castle> with <rex>, 1 < 2 > 0", [CASTLE, DOG]) == "a sks castle with qzx dog, 1 < 2 > 0"


def test_an_unknown_name_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(UsageError, match="<cat>") as problem:
        expand("a <cat>", [DOG])
    assert "<rex>" in (problem.value.hint or "")


@pytest.mark.parametrize("name", ["", "../up", "a b", ".hidden", "a/b"])
def test_names_that_could_leave_their_folder_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        Concept(name, "castle")


def test_prompt_files(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("# a comment\n\na {} in the snow\n")
    assert read_prompts(path, [CASTLE]) == ["a sks castle in the snow"]
    with pytest.raises(UsageError, match="2 are loaded"):
        read_prompts(path, [CASTLE, DOG])
    path.write_text("\n")
    with pytest.raises(UsageError, match="holds no prompts"):
        read_prompts(path, [CASTLE])
    with pytest.raises(UsageError, match="cannot read"):
        read_prompts(tmp_path / "none.txt", [CASTLE])


def test_a_long_prompt_warns_with_what_is_cut(tiny_model: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(tiny_model / "tokenizer")
    fitting = "sks castle " + "very " * 72 + "end"
    assert cut_by_tokenizer(tokenizer, fitting) == ""
    assert cut_by_tokenizer(tokenizer, fitting + " of story") == "of story"
    assert "'of story'" in check_prompts(tokenizer, [fitting + " of story"], [CASTLE])[0]
    assert check_prompts(tokenizer, ["short"], [CASTLE]) == []


def test_a_concept_in_the_cut_is_an_error(tiny_model: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(tiny_model / "tokenizer")
    with pytest.raises(UsageError, match="sks castle"):
        check_prompts(tokenizer, ["very " * 80 + "sks castle"], [CASTLE])
