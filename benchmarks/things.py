"""Images of things that `pocket` never saw, a folder for each: concepts for benchmarks that learn many.

A process of its own (`python -m benchmarks.things DIR --count N`), so that the benchmark's own stays small.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

CLASSES = ("castle", "dog", "robot", "car")


def names(count: int) -> dict[str, str]:
    """The class of things of each concept, by its name: castle00, dog01, …"""
    numbered = ((number, CLASSES[number % len(CLASSES)]) for number in range(count))
    return {f"{noun}{number:02d}": noun for number, noun in numbered}


def main(arguments: Sequence[str] | None = None) -> int:
    """Render the images."""
    from atomtune.pocket.concept import concept_images, new_thing

    parser = argparse.ArgumentParser(prog="benchmarks.things", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, required=True)
    given = parser.parse_args(arguments)
    for number, (name, noun) in enumerate(names(given.count).items()):
        (given.folder / name).mkdir(parents=True)
        for index, one in enumerate(concept_images(noun, new_thing(number))):
            one.image.save(given.folder / name / f"{index}.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
