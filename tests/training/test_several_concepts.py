"""Several concepts in one run: what each brings, one file with all of them, and the same end after a stop."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from atomtune.data.concept import Concept
from atomtune.data.options import TaughtConcept
from atomtune.errors import AtomtuneError, Interrupted, UsageError
from atomtune.files.atoms_file import load_atoms
from atomtune.files.checkpoint import load_checkpoint
from atomtune.methods.specs import PRESETS, Spec
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.models.components import token_ids
from atomtune.runtime.progress import Events
from atomtune.sampling.apply import merge_atoms
from atomtune.sampling.changes import read_atoms
from atomtune.training.data import Batch
from atomtune.training.loaded_base import LoadedBase
from atomtune.training.loop import Loop
from atomtune.training.options import TrainOptions
from atomtune.training.record import TrainResult
from atomtune.training.train import train as _train
from stopping import StopAfter

Options = Callable[..., TrainOptions]
Cli = Callable[..., Any]

BASE = LoadedBase(keep=True)
C1 = PRESETS["c1"]


def train(wanted: TrainOptions, output: Path, **rest: Any) -> TrainResult:
    """A run; all runs of this file share the base model that they load."""
    return _train(wanted, output, loaded=BASE, **rest)


@pytest.fixture
def dogs(tmp_path: Path) -> Path:
    """A folder of three images, one of them of another shape, and a caption that names both concepts."""
    folder = tmp_path / "concepts" / "rex"
    folder.mkdir(parents=True)
    for i in range(3):
        size = (30, 40) if i == 2 else (40, 30)
        Image.radial_gradient("L").resize(size).point(lambda v, i=i: (v + 40 * i) % 256).convert("RGB").save(
            folder / f"{i}.png"
        )
    (folder / "1.txt").write_text("{} beside <castle>", encoding="utf-8")
    return folder


@pytest.fixture
def rex(dogs: Path) -> TaughtConcept:
    return TaughtConcept(concept=Concept("rex", "dog"), images=dogs, repeats=2)


def test_one_file_holds_both_and_prompts_name_either(
    options: Options, rex: TaughtConcept, tmp_path: Path, tiny_model: Path
) -> None:
    wanted = options(method="textual-inversion", spec=Spec(), lr=1e-2, others=(rex,), steps=4)
    result = train(wanted, tmp_path / "run")
    tensors, info, _ = load_atoms(result.atoms_file)
    assert (info.names, info.triggers) == (["castle", "rex"], ["sks castle", "vcu dog"])
    assert set(info.prompts) == {"a photo of a sks castle", "a photo of a vcu dog", "vcu dog beside sks castle"}
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        "text_encoder.token_embedding.change": (2, 16)
    }
    pipeline = load_pipeline(resolve(str(tiny_model)))
    table = pipeline.text_encoder.get_input_embeddings().weight
    before = table.detach().clone()
    merge_atoms(pipeline, read_atoms([(result.atoms_file, 1.0)]), Events())
    moved = (table.detach() != before).any(dim=1).nonzero().flatten().tolist()
    assert sorted(moved) == sorted(token_ids(pipeline.tokenizer, "sks vcu", 2))


def test_every_image_is_seen_as_often_as_its_concept_repeats_it(
    options: Options, rex: TaughtConcept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Batch] = []
    loops: list[Loop] = []

    def run(self: Loop, steps: int, after_step: Callable[[float], bool]) -> None:
        loops.append(self)
        drawn.extend(self.batches.draw(step) for step in range(11))
        raise UsageError("enough")

    monkeypatch.setattr(Loop, "run", run)
    with pytest.raises(UsageError, match="enough"):
        train(options(spec=C1, others=(rex,), batch_size=1, prior_preservation=True, prior_images=2), tmp_path / "run")
    seen = torch.cat([batch.captions for batch in drawn]).tolist()
    # 5 images of the castle once, 3 of the dog twice, one of these with a caption of its own
    assert sorted(map(seen.count, set(seen))) == [2, 4, 5]
    (loop,) = loops
    assert loop.prior is not None
    assert len(loop.prior.condition) == 2
    classes = torch.cat([loop.prior.batches.draw(step).captions for step in range(11)])
    assert set(classes.tolist()) == {0, 1}


def test_an_interrupted_run_of_several_concepts_ends_bit_equal(
    options: Options, rex: TaughtConcept, tmp_path: Path
) -> None:
    own = tmp_path / "regularisation"
    own.mkdir()
    Image.linear_gradient("L").resize((40, 30)).convert("RGB").save(own / "a.png")
    other = replace(rex, prior_dir=own)
    wanted = options(
        spec=C1,
        others=(other,),
        train_token=True,
        steps=4,
        batch_size=1,
        flip=True,
        prior_preservation=True,
        prior_images=2,
        preserve=1.0,
    )
    whole = train(wanted, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(wanted, tmp_path / "parts", events=StopAfter(2))
    assert train(wanted, tmp_path / "parts", resume=True).sha256 == whole.sha256
    one, two = (load_checkpoint(tmp_path / run / "checkpoint.safetensors").losses for run in ("whole", "parts"))
    assert one == two
    record = json.loads((tmp_path / "whole" / "run.json").read_text(encoding="utf-8"))
    assert {"0.png", "rex/0.png"} <= {entry["file"] for entry in record["images"]}
    assert {"class images", "images of --prior-dir"} <= record["cached"].keys()


def test_a_run_goes_on_where_the_images_of_another_concept_have_moved_and_not_with_others(
    options: Options, rex: TaughtConcept, tmp_path: Path
) -> None:
    wanted = options(spec=C1, others=(rex,), steps=2)
    with pytest.raises(Interrupted):
        train(wanted, tmp_path / "run", events=StopAfter(1))
    moved = rex.images.rename(tmp_path / "elsewhere")
    elsewhere = replace(rex, images=moved)
    for wrong in (replace(elsewhere, repeats=3), TaughtConcept(concept=Concept("rex", "cat"), images=moved)):
        with pytest.raises(UsageError, match="others was"):
            train(replace(wanted, others=(wrong,)), tmp_path / "run", resume=True, explicit=frozenset({"others"}))
    (moved / "1.txt").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match=r"the caption of rex/1\.png was"):
        train(replace(wanted, others=(elsewhere,)), tmp_path / "run", resume=True, explicit=frozenset({"others"}))
    (moved / "1.txt").write_text("{} beside <castle>", encoding="utf-8")
    assert train(replace(wanted, others=(elsewhere,)), tmp_path / "run").steps == 2


def test_concepts_that_cannot_be_told_apart_are_refused(options: Options, rex: TaughtConcept) -> None:
    with pytest.raises(UsageError, match="castle is given twice"):
        options(others=(TaughtConcept(concept=Concept("castle", "dog", "ohwx")),))
    with pytest.raises(UsageError, match="has the token 'sks', as castle has"):
        options(others=(TaughtConcept(concept=Concept("rex", "dog", "sks")),))
    with pytest.raises(UsageError, match="does not name the concept"):
        options(others=(replace(rex, prompt="a photo of a <castle>"),))
    with pytest.raises(UsageError, match="repeats is for several concepts"):
        options(repeats=2)
    with pytest.raises(UsageError, match="needs prior_preservation"):
        options(others=(replace(rex, prior_prompt="a dog"),))
    with pytest.raises(UsageError, match="token_vectors needs train_token"):
        options(others=(TaughtConcept(concept=Concept("rex", "dog", token_vectors=2)),))


def test_a_folder_that_is_not_there_is_named(options: Options, rex: TaughtConcept, tmp_path: Path) -> None:
    with pytest.raises(AtomtuneError, match="there is no folder"):
        train(options(others=(replace(rex, images=tmp_path / "nowhere"),)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_can_begin_with_a_file_of_the_same_concepts(options: Options, rex: TaughtConcept, tmp_path: Path) -> None:
    wanted = options(spec=C1, others=(rex,), train_token=True, steps=1)
    first = train(wanted, tmp_path / "first")
    train(replace(wanted, init=first.atoms_file, steps=1), tmp_path / "again")
    with pytest.raises(UsageError, match="holds the embedding of 'sks vcu', the run trains 'sks'"):
        train(replace(wanted, others=(), init=first.atoms_file), tmp_path / "one")


GIVEN = [
    ["--concept", "castle", "--concept", "rex=dog"],
    ["castle", "--other-concept", "rex=dog"],
    ["--concept=castle", "--concept=rex=dog"],
    ["--config", "run.toml"],
]
TOML = """
[[concept]]
name = "castle"

[[concept]]
name = "rex"
class_noun = "dog"
"""


@pytest.mark.parametrize("words", GIVEN, ids=lambda words: words[0])
def test_every_way_to_name_two_concepts_is_one(words: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[TrainOptions] = []

    def run(options: TrainOptions, *_: Any, **__: Any) -> None:
        seen.append(options)
        raise UsageError("enough")

    Path("run.toml").write_text(TOML, encoding="utf-8")
    monkeypatch.setattr("atomtune.training.train.train", run)
    assert "enough" in cli("train", *words).err
    (options,) = seen
    assert options.concepts == [Concept("castle"), Concept("rex", "dog")]
    assert [taught.images for taught in options.taught] == [Path("concepts/castle"), Path("concepts/rex")]
    assert TrainOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[concept]]\nname = "a"\n[[concept]]\nclass_noun = "dog"\n', "concept is required"),
        ('[[concept]]\nname = "a"\n[[concept]]\nname = "b"\nsteps = 5\n', "unknown key 'steps'"),
        ('[[concept]]\nname = "a"\nsteps = 5\n', "unknown key 'concept.steps'"),
        ('[[concept]]\nname = "a"\n[[concept]]\nname = "b"\nrepeats = 0\n', "'repeats' must be a whole number"),
        ("concept = []\n", r"as in \[\[concept\]\]"),
        ('concept = ["a", "b"]\n', r"as in \[\[concept\]\]"),
        ('other_concept = "b"\n[[concept]]\nname = "a"\n', "'other_concept' is given twice"),
    ],
)
def test_what_a_file_says_wrong_of_concepts_is_named(text: str, message: str, cli: Cli) -> None:
    Path("run.toml").write_text(text, encoding="utf-8")
    answer = cli("train", "--config", "run.toml")
    assert answer.code == 2
    assert any(re.search(message, line) for line in answer.err.splitlines()), answer.err
