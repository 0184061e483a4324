"""Every option of kohya's and diffusers' training scripts is understood, or answered with what to say instead."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomtune.commands.app import COMMANDS
from atomtune.commands.options.command import Names
from atomtune.commands.options.other_trainers import INSTEAD, instead
from atomtune.commands.options.signature import option_classes
from atomtune.commands.train import train
from atomtune.errors import UsageError
from atomtune.runtime.options import options_of
from other_trainers import DIFFUSERS, KOHYA

Cli = Callable[..., Any]

FLAGS = {
    option.flag for command in COMMANDS for kind in option_classes(command).values() for option in options_of(kind)
}


@pytest.mark.parametrize("names", [KOHYA, DIFFUSERS], ids=["kohya", "diffusers"])
def test_every_option_of_their_scripts_is_one_of_ours_or_answered(names: str) -> None:
    assert len(names.split()) > 100
    ours = Names.of(train)
    for name in names.split():
        for written in (f"--{name}", f"--{name.replace('_', '-')}"):
            if name in INSTEAD:
                with pytest.raises(UsageError, match=f"^there is no option {written}$") as refused:
                    ours.ours(f"{written}=1", pytest.fail)
                assert refused.value.hint == instead(name)
            else:
                assert ours.ours(f"{written}=1", pytest.fail).partition("=")[0] in ours.flags, written


def test_answers_name_options_that_there_are() -> None:
    for name, answer in INSTEAD.items():
        flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", answer))
        assert flags <= {*FLAGS, "--config"}, name
        commands = set(re.findall(r"atomtune (\w+)", answer)) - {"needs", "train"}
        assert commands <= {command.__name__ for command in COMMANDS}, name


def test_a_file_of_another_trainer_is_answered_key_by_key(cli: Cli) -> None:
    Path("kohya.toml").write_text(
        'concept = "rex"\ntrain_data_dir = "photos"\nlearning_rate = 1e-4\nflip_aug = true\nclip_skip = 2\n',
        encoding="utf-8",
    )
    answer = cli("train", "--config", "kohya.toml")
    assert answer.code == 2
    assert "there is no key 'train_data_dir': here it is --images DIR" in answer.err
    assert "there is no key 'clip_skip': leave it out: there is nothing of the kind here" in answer.err
    assert len([line for line in answer.err.splitlines() if line.startswith("Error:")]) == 2
