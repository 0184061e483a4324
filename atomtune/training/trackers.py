"""TensorBoard and Weights & Biases, through accelerate."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def start_tracker(
    accelerator: Any, tracker: str, name: str, folder: Path, options: Mapping[str, Any], first_step: int
) -> None:
    """Begin to log a run: TensorBoard's files go to folder/tensorboard, W&B's to folder/wandb in the project atomtune.

    Args:
        accelerator: made with `log_with=tracker` and `project_dir=folder`.
        name: what W&B calls the run.
        options: shown beside it; only numbers, text and truth values are kept as they are.
        first_step: the first step that will be logged; TensorBoard forgets what it has of later ones.
    """
    plain = {key: value if isinstance(value, int | float | str) else str(value) for key, value in options.items()}
    settings = {
        "tensorboard": {"purge_step": first_step},
        "wandb": {"name": name, "dir": str(folder)},
    }
    # accelerate makes of the project's name a folder for TensorBoard, and the project for W&B
    project = "tensorboard" if tracker == "tensorboard" else "atomtune"
    accelerator.init_trackers(project, config=plain, init_kwargs={tracker: settings[tracker]})
