"""Forms come from the options; what is filled in becomes the words of a command line."""

from dataclasses import dataclass
from typing import Any

import pytest

from atomtune.commands.options.signature import given_values
from atomtune.errors import AtomtuneError
from atomtune.evaluation.options import EvaluateOptions
from atomtune.export.options import ExportOptions
from atomtune.publish.options import PublishOptions
from atomtune.runtime.options import OptionError, Options, options_of
from atomtune.sampling.options import SampleOptions
from atomtune.training.options import TrainOptions
from atomtune.ui import orders
from atomtune.ui.estimate import estimate

gradio = pytest.importorskip("gradio", reason="needs the extra ui")
from atomtune.ui.forms import Form, form  # noqa: E402

FORMS: tuple[tuple[type[Options], tuple[str, ...]], ...] = (
    (TrainOptions, ("concept", "class_noun", "images")),
    (SampleOptions, ("prompt", "prompts", "grid")),
    (EvaluateOptions, ("concept",)),
    (ExportOptions, ()),
    (PublishOptions, ()),
)


@dataclass(frozen=True)
class Page:
    """A form inside a page."""

    blocks: Any
    form: Form

    @property
    def values(self) -> list[Any]:
        """What the components begin with."""
        return [component.value for component in self.form.components]


def page(kind: type[Options], without: tuple[str, ...] = (), **starts: Any) -> Page:
    with gradio.Blocks() as blocks:
        made = form(kind, prefix="x", essential=(), without=without, starts=starts)
    return Page(blocks, made)


@pytest.mark.parametrize(("kind", "without"), FORMS, ids=lambda value: getattr(value, "__name__", None))
def test_every_option_has_a_field_with_its_name_and_help(kind: type[Options], without: tuple[str, ...]) -> None:
    made = page(kind, without).form
    wanted = {option.name: option for option in options_of(kind) if option.name not in without}
    assert set(made.fields) == set(wanted)
    for name, (option, component) in made.fields.items():
        assert component.label.lower() == name.replace("_", " ")
        assert component.info[:20] == option.help[:20]
        if option.choices is not None and not option.many:
            assert {value for _, value in component.choices} - {""} == set(option.allowed)


@pytest.mark.parametrize(("kind", "without"), FORMS, ids=lambda value: getattr(value, "__name__", None))
def test_a_form_that_nobody_touched_asks_for_the_defaults(kind: type[Options], without: tuple[str, ...]) -> None:
    shown = page(kind, without)
    assert shown.form.given(shown.values) == {}


def test_what_is_filled_in_is_what_the_command_line_reads() -> None:
    shown = page(TrainOptions, FORMS[0][1], sample_every=50)
    filled = dict(zip(shown.form.fields, shown.values, strict=True))
    filled |= {"steps": 60, "lr": "1e-4", "flip": True, "fixed_scale": "", "sample_prompt": "a <rex>\n\n--x\n"}
    filled |= {"cuda_graph": False, "crop": "random", "rank": "8", "method": "lora", "train_token": True}
    given = shown.form.given(list(filled.values()))
    words = orders.flags(TrainOptions, given | {"concept": "rex"})
    assert "--sample-prompt=--x" in words
    assert {"--flip", "--no-cuda-graph", "--steps=60", "--lr=0.0001", "--sample-every=50", "--rank=8"} <= set(words)
    known = {option.flag: option for option in options_of(TrainOptions)}
    texts: dict[str, Any] = {}
    for word in words:
        flag, equals, value = word.partition("=")
        option = known.get(flag) or known[flag.replace("--no-", "--", 1)]
        said = value if equals else not flag.startswith("--no-")
        texts[option.name] = [*texts.get(option.name, []), said] if option.many else said
    values, problems = given_values(options_of(TrainOptions), texts, None)
    assert problems == []
    assert TrainOptions.from_values(values) == orders.checked(TrainOptions, given | {"concept": "rex"})


def test_all_that_is_wrong_is_said_at_once_in_the_options_words() -> None:
    with pytest.raises(OptionError) as problem:
        orders.checked(TrainOptions, {"concept": "rex", "steps": 0, "lr": "fast", "crop": "round", "nonsense": 1})
    assert "nonsense is no option" in str(problem.value)
    with pytest.raises(OptionError) as problem:
        orders.checked(TrainOptions, {"concept": "rex", "steps": 0, "lr": "fast", "crop": "round"})
    assert [name for name, _ in problem.value.problems] == ["steps", "lr", "crop"]
    assert "not 0" in str(problem.value)


def test_a_concept_is_required() -> None:
    with pytest.raises(OptionError, match="concept is required"):
        orders.checked(TrainOptions, {"concept": "", "steps": 5})


@pytest.mark.parametrize(("preset", "parameters"), [("c1", 49_292), ("c2", 749_522)])
def test_a_preset_says_how_many_numbers_it_trains_and_how_large_the_file_will_be(preset: str, parameters: int) -> None:
    found = estimate(orders.checked(TrainOptions, {"concept": "rex", "preset": preset}))
    assert found.parameters == parameters
    assert 2 * parameters < found.bytes < 2.3 * parameters + 60_000
    assert found.seconds is None
    assert "time unknown" in found.text


def test_uploads_to_the_hub_want_a_yes() -> None:
    with pytest.raises(AtomtuneError, match="nothing was uploaded"):
        orders.publish("rex", None, {"to": "hub", "repository": "org/rex"}, sure=False)
