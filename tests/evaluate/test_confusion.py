"""Confusion of several concepts: by pocket's identity encoder on images whose truth is known, and in an evaluation."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomtune.evaluation.encoders.base import Encoders
from atomtune.evaluation.encoders.grader import load_grader, load_identity
from atomtune.evaluation.measure import measure
from atomtune.pocket.concept import concept_images, new_thing
from atomtune.pocket.world import FIRST_HELD_OUT_SEED, render

Cli = Callable[..., Any]

SCENES = ("in the snow", "on the beach", "in the jungle")


@pytest.fixture(scope="module")
def encoders() -> Encoders:
    grader = load_grader()
    return Encoders(fidelity=load_identity(), alignment=grader, diversity=grader)


def test_it_is_the_share_of_images_of_the_other_thing(encoders: Encoders) -> None:
    one, other = ([made.image for made in concept_images("dog", new_thing(number))] for number in (0, 1))
    images = [
        [render("dog", new_thing(number), scene, FIRST_HELD_OUT_SEED + 50) for scene in SCENES] for number in (0, 1)
    ]

    def confused(shown: list[Any]) -> float | None:
        found = measure(encoders, shown, [None] * len(shown), one, others=[other])
        return found.measures.confusion

    assert confused(images[0]) == 0.0
    assert confused(images[1]) == 1.0
    assert confused([*images[0], *images[1]]) == 0.5
    assert measure(encoders, images[0], [None] * 3, one).measures.confusion is None


def test_a_run_of_two_concepts_is_scored_by_either(cli: Cli) -> None:
    for name, noun, number in (("castle", "castle", 3), ("rex", "dog", 4)):
        folder = Path("concepts") / name
        folder.mkdir(parents=True)
        for index, made in enumerate(concept_images(noun, new_thing(number), count=2)):
            made.image.save(folder / f"{index}.png")
    both = ("--concept", "castle", "--concept", "rex=dog")
    trained = cli("train", *both, "--model", "pocket", "--steps", "1", "--preset", "c1", "--device", "cpu")
    assert trained.code == 0, trained.err
    Path("prompts.txt").write_text("a {} in the snow\na {} beside a <castle>\n", encoding="utf-8")
    score = ("evaluate", "--concept", "castle", "--prompts", "prompts.txt", "--per-prompt", "1", "--steps", "1")
    answer = cli(*score, "--of", "rex", "--json", "--device", "cpu")
    assert answer.code == 0, answer.err
    figures = json.loads(answer.out)
    assert (figures["concept"], figures["references"]) == ("rex", 2)
    assert 0.0 <= figures["confusion"] <= 1.0
    assert figures["report"] == "runs/castle/evaluation-rex/report.html"
    keys = [json.loads(path.read_text()) for path in Path("runs/castle/evaluation-rex/images").glob("*/key.json")]
    assert any(key["prompts"] == ["a vcu dog in the snow", "a vcu dog beside a choa castle"] for key in keys)
    wrong = cli(*score, "--of", "fido")
    assert (wrong.code, "the run has no concept fido" in wrong.err) == (2, True)


def test_one_prompt_names_both_concepts(cli: Cli) -> None:
    """After `train` with two concepts, `sample` knows both names and `{}` no more."""
    for name, noun in (("castle", "castle"), ("rex", "dog")):
        folder = Path("concepts") / name
        folder.mkdir(parents=True)
        concept_images(noun, new_thing(0), count=1)[0].image.save(folder / "0.png")
    assert cli("train", "--concept", "castle", "--concept", "rex=dog", "--model", "pocket", "--steps", "1").code == 0
    made = cli("sample", "castle", "a <castle> beside a <rex>", "--steps", "1", "--json")
    assert json.loads(made.out)["images"][0]["prompt"] == "a choa castle beside a vcu dog"
    assert "no prompt names" not in cli("sample", "castle", "a <castle>", "--steps", "1").err
    assert "no prompt names 'vcu dog'" in cli("sample", "castle", "a house", "--steps", "1").err
    unclear = cli("sample", "castle", "a {}", "--steps", "1")
    assert (unclear.code, "name it as in <castle> or <rex>" in unclear.err) == (2, True)
    listed = json.loads(cli("inspect", "runs/castle/castle.safetensors", "--json").out)
    assert (listed["trigger"], listed["others"]) == (
        "choa castle, vcu dog",
        [{"concept": "rex", "class_noun": "dog", "token": "vcu"}],
    )
