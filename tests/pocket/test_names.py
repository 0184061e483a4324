"""Names: single tokens that each stand for one thing."""

from atomtune.models.tokenizer import vocabulary
from atomtune.pocket.world import FIRST_HELD_OUT_SEED, THINGS
from pretrain.names import NAMES, named_class, named_style, names_of
from pretrain.tokenizer import RESERVED_WORD, rare_words


def test_names_are_rare_single_tokens_and_each_another() -> None:
    assert len(set(NAMES)) == len(NAMES) > 100
    assert all(len(vocabulary().encode(name)) == 1 for name in NAMES)
    assert not set(NAMES) & {RESERVED_WORD, *rare_words()}, "unbound words name nothing"


def test_every_class_has_as_many_names_of_different_things() -> None:
    assert {len(names_of(thing)) for thing in THINGS} == {len(NAMES) // len(THINGS)}
    assert all(named_class(name) == thing for thing in THINGS for name in names_of(thing))
    seeds = [named_style(name).seed for name in NAMES]
    assert len(set(seeds)) == len(NAMES)
    assert max(seeds) < FIRST_HELD_OUT_SEED
