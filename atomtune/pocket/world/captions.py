"""Captions of the small world, in the words of DreamBooth's prompts."""

import random

PLAIN_WORDS = "on a plain background"
"""What may follow the thing in the caption of a picture taken in the studio, whose own words are empty."""

# What may come before the noun phrase, and how often; {a} is the indefinite article.
_PHRASES = {
    "{a}": 40,
    "a photo of {a}": 32,
    "a photo of the": 6,
    "a photo of": 6,
    "a picture of {a}": 6,
    "the": 5,
    "a small picture of {a}": 2,
    "a good photo of {a}": 3,
}


def caption(thing: str, scene: str = "", *, color: str = "", word: str = "", rng: random.Random | None = None) -> str:
    """Say what a picture shows: "a red castle in the jungle"; `rng` picks among other phrasings.

    `scene` is the scene's words (empty: none are said); `word` goes right before the noun, as a concept's token does.
    """
    noun = " ".join(part for part in (color, word, thing) if part)
    phrase = "{a}" if rng is None else rng.choices(list(_PHRASES), list(_PHRASES.values()))[0]
    article = "an" if noun[0] in "aeiou" and not (word and not color) else "a"
    return " ".join(part for part in (phrase.format(a=article), noun, scene) if part)
