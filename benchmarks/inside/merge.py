"""Merging a concept into the UNet of a loaded pipeline: our atoms file, and a LoRA on the same layers by peft."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from atomtune.models.base_model import load_pipeline, resolve
from atomtune.runtime.progress import Events
from atomtune.sampling.apply import changes_of, merge_atoms
from atomtune.sampling.changes import read_atoms

from . import clock
from .concepts import RANK, write_atoms, write_lora


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print it."""
    given = clock.parser("benchmarks.inside.merge", __doc__).parse_args(arguments)
    device, source = given.device, resolve(given.model)

    def load() -> Any:
        return load_pipeline(source).to(device)

    pipeline = load()
    with tempfile.TemporaryDirectory() as place:
        (atoms,) = write_atoms(Path(place), pipeline.unet, ["one"])
        (lora,) = write_lora(Path(place), pipeline.unet, ["lora"])
        size = {
            path: sum(file.stat().st_size for file in (path, *path.glob("*")) if file.is_file())
            for path in (atoms, lora)
        }
        changing, _ = clock.timed(lambda: _computed(pipeline, atoms), device)
        ours, _ = clock.timed(lambda: merge_atoms(pipeline, read_atoms([(atoms, 1.0)]), Events()), device)
        theirs, _ = clock.timed(lambda: PeftModel.from_pretrained(pipeline.unet, str(lora)).merge_and_unload(), device)
        if given.profile is not None:
            clock.trace(
                lambda: merge_atoms(pipeline, read_atoms([(atoms, 1.0)]), Events()),
                device,
                given.profile / "merge.json",
            )
    pipeline = None
    again, _ = clock.timed(load, device)
    return clock.give(
        {
            "device": str(device),
            "threads": torch.get_num_threads(),
            "rows": [
                clock.row("load an atoms file, encode, merge", ours, _sized(size[atoms]), against=["peft", "reload"]),
                clock.row("of it: load, encode, the changes of the weights", changing),
                clock.row(
                    f"load a LoRA of rank {RANK} on the same layers and merge it, peft",
                    theirs,
                    _sized(size[lora]),
                    key="peft",
                ),
                clock.row("load the pipeline again", again, key="reload"),
            ],
        }
    )


def _computed(pipeline: Any, atoms: Path) -> None:
    """Compute every change of the weights and drop it."""
    for found in changes_of(pipeline, read_atoms([(atoms, 1.0)])[0], Events()).values():
        for name in found.deltas:
            found.deltas[name]


def _sized(size: int) -> str:
    return f"file of {size / 1e6:.1f} MB"


if __name__ == "__main__":
    raise SystemExit(main())
