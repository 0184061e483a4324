"""Text from elsewhere in messages: on one line, short, and nothing that steers a terminal."""

import pytest

from atomtune.errors import excerpt, is_one_line, printable, without_folders


@pytest.mark.parametrize("text", ["a photo of a sks castle", "naïve ☃ 城 قلعة", "👩\u200d🚀", "a\u00a0b", ""])
def test_plain_words_stay_as_they_are(text: str) -> None:
    assert printable(text) == text
    assert excerpt(text) == " ".join(text.split())
    assert is_one_line(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\u001b[2J"),
        ("a\rb", "a\\u000db"),
        ("\x9b0m", "\\u009b0m"),
        ("\u202egnp", "\\u202egnp"),
        ("\ud800", "\\ud800"),
        ("a\u2028b", "a\\u2028b"),
        ("a\nb\tc", "a\nb\tc"),
    ],
)
def test_what_steers_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert not is_one_line(text)
    printable(text).encode()


def test_excerpts_are_short_and_on_one_line() -> None:
    assert excerpt("a\n b\u2028c\x85d\x1ee") == "a b c d e"
    assert excerpt("x" * 500, 10) == "x" * 9 + "…"
    assert excerpt("x" * 10, 10) == "x" * 10
    assert excerpt(5) == "5"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cannot write /home/ann/runs/x.json: no space", "cannot write x.json: no space"),
        (r"'/data/c.png' and C:\Users\ann\c.png", "'c.png' and c.png"),
        ("https://huggingface.co/org/mug and runs/castle", "https://huggingface.co/org/mug and runs/castle"),
        ("2/3 of it, and/or all", "2/3 of it, and/or all"),
    ],
)
def test_texts_lose_the_folders_of_absolute_paths(text: str, shown: str) -> None:
    assert without_folders(text) == shown
