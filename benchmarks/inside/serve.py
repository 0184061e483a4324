"""What `benchmarks.serve` needs: concepts, the images of `sample`, and the same by diffusers alone."""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging

from atomtune.data.concept import Concept, expand
from atomtune.export.export import export
from atomtune.export.options import ExportOptions
from atomtune.export.result import WorseThanPromisedError
from atomtune.files.run_result import result_in
from atomtune.fleet.options import DONE, FleetJob
from atomtune.fleet.worker import FleetWorker
from atomtune.models.base_model import resolve
from atomtune.sampling.changes import read_atoms
from atomtune.sampling.options import SampleOptions, Settings
from atomtune.sampling.sample import sample
from atomtune.training.options import TrainOptions
from benchmarks.things import names

RUNS, REQUESTS, ANSWERS = Path("runs"), Path("requests.json"), Path("answers")
RANK = 8
"""Of the LoRAs."""
GUIDANCE = Settings().guidance_scale


def learn(model: str, steps: int) -> dict[str, Any]:
    """Learn every concept of concepts/."""
    folders = sorted(path for path in Path("concepts").iterdir())
    worker = FleetWorker(str(RUNS), lambda *_: None)
    nouns = names(len(folders))
    for folder in folders:
        concept = Concept(folder.name, nouns[folder.name])
        options = TrainOptions(concept=concept, images=folder, model=model, steps=steps, device="cpu")
        row = worker.learn(FleetJob(options))
        if row.state != DONE:
            raise SystemExit(f"{row.name}: {row.error}")
    return {"learned": len(folders)}


def compare(model: str) -> dict[str, Any]:
    """Generate what the server was asked for with `sample`; how many files are the same."""
    requests = list(enumerate(json.loads(REQUESTS.read_text(encoding="utf-8"))))
    requests.sort(key=lambda item: (_name(item[1]), item[1]["seed"]))
    equal = 0
    for (name, seed), group in groupby(requests, key=lambda item: (_name(item[1]), item[1]["seed"])):
        some = list(group)
        options = SampleOptions(
            atoms=((result_in(RUNS / name), 1.0),),
            prompts=tuple(request["prompt"] for _, request in some),
            model=model,
            seed=seed,
            settings=Settings(steps=some[0][1]["steps"]),
            device="cpu",
        )
        images, _ = sample(options, Path("sampled") / f"{name}-{seed}")
        answers = [ANSWERS / f"{number}.png" for number, _ in some]
        pairs = zip(images, answers, strict=True)
        equal += sum(image.path.read_bytes() == answer.read_bytes() for image, answer in pairs)
    return {"equal": equal}


def export_all(model: str) -> dict[str, Any]:
    """Write each concept as a diffusers folder, and as a LoRA for diffusers."""
    for run in sorted(RUNS.glob("*/")):
        atoms = [(result_in(run), 1.0)]
        export(atoms, Path("models") / run.name, ExportOptions(to="diffusers", model=model, precision="fp32"))
        options = ExportOptions(to="lora-diffusers", model=model, rank=RANK, weighted=False, preview=False)
        with suppress(WorseThanPromisedError):  # what it shows is not looked at, only how long it takes
            export(atoms, Path("loras") / f"{run.name}.safetensors", options)
    return {"exported": len(list(RUNS.glob("*/")))}


def reload(model: str, count: int) -> dict[str, Any]:
    """Answer requests with a model on disk for each concept."""
    held: tuple[str, Any] = ("", None)

    def pipeline_for(name: str) -> Any:
        nonlocal held
        if held[0] != name:
            held = "", None
            held = name, _pipeline(Path("models") / name)
        return held[1]

    return _answered("diffusers, the model of the concept loaded when it changes", pipeline_for, count)


def lora(model: str, count: int) -> dict[str, Any]:
    """Answer requests with one pipeline and a LoRA for each concept."""
    pipeline = _pipeline(Path(resolve(model).location))
    worn = ""

    def pipeline_for(name: str) -> Any:
        nonlocal worn
        if worn != name:
            if worn:
                pipeline.unload_lora_weights()
            pipeline.load_lora_weights("loras", weight_name=f"{name}.safetensors")
            worn = name
        return pipeline

    return _answered(
        f"diffusers, one pipeline and LoRAs of rank {RANK}, loaded when the concept changes", pipeline_for, count
    )


def _answered(what: str, pipeline_for: Callable[[str], Any], count: int) -> dict[str, Any]:
    seconds = list(_times(pipeline_for, count))
    ordered = sorted(seconds)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    rate = len(seconds) / sum(seconds)
    return {"what": what, "images_per_second": rate, "p50": statistics.median(seconds), "p95": p95}


def _times(pipeline_for: Callable[[str], Any], count: int) -> Iterator[float]:
    for request in json.loads(REQUESTS.read_text(encoding="utf-8"))[:count]:
        name = _name(request)
        (item,) = read_atoms([(result_in(RUNS / name), 1.0)])
        prompt = expand(request["prompt"], [item.concept])
        began = time.perf_counter()
        pipeline_for(name)(
            prompt,
            num_inference_steps=request["steps"],
            guidance_scale=GUIDANCE,
            generator=torch.Generator().manual_seed(request["seed"]),
        )
        yield time.perf_counter() - began


def _pipeline(place: Path) -> Any:
    pipeline = DiffusionPipeline.from_pretrained(place, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _name(request: Any) -> str:
    return str(request["concepts"][0]["name"])


def main(arguments: list[str] | None = None) -> int:
    """Do one of these, and print what came of it."""
    parser = argparse.ArgumentParser(prog="benchmarks.inside.serve", description=__doc__)
    parser.add_argument("what", choices=("learn", "compare", "export", "reload", "lora"))
    parser.add_argument("--model", required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--requests", type=int, default=40)
    given = parser.parse_args(arguments)
    diffusers_logging.disable_progress_bar()
    found = {
        "learn": lambda: learn(given.model, given.steps),
        "compare": lambda: compare(given.model),
        "export": lambda: export_all(given.model),
        "reload": lambda: reload(given.model, given.requests),
        "lora": lambda: lora(given.model, given.requests),
    }[given.what]()
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
