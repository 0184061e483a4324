"""One concept for another on a loaded pipeline: our atoms, peft's LoRA on the same layers, the pipeline anew."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from atomtune.models.base_model import load_pipeline, resolve
from atomtune.runtime.progress import Events
from atomtune.sampling.apply import applied, applied_at
from atomtune.sampling.changes import read_atoms

from . import clock
from .concepts import RANK, write_atoms, write_lora

CONCEPTS = ["one", "other"]


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print it."""
    options = clock.parser("benchmarks.inside.swap", __doc__)
    options.add_argument("--times", type=int, default=3)
    given = options.parse_args(arguments)
    device, source = given.device, resolve(given.model)

    def load() -> Any:
        return load_pipeline(source).to(device)

    pipeline = load()
    with tempfile.TemporaryDirectory() as place:
        files = read_atoms([(path, 1.0) for path in write_atoms(Path(place), pipeline.unet, CONCEPTS)])

        def put_on() -> None:
            with applied(pipeline, files[1:], Events()):
                pass

        from_file = clock.median(put_on, device, given.times)
        with applied_at(pipeline, files[0], Events()) as at:

            def put_on_prepared() -> None:
                with at(1.0):
                    pass

            prepared = clock.median(put_on_prepared, device, given.times)
            if given.profile is not None:
                clock.trace(put_on_prepared, device, given.profile / "swap.json")
        loras = write_lora(Path(place), pipeline.unet, CONCEPTS)
        model: Any = PeftModel.from_pretrained(pipeline.unet, str(loras[0]), adapter_name=CONCEPTS[0])
        model.load_adapter(str(loras[1]), adapter_name=CONCEPTS[1])
    model.merge_adapter(CONCEPTS[:1])

    def exchange() -> None:
        model.unmerge_adapter()
        model.merge_adapter(CONCEPTS[1:])

    theirs = clock.median(exchange, device, given.times)
    model = pipeline = None
    again, _ = clock.timed(load, device)
    return clock.give(
        {
            "device": str(device),
            "threads": torch.get_num_threads(),
            "rows": [
                clock.row("swap for a concept worn before, its changes at hand", prepared, against=["peft", "reload"]),
                clock.row("swap for a concept whose file has been read", from_file, against=["peft", "reload"]),
                clock.row(f"unmerge one LoRA of rank {RANK}, merge another, both loaded, peft", theirs, key="peft"),
                clock.row("load the pipeline again", again, key="reload"),
            ],
        }
    )


if __name__ == "__main__":
    raise SystemExit(main())
