"""The prompts of preservation: things and scenes that have nothing to do with the concept, and the empty prompt."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..data.concept import Concept, expand, names
from ..data.text_files import problem_of, read_lines
from ..errors import UsageError, excerpt
from ..models.base_model import POCKET
from ..pocket.world import SCENES as POCKET_SCENES
from ..pocket.world import THINGS
from ..runtime.seeds import derived_generator

MEASURED = frozenset({"dog", "car", "boat", "teapot", "clock", "robot", "house", "backpack", "fish", "cup"})
"""Nouns that no default prompt has: `atomtune evaluate` measures drift on them."""

NOUNS = tuple(
    """
    airplane, apple, armchair, baby, ball, balloon, banana, barn, bear, bed, bee, bench, bicycle, bird, book, bottle,
    bowl, bread, bridge, broom, bucket, bus, butterfly, cabin, cactus, cake, camel, camera, candle, castle, cat, chair,
    chicken, church, coat, computer, cow, crab, crown, deer, desk, dolphin, door, drum, duck, eagle, elephant, farmer,
    fence, flower, fork, fountain, fox, frog, garden, giraffe, girl, glove, goat, guitar, hammer, hat, helicopter,
    horse, jacket, key, kite, knife, ladder, lamp, leaf, lemon, lighthouse, lion, lizard, man, map, mirror, monkey,
    motorcycle, mountain, mushroom, necklace, orange, owl, painting, palace, pear, pen, penguin, piano, pig, pillow,
    pizza, plate, pumpkin, rabbit, river, road, rocket, rose, sandwich, scarf, school, sheep, shell, ship, shirt, shoe,
    skyscraper, snake, sofa, spoon, squirrel, statue, street, suitcase, sword, table, telephone, tent, tiger, tower,
    tractor, train, tree, truck, trumpet, turtle, umbrella, vase, violin, waterfall, whale, wheel, windmill, window,
    woman, zebra
    """.replace("\n", " ").split(",")
)
"""Things, animals, people and places that a large base model knows by one word."""

SCENES = (
    "at night",
    "at sunset",
    "at the edge of a cliff",
    "at the side of a lake",
    "behind a wooden fence",
    "beside a swimming pool",
    "by the sea",
    "covered in fresh snow",
    "from above",
    "from far away",
    "hanging on a wall",
    "in a bright kitchen",
    "in a busy market",
    "in a dark room",
    "in a desert",
    "in a field of flowers",
    "in a forest",
    "in a garden",
    "in a glass case",
    "in a museum",
    "in a narrow alley",
    "in a parking lot",
    "in a swamp",
    "in a tidy living room",
    "in black and white",
    "in heavy rain",
    "in soft morning light",
    "in the fog",
    "in the middle of a road",
    "in the style of a watercolor painting",
    "in the style of an oil painting",
    "in tall grass",
    "next to a brick wall",
    "next to a campfire",
    "on a balcony",
    "on a bare stone floor",
    "on a bed of moss",
    "on a desk full of papers",
    "on a farm",
    "on a hill",
    "on a marble table",
    "on a rooftop",
    "on a stage",
    "on a staircase",
    "on a striped blanket",
    "on fire",
    "under a bridge",
    "under a starry sky",
    "with a plain background",
    "with people in the background",
)
"""What may follow a thing in a prompt."""

_QUARTER = 64  # a quarter of the default prompts


@dataclass(frozen=True)
class Words:
    """Nouns and scenes that a base model knows."""

    nouns: Sequence[str]
    scenes: Sequence[str]


def words_of(model: str) -> Words:
    """The words for a base model of this name: `pocket` knows its own alone."""
    if model == POCKET:
        return Words([noun for noun in THINGS if noun not in MEASURED], [scene for scene in POCKET_SCENES if scene])
    return Words([noun.strip() for noun in NOUNS], SCENES)


def default_prompts(
    concepts: Sequence[Concept], words: Words, seed: int, *, with_class_noun: bool = False
) -> list[str]:
    """256 prompts for a run of some concepts: a quarter is empty, half is "a NOUN SCENE", a quarter "a NOUN".

    Args:
        with_class_noun: in every fourth prompt with a noun it is a class noun, which otherwise is in none.

    Raises UsageError where the class nouns leave no other noun.
    """
    own = list(dict.fromkeys(concept.class_noun for concept in concepts))
    nouns = [noun for noun in words.nouns if not any(_share_a_word(noun, class_noun) for class_noun in own)]
    if not nouns:
        listed = " and ".join(excerpt(repr(class_noun)) for class_noun in own)
        raise UsageError(
            f"the class noun {listed} names all things that preservation knows of",
            "--preserve-prompts FILE gives other prompts",
        )
    generator = derived_generator(seed, "preservation prompts")

    def pick(among: Sequence[str]) -> str:
        return among[int(torch.randint(len(among), (), generator=generator))]

    def thing(number: int) -> str:
        noun = pick(nouns)
        return with_article(own[number // 4 % len(own)] if with_class_noun and number % 4 == 0 else noun)

    in_scenes = [f"{thing(number)} {pick(words.scenes)}" for number in range(2 * _QUARTER)]
    return [""] * _QUARTER + in_scenes + [thing(number) for number in range(_QUARTER)]


def read_preservation_prompts(path: Path, concepts: Sequence[Concept]) -> list[str]:
    """Prompts from a file, one a line; `""` is the empty prompt, `<name>`, and `{}` of one concept, are class nouns.

    Empty lines and # comments are skipped. Raises UsageError where the file cannot be read, holds no prompt, or names
    a concept by its token: that prompt would be kept from being learned.
    """
    hint = 'one prompt a line, as in "a cat in a garden"; "" is the empty prompt, {} the class noun'
    try:
        lines = [line.strip() for line in read_lines(path)]
    except (OSError, ValueError) as problem:
        raise UsageError(f"cannot read prompts from {path}: {problem_of(problem)}", hint) from None
    written = [line for line in lines if line and not line.startswith("#")]
    if not written:
        raise UsageError(f"{path} holds no prompts", hint)
    prompts = []
    for line in written:
        try:
            prompt = "" if line == '""' else expand(line, concepts, with_token=False)
        except UsageError as problem:
            raise UsageError(f"{path}: {problem.message}", problem.hint) from None
        for concept in concepts:
            if names(prompt, concept) and not names(concept.class_noun, concept):
                raise UsageError(
                    f"{path}: {excerpt(prompt)!r} holds the token {concept.token!r}, which means the concept", hint
                )
        prompts.append(prompt)
    return prompts


def with_article(noun: str) -> str:
    """A noun after "a" or "an"."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def _share_a_word(one: str, other: str) -> bool:
    def parts(text: str) -> set[str]:
        return set(re.findall(r"\w+", text.lower()))

    return not parts(one).isdisjoint(parts(other))
