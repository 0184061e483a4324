"""The prompt sets that come with atomtune."""

from pathlib import Path

import pytest

from atomtune.errors import UsageError
from atomtune.evaluation.options import DEFAULT_PROMPTS
from atomtune.evaluation.prompt_sets import prompt_set

PROMPTS = Path(__file__).parents[2] / "prompts"


@pytest.mark.parametrize("path", sorted(PROMPTS.glob("*.txt")), ids=lambda path: path.stem)
def test_every_set_at_the_top_of_the_repository_is_found(path: Path) -> None:
    assert prompt_set(path.name).samefile(path)


def test_the_default_set_has_places_for_the_concept() -> None:
    assert "{}" in prompt_set(DEFAULT_PROMPTS).read_text(encoding="utf-8")


def test_an_unknown_set_is_answered_with_those_that_are_there() -> None:
    with pytest.raises(UsageError, match=r"no prompt set some\.txt; .*dreambooth_objects\.txt") as refused:
        prompt_set("some.txt")
    assert "--prompts" in (refused.value.hint or "")
