"""--config: values, types, errors; and the small translations from options to calls."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer

from atomtune.commands.options import Option, read_config
from atomtune.commands.shared import atoms_source, image_size, spec_from
from atomtune.errors import UsageError


def example(
    steps: Annotated[int, typer.Option(min=1, max=9)] = 5,
    lr: Annotated[float | None, typer.Option(min=0.0)] = None,
    output: Annotated[Path | None, typer.Option()] = None,
    flip: Annotated[bool, typer.Option("--flip/--no-flip")] = False,
    preset: Annotated[Literal["c1", "c2"], typer.Option()] = "c1",
    prompt_list: Annotated[list[str] | None, typer.Option("--prompt")] = None,
    class_name: Annotated[str | None, typer.Option()] = None,
) -> None: ...


OPTIONS = {
    option.key: option for option in (Option(parameter) for parameter in inspect.signature(example).parameters.values())
}


def read(folder: Path, text: str) -> dict[str, Any]:
    file = folder / "run.toml"
    file.write_text(text, encoding="utf-8")
    return read_config(file, OPTIONS)


def test_keys_are_the_long_names_of_the_options() -> None:
    assert list(OPTIONS) == ["steps", "lr", "output", "flip", "preset", "prompt", "class_name"]


def test_values_come_by_parameter_name(tmp_path: Path) -> None:
    text = 'steps = 7\nlr = 1\noutput = "a/b"\nflip = true\npreset = "c2"\nprompt = ["x", "y"]\nclass-name = "castle"'
    expected = {
        "steps": 7,
        "lr": 1,
        "output": "a/b",
        "flip": True,
        "preset": "c2",
        "prompt_list": ["x", "y"],
        "class_name": "castle",
    }
    assert read(tmp_path, text) == expected
    assert read(tmp_path, 'prompt = "x"') == {"prompt_list": ["x"]}
    assert read(tmp_path, "") == {}
    assert read(tmp_path, "\ufeffsteps = 7\r\n") == {"steps": 7}  # as editors of Windows write it


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('steps = "many"', """'steps' must be a whole number, not "many\""""),
        ("steps = 1.5", "'steps' must be a whole number, not 1.5"),
        ("steps = true", "'steps' must be a whole number, not true"),
        ("steps = 0", "'steps' must be at least 1 and at most 9, not 0"),
        ("lr = -1.0", "'lr' must be at least 0.0, not -1.0"),
        ('lr = "1e-3"', """'lr' must be a number, not "1e-3\""""),
        ("output = 3", "'output' must be a path in quotes, not 3"),
        ("flip = 1", "'flip' must be true or false, not 1"),
        ('preset = "c9"', """'preset' must be one of "c1", "c2", not "c9\""""),
        ("prompt = 3", "'prompt' must be text in quotes or a list of them, not 3"),
        ('prompt = ["x", 3]', "'prompt' must be text in quotes or a list of them, not ['x', 3]"),
        ("stpes = 3", "unknown key 'stpes' (did you mean 'steps'?)"),
        ("zzz = 3", "unknown key 'zzz'"),
        ("[train]\nsteps = 3", "unknown key 'train'"),
        ('class_name = "a"\nclass-name = "b"', "'class-name' is given twice"),
        ("steps = = 3", "is not valid TOML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert said in caught.value.message
    assert "\n" not in caught.value.message


def test_all_errors_are_listed_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, 'steps = "many"\nflip = 3\nzzz = 1\nlr = 0.1')
    assert len(caught.value.message.splitlines()) == 3
    assert caught.value.hint is not None
    assert "class_name" in caught.value.hint


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_config(tmp_path / "none.toml", OPTIONS)


def test_a_config_gives_defaults_and_the_command_line_wins(cli: Callable[..., Any]) -> None:
    Path("run.toml").write_text('concept = "castle"\npreset = "c1"\nlayers = "conv"\n', encoding="utf-8")
    assert cli("train", "--dry-run", "--config", "run.toml").out.startswith("custom on CompVis/stable-diffusion-v1-4")
    both = cli("train", "--dry-run", "--config", "run.toml", "--layers", "all")
    assert "total" in both.out
    assert both.out.startswith("c1 on CompVis/stable-diffusion-v1-4 would train 24,888 parameters")


def test_errors_of_a_config_all_show_on_the_command_line(cli: Callable[..., Any]) -> None:
    Path("run.toml").write_text('stpes = 3\nlr = "fast"\nresolution = 4\n', encoding="utf-8")
    answer = cli("train", "--config", "run.toml")
    assert answer.code == 2
    *errors, hint = answer.err.splitlines()
    assert [error.split(": ", 2)[2].split()[-1] for error in errors] == ["'steps'?)", '"fast"', "4"]
    assert hint.startswith("Hint: the keys are alpha, atoms, batch_size")


@pytest.mark.parametrize(
    ("text", "file", "scale"),
    [
        ("a.safetensors", "a.safetensors", 1.0),
        ("a.safetensors:0.5", "a.safetensors", 0.5),
        ("C:/a.safetensors", "C:/a.safetensors", 1.0),
        ("C:/a.safetensors:-1", "C:/a.safetensors", -1.0),
        ("a:b", "a:b", 1.0),
    ],
)
def test_atoms_files_may_name_their_strength(text: str, file: str, scale: float) -> None:
    assert atoms_source(text) == (Path(file), scale)


def test_a_file_whose_name_ends_like_a_strength_is_that_file(tmp_path: Path) -> None:
    file = tmp_path / "a:2"
    file.touch()
    assert atoms_source(str(file)) == (file, 1.0)
    assert atoms_source(f"{file}:3") == (file, 3.0)


def test_sizes_are_one_number_or_two() -> None:
    assert image_size("512") == (512, 512)
    assert image_size("768x512") == (768, 512)
    for text in ("", "x", "1x2x3", "-8", "8.5", "8 x 8"):
        with pytest.raises(UsageError):
            image_size(text)


def test_fields_change_a_preset() -> None:
    from atomtune.methods.specs import PRESETS

    assert spec_from("c3") == PRESETS["c3"]
    changed = spec_from("c3", atoms=5, layers=None)
    assert (changed.atoms, changed.overcomplete, changed.layers) == (5, 3, "all")
