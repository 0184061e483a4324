"""The token of a concept follows from its name: rare, one token of the model's, and unbound in `pocket`."""

import pytest

from atomtune.data.concept import Concept, expand
from atomtune.data.tokens import TOKENS, default_token
from atomtune.errors import UsageError
from atomtune.models.tokenizer import vocabulary
from pretrain.names import NAMES


def test_every_token_is_one_rare_word_that_names_nothing() -> None:
    assert len(set(TOKENS)) == len(TOKENS) >= 150
    encoded = [vocabulary().encode(token) for token in TOKENS]
    assert all(len(numbers) == 1 and numbers[0] >= 40_000 for numbers in encoded)
    assert set(TOKENS).isdisjoint({*NAMES, "sks"})


def test_the_same_name_has_always_the_same_token() -> None:
    assert [default_token(name) for name in ("castle", "mug", "rex")] == ["choa", "wiwx", "vcu"], "as in runs of users"
    assert Concept("castle").words == "choa castle"
    assert expand("a <castle> and a <rex>", [Concept("castle"), Concept("rex", "dog")]) == "a choa castle and a vcu dog"
    many = [default_token(f"concept-{number}") for number in range(2000)]
    assert set(many) == set(TOKENS), "all are used"
    assert max(many.count(token) for token in TOKENS) < 40, "and none by many"


def test_more_vectors_are_as_many_words_of_which_the_first_stays() -> None:
    assert Concept("castle", token_vectors=3).token == "choa uer rufc"
    assert len(set(default_token("mug", 16).split())) == 16
    assert Concept("castle", "castle", "sks", 2).words == "sks castle", "what is given stays"
    for wrong in (0, 17, True, 2.0):
        with pytest.raises(UsageError, match="token_vectors must be a whole number from 1 to 16"):
            Concept("castle", token_vectors=wrong)  # type: ignore[arg-type]
