"""What can be scored: refusals before anything is drawn or loaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from atomtune.training.resources import MOST_KEPT
from made import made_atoms

Cli = Callable[..., Any]


def run(tiny_model: Path, steps: int, **changes: Any) -> None:
    """The folder of a run that was trained for some steps."""
    made_atoms(Path("runs/castle/atoms.safetensors"), tiny_model, steps=steps, **changes)


def test_checkpoints_that_were_never_kept(cli: Cli, tiny_model: Path) -> None:
    run(tiny_model, 4)
    answer = cli("evaluate", "--concept", "castle", "--checkpoints")
    assert answer.code == 2
    assert "runs/castle keeps no checkpoint before the last step, 4, so there is nothing to choose from" in answer.err
    assert "--checkpoint-every" in answer.err


def test_the_last_step_alone_is_no_choice(cli: Cli, tiny_model: Path) -> None:
    run(tiny_model, 4)
    made_atoms(Path("runs/castle/steps/step-000004.safetensors"), tiny_model, steps=4)
    answer = cli("evaluate", "--concept", "castle", "--checkpoints")
    assert answer.code == 2
    assert "nothing to choose from" in answer.err
    # with an earlier one the evaluation goes on, to find that the run has no record
    made_atoms(Path("runs/castle/steps/step-000002.safetensors"), tiny_model, steps=2)
    assert "nothing to choose from" not in cli("evaluate", "--concept", "castle", "--checkpoints").err


def test_runs_too_large_for_checkpoints_say_why(cli: Cli, tiny_model: Path) -> None:
    run(tiny_model, 4, parameters=MOST_KEPT + 1)
    answer = cli("evaluate", "--concept", "castle", "--checkpoints")
    assert answer.code == 2
    assert f"{MOST_KEPT + 1:,} numbers were trained" in answer.err
    assert f"kept up to {MOST_KEPT:,}" in answer.err
    assert "--checkpoint-every" not in answer.err
