"""Images over HTTP: `atomtune serve` under load, beside pipelines of diffusers that change the concept.

    python -m benchmarks.serve [--requests 200] [--concepts 20] [--clients 16] [--sample-steps 20] [--json FILE]
                               [--work DIR] [--keep]

Has `pocket` learn some concepts, starts the server with a cache that holds --kept of them, and has clients ask for
images in a random order, each as soon as it has its last answer. Some requests ask for more than the server allows,
and are to be refused. Then, in processes of their own: `sample` generates the same images, which must be the same
files; and diffusers alone generates the first --peer-requests of them, with a model on disk for each concept that is
loaded whenever the concept changes, and with LoRAs that are loaded into one pipeline.

The exit code is 1 where an answer is not what it should be, where the cache or the memory of the server grows beyond
its bounds, or where the server generates fewer images in a second than a peer.
"""

import argparse
import json
import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from .measure import measured
from .processes import (
    Failed,
    Runner,
    add_place,
    checked,
    environment,
    lines,
    module,
    setting,
    setting_line,
    working,
    write_figures,
)
from .serve_load import Answer, Server, ask_all
from .things import names

NEEDED = 3_000_000_000
"""Bytes of disk."""
SCENES = ("in the snow", "on the beach", "in a forest", "on a table", "at night")
REFUSED = 422
GROWTH = 1.1
"""Of the server's memory from a quarter of the requests, when the cache is full, to the last one."""


def requests_of(concepts: Sequence[str], count: int, steps: int) -> list[dict[str, Any]]:
    """The requests, the same in each run: concepts by turns and then in a random order."""
    found = []
    for number in range(count):
        name = concepts[number % len(concepts)]
        turn = number // len(concepts)
        found.append(
            {
                "prompt": f"a <{name}> {SCENES[turn % len(SCENES)]}",
                "concepts": [{"name": name}],
                "seed": turn // len(SCENES),
                "steps": steps,
            }
        )
    random.Random(0).shuffle(found)
    return found


def bad_requests(wanted: Sequence[dict[str, Any]], most_steps: int) -> list[dict[str, Any]]:
    """Requests that the server is to refuse: too many steps, too large an image, a concept that is not there."""
    one = wanted[0]
    changes = ({"steps": most_steps + 1}, {"width": 4096, "height": 4096}, {"concepts": [{"name": "nobody"}]})
    return [one | change for change in changes]


def served(folder: Path, given: argparse.Namespace, wanted: list[dict[str, Any]]) -> dict[str, Any]:
    """What the server did; its images are kept by their numbers in answers/."""
    around = environment(folder)
    words = ("serve", "--model", given.model, "--runs", "runs", "--device", "cpu", "--port", "0", "--json")
    with Server(module("cli", *words), folder, around) as server:
        server.ask(wanted[0])
        set_bytes = server.figures()["atomtune_cache_bytes"]
    bound = int(given.kept * set_bytes)
    (folder / "answers").mkdir()
    bad = bad_requests(wanted, most_steps=100)
    # so that bad ones come among the others
    order = [*enumerate(wanted), *((None, request) for request in bad)]
    random.Random(1).shuffle(order)
    with Server(module("cli", *words, "--cache", str(bound / 1e9)), folder, around) as server:
        with server.watched() as watch:
            answers, seconds = ask_all(server, [request for _, request in order], given.clients)
        alone = [server.ask(request).seconds for request in wanted[: given.clients]]
        figures = server.figures()
        peak = server.peak_bytes()
    good: list[Answer] = []
    wrong = 0
    for (number, _), answer in zip(order, answers, strict=True):
        if number is None:
            wrong += answer.status != REFUSED
        else:
            wrong += answer.status != 200
            good.append(answer)
            (folder / "answers" / f"{number}.png").write_bytes(answer.body)
    quarter = [memory for done, memory in watch.memory if done >= len(order) // 4]
    return {
        "images": len(good),
        "refused": len(bad),
        "wrong_answers": wrong,
        "seconds": seconds,
        "images_per_second": len(good) / seconds,
        "p50": percentile([answer.seconds for answer in good], 0.5),
        "p95": percentile([answer.seconds for answer in good], 0.95),
        "alone_p50": median(alone),
        "cache_bound": bound,
        "cache_most": max(watch.cache, default=0),
        "cache_hits": figures["atomtune_cache_hits"],
        "cache_misses": figures["atomtune_cache_misses"],
        "memory_at_quarter": quarter[0] if quarter else 0,
        "memory_at_end": watch.memory[-1][1] if watch.memory else 0,
        "peak_bytes": peak,
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of them do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def figures_of(folder: Path, given: argparse.Namespace, run: Runner) -> dict[str, Any]:
    """What was measured of the server and its peers."""
    around = environment(folder)

    def inside(what: str, *words: str) -> Any:
        done = checked(
            what, run(module("benchmarks.inside.serve", what, "--model", given.model, *words), folder, around)
        )
        return json.loads(done.out)

    concepts = names(given.concepts)
    checked("things", run(module("benchmarks.things", "concepts", "--count", str(given.concepts)), folder, around))
    inside("learn", "--steps", str(given.train_steps))
    wanted = requests_of(list(concepts), given.requests, given.sample_steps)
    (folder / "requests.json").write_text(json.dumps(wanted), encoding="utf-8")
    ours = served(folder, given, wanted)
    compared = inside("compare")
    inside("export")
    peers = {way: inside(way, "--requests", str(given.peer_requests)) for way in ("reload", "lora")}
    return {"serve": ours, **compared, "peers": peers}


def table(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    ours, peers = figures["serve"], figures["peers"]
    rate = ours["images_per_second"]

    def row(what: str, speed: float, p50: float, p95: float) -> list[str]:
        return [what, f"{speed:.2f}", f"{p50:.2f}", f"{p95:.2f}", f"{rate / speed:.2f}"]

    return lines(
        ["", "images in a second", "p50, s", "p95, s", "server's speed / this one's"],
        [
            row(f"`atomtune serve`, {figures['clients']} clients at once", rate, ours["p50"], ours["p95"]),
            *(row(peer["what"], peer["images_per_second"], peer["p50"], peer["p95"]) for peer in peers.values()),
        ],
    )


def verdicts(figures: dict[str, Any]) -> list[tuple[str, bool]]:
    """What should hold, and whether it does."""
    ours = figures["serve"]
    slowest = min(ours["images_per_second"] / peer["images_per_second"] for peer in figures["peers"].values())
    grown = ours["memory_at_end"] / max(1, ours["memory_at_quarter"])
    return [
        (f"{ours['wrong_answers']} of {ours['images'] + ours['refused']} answers wrong", ours["wrong_answers"] == 0),
        (f"{figures['equal']} of {ours['images']} images equal to sample's", figures["equal"] == ours["images"]),
        (
            f"cache {ours['cache_most'] / 1e6:.1f} of {ours['cache_bound'] / 1e6:.1f} MB",
            ours["cache_most"] <= ours["cache_bound"],
        ),
        (f"memory at the end {grown:.2f} of that at a quarter", grown <= GROWTH),
        (f"{slowest:.2f} times the speed of the quickest peer", slowest >= 1),
    ]


def main(arguments: Sequence[str] | None = None, run: Runner = measured) -> int:
    """Measure, print, and say by the exit code whether all holds; 2 where a process fails."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    numbers = {
        "requests": (200, "for images"),
        "concepts": (20, "that they are for"),
        "clients": (16, "that ask at once"),
        "sample-steps": (20, "denoising steps of an image"),
        "train-steps": (20, "that each concept is learned for"),
        "kept": (8, "concepts that the cache has room for"),
        "peer-requests": (40, "that the peers answer"),
    }
    for name, (default, about) in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{about} (default: %(default)s)")
    parser.add_argument("--model", default="pocket", help="default: %(default)s")
    add_place(parser)
    given = parser.parse_args(arguments)
    try:
        with working("serve-", given.work, NEEDED, given.keep) as folder:
            found = figures_of(folder, given, run)
    except Failed as problem:
        print(problem, file=sys.stderr)
        return 2
    asked = {name.replace("-", "_"): getattr(given, name.replace("-", "_")) for name in numbers}
    figures = {**setting(), **asked, **found}
    judged = verdicts(figures)
    ours = figures["serve"]
    print(f"{setting_line(figures)}, {given.sample_steps} steps an image\n\n{table(figures)}\n")
    print(
        f"One client at a time: p50 {ours['alone_p50']:.2f} s. Cache: {ours['cache_hits']:.0f} hits, "
        f"{ours['cache_misses']:.0f} misses. Peak memory of the server: {ours['peak_bytes'] / 1e9:.2f} GB.\n"
    )
    print(lines(["", ""], [[what, "holds" if holds else "**misses**"] for what, holds in judged]))
    write_figures(given.json, figures | {"holds": all(holds for _, holds in judged)})
    return 0 if all(holds for _, holds in judged) else 1


if __name__ == "__main__":
    raise SystemExit(main())
