"""Concepts in prompts, prompt files, and prompts that are too long."""

from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from atomtune.data.concept import Concept, check_prompts, cut_by_tokenizer, expand, names, read_prompts, unnamed
from atomtune.errors import UsageError

CASTLE, DOG = Concept("my-castle", "castle", "sks"), Concept("rex", "dog", "qzx")


def test_names_become_words() -> None:
    assert expand("a <my-castle> with <rex>, 1 < 2 > 0", [CASTLE, DOG]) == "a sks castle with qzx dog, 1 < 2 > 0"


def test_braces_stand_for_the_only_concept() -> None:
    assert expand("a {} on the beach, {}", [DOG]) == "a qzx dog on the beach, qzx dog"
    for concepts, says in (([], "none are loaded"), ([CASTLE, DOG], "2 are loaded")):
        with pytest.raises(UsageError, match=says) as problem:
            expand("a {} on the beach", concepts)
        assert ("--concept" if not concepts else "<my-castle> or <rex>") in (problem.value.hint or "")


def test_a_class_prompt_gets_the_noun_alone() -> None:
    assert expand("a {} beside a <rex>", [DOG], with_token=False) == "a dog beside a dog"


@pytest.mark.parametrize("tag", ["<lora:castle:0.8>", "<LoRA:my castle>", "<lyco:x:1>", "<hypernet:y:1>"])
def test_tags_of_other_programs_are_explained(tag: str) -> None:
    with pytest.raises(UsageError, match="other programs") as problem:
        expand(f"a castle {tag}", [CASTLE])
    assert "--atoms FILE:SCALE" in (problem.value.hint or "")


def test_a_concept_is_named_by_words_not_by_parts_of_them() -> None:
    cat, mug = Concept("cat", "cat", "sks"), Concept("mug", "cup", "ohwx man")
    assert all(names(text, cat) for text in ("a {}", "a <cat>", "SKS, running", "an old sks"))
    assert not any(names(text, cat) for text in ("a category", "a cat", "risks", "sks1", "<rex>", ""))
    assert names("an OHWX  man with a cup", mug)
    assert not names("ohwx", mug)


def test_concepts_that_no_prompt_names() -> None:
    other = Concept("den", "castle", "qzx")
    assert unnamed(["a castle", "a qzx dog"], [CASTLE, DOG]) == [CASTLE]
    assert unnamed(["a sks"], [CASTLE]) == []
    assert unnamed(["a qzx dog"], [DOG, other]) == [other], "they share a token, so the noun tells them apart"


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
    with pytest.raises(UsageError, match=r"prompts\.txt.*none are loaded"):
        read_prompts(path, [])
    path.write_text("a <cat>\n")
    with pytest.raises(UsageError, match=r"prompts\.txt.*<cat>"):
        read_prompts(path, [CASTLE])
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
    (warning,) = check_prompts(tokenizer, ["short"], [CASTLE], fitting + " of rain")
    assert "negative prompt is over 77 tokens" in warning
    assert "'of rain'" in warning


def test_a_concept_in_the_cut_is_an_error(tiny_model: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(tiny_model / "tokenizer")
    with pytest.raises(UsageError, match="sks castle"):
        check_prompts(tokenizer, ["very " * 80 + "sks castle"], [CASTLE])
