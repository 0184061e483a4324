"""The prompts of preservation: nouns that are neither the concept's nor those that drift is measured on."""

import re
from pathlib import Path

import pytest

from atomtune.data.concept import Concept
from atomtune.errors import UsageError
from atomtune.evaluation.image_sets import DRIFT_PROMPTS
from atomtune.pocket.world import THINGS
from atomtune.training.preservation_prompts import (
    MEASURED,
    NOUNS,
    default_prompts,
    read_preservation_prompts,
    with_article,
    words_of,
)

CASTLE = Concept("castle", "castle", "sks")


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def test_drift_is_measured_on_other_nouns() -> None:
    assert {prompt.split()[1] for prompt in DRIFT_PROMPTS} == MEASURED
    for model in ("pocket", "CompVis/stable-diffusion-v1-4"):
        nouns = words_of(model).nouns
        assert len(set(nouns)) == len(nouns) >= 4
        assert MEASURED.isdisjoint(nouns)
        assert all(prompt.isprintable() and prompt.strip() == prompt for prompt in (*nouns, *words_of(model).scenes))
    assert len(NOUNS) > 100
    assert set(words_of("pocket").nouns) < set(THINGS)


@pytest.mark.parametrize("model", ["pocket", "some/model"])
def test_a_quarter_is_empty_half_has_a_scene_a_quarter_has_none(model: str) -> None:
    prompts = default_prompts([CASTLE], words_of(model), 0)
    known = words_of(model)
    plain = {with_article(noun) for noun in known.nouns}
    in_scenes = [prompt for prompt in prompts if any(prompt.endswith(f" {scene}") for scene in known.scenes)]
    assert [prompts.count(""), len(in_scenes), sum(prompt in plain for prompt in prompts)] == [64, 128, 64]
    assert not any({"castle", "sks"} & words(prompt) for prompt in prompts)
    assert default_prompts([CASTLE], known, 0) == prompts != default_prompts([CASTLE], known, 1)


def test_the_class_noun_is_in_a_quarter_of_the_nouns_where_it_is_asked_for() -> None:
    concept = Concept("rex", "toy zebra", "sks")
    without = default_prompts([concept], words_of("some/model"), 0)
    assert not any("zebra" in prompt for prompt in without), "what shares a word with it is left out too"
    prompts = default_prompts([concept], words_of("some/model"), 0, with_class_noun=True)
    assert sum(prompt.startswith("a toy zebra") for prompt in prompts) == 48


def test_articles() -> None:
    assert [with_article(noun) for noun in ("apple", "owl", "cat")] == ["an apple", "an owl", "a cat"]


def test_a_class_noun_that_leaves_nothing_is_refused() -> None:
    everything = Concept("all", " ".join(words_of("pocket").nouns), "sks")
    with pytest.raises(UsageError, match="names all things"):
        default_prompts([everything], words_of("pocket"), 0)


def test_a_file_has_prompts_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text('# others\n\n""\na cat\n  a {} in the snow\n<castle>\na cat\n', encoding="utf-8")
    read = read_preservation_prompts(path, [CASTLE])
    assert read == ["", "a cat", "a castle in the snow", "castle", "a cat"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# nothing\n", "holds no prompts"),
        ("a photo of sks\n", "holds the token 'sks'"),
        ("a <dog>\n", "names <dog>, which is not loaded"),
        ("a <lora:cat:1>\n", "the tag <lora:cat:1>"),
    ],
)
def test_files_that_cannot_be_used_are_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        read_preservation_prompts(path, [CASTLE])
    with pytest.raises(UsageError, match="cannot read prompts"):
        read_preservation_prompts(tmp_path / "none.txt", [CASTLE])
