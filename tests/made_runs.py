"""Runs of a comparison with figures made by hand."""

from pathlib import Path
from typing import Any

from atomtune.compare.runs import Trained
from atomtune.compare.scoring import Score
from atomtune.compare.table import Run
from atomtune.compare.variants import Variant
from atomtune.evaluation.measure import Measures
from atomtune.sampling.generate import GeneratedImage


def made_run(concept: str, seed: int, variant: Variant, fidelity: float, lr: float = 1e-3, **changes: Any) -> Run:
    """A run that scored `fidelity`; keyword arguments change the rest."""
    given = {"diversity": 3.0, "alignment": 0.25, "drift": 0.1, "scenes": None, "gpu": None, "base": 0.4, "worth": 0.5}
    given |= changes
    measures = Measures(
        8, 4, fidelity=fidelity, diversity=given["diversity"], alignment=given["alignment"], drift=given["drift"]
    )
    base = Measures(8, 4, fidelity=given["base"], diversity=4.0, alignment=0.3, drift=0.0)
    images = [GeneratedImage(Path("a.png"), "a castle", 0)]
    score = Score(
        measures=measures,
        base=base,
        real=0.9,
        worth=given["worth"],
        scenes_right=given["scenes"],
        base_scenes_right=None,
        images=images,
        base_images=images,
        encoders={"fidelity": "x", "diversity": "x", "alignment": "y"},
        preprocessing="z",
    )
    trained = Trained("base", "sha", 1000, 2500, 3, 10.0 + seed, 0.1, 2_000_000 + seed, given["gpu"])
    return Run(concept, seed, variant, lr, trained, score)
