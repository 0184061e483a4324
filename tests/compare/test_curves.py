"""Curves over the scale: the area under them, and how they are measured, kept and drawn."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from atomtune.compare.compare import compare
from atomtune.compare.curves import SCALES, Point, areas, missing_scales, parse_scales
from atomtune.compare.options import CompareOptions, jobs_of
from atomtune.compare.report import FIGURES_FILE, PAGE, write_comparison
from atomtune.compare.runs import CURVE
from atomtune.compare.subprocess_training import Order, train_here
from atomtune.compare.variants import parse_variants
from atomtune.errors import AtomtuneError, UsageError
from atomtune.evaluation import image_sets
from atomtune.evaluation.measure import Measures
from atomtune.runtime.progress import Events


def curve(*points: tuple[float, float]) -> list[Point]:
    """Points of (fidelity, alignment), the base model's first; diversity and drift stay."""
    return [
        Point(float(scale), Measures(8, 4, fidelity=x, alignment=y, diversity=3.0, drift=0.0))
        for scale, (x, y) in enumerate(points)
    ]


def test_the_area_is_what_is_kept_at_all_degrees_of_learning() -> None:
    def area(*points: tuple[float, float], real: float | None = 1.0) -> float:
        found = areas(curve(*points), real)["area_alignment"]
        assert found is not None
        return found

    assert area((0.0, 0.5), (1.0, 0.5)) == pytest.approx(1.0, abs=1e-3), "all is learned, and nothing lost"
    assert area((0.0, 0.5), (0.5, 0.5)) == pytest.approx(0.5, abs=1e-3), "half is learned"
    assert area((0.0, 0.5), (0.5, 0.5), (1.0, 0.0)) == pytest.approx(0.75, abs=1e-3)
    assert area((0.2, 0.5), (0.6, 0.5), real=0.6) == pytest.approx(1.0, abs=1e-3), "real images are the end"
    assert area((0.0, 0.5), (0.5, 0.5), (0.2, 0.1)) == pytest.approx(0.5, abs=1e-3), "what comes after is no loss"
    assert area((0.0, 0.5), (-0.5, 0.5)) == 0.0
    assert area((0.0, 0.5), (1.0, 5.0)) == pytest.approx(1.0, abs=1e-3), "more than the base model has counts as all"
    learns_little, learns_much = area((0.0, 0.5), (0.1, 0.5)), area((0.0, 0.5), (0.1, 0.45), (0.8, 0.4))
    assert learns_much > learns_little, "a method that learned less is not praised for keeping more"


def test_areas_of_what_is_not_known() -> None:
    assert areas([], 1.0) == {}
    found = areas([Point(0.0, Measures(8, 4, fidelity=0.1)), Point(1.0, Measures(8, 4, fidelity=0.5))], None)
    assert found == {"area_alignment": None, "area_diversity": None, "area_drift": None}
    moved = [Measures(8, 4, fidelity=x, diversity=3.0 - x, drift=0.4 * x) for x in (0.0, 1.0)]
    found = areas([Point(float(scale), one) for scale, one in enumerate(moved)], 1.0)
    assert found["area_diversity"] == pytest.approx(0.75, abs=1e-3), "counted from the one image that has no variety"
    assert found["area_drift"] == pytest.approx(0.8, abs=1e-3)


def test_scales_in_a_text() -> None:
    assert parse_scales("") == ()
    assert parse_scales("1.5, 0.5,1,0,0.50") == (0.5, 1.5)
    assert parse_scales(",".join(map(str, SCALES))) == SCALES
    for text in ("-1", "x", "nan", "5", "0.5;1"):
        with pytest.raises(UsageError, match="--scales takes numbers from 0 to 4") as caught:
            parse_scales(text)
        assert caught.value.hint


@pytest.fixture
def options(made: Callable[..., CompareOptions], tmp_path: Path) -> CompareOptions:
    return made(tmp_path, seeds=(0,), variants=parse_variants(["bitfit"]), scales=(0.5, 1.5))


def refuse(order: Order, events: Events) -> None:
    raise AssertionError(f"{order.output} is trained again")


def test_every_run_has_a_curve_that_goes_on(options: CompareOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = compare(options, trainer=train_here).runs
    assert [point.scale for point in run.curve] == [0.0, 0.5, 1.0, 1.5]
    assert (run.curve[0].measures, run.curve[2].measures) == (run.score.base, run.score.measures)
    drifts = [point.measures.drift or 0.0 for point in run.curve]
    assert drifts[0] == pytest.approx(0.0, abs=1e-6)
    assert len(set(drifts)) == 4
    assert set(run.areas) == {"area_alignment", "area_diversity", "area_drift"}
    figures = write_comparison(compare(options, trainer=refuse))
    page = (options.output / PAGE).read_text(encoding="utf-8")
    assert page.count("<svg") == 5
    assert "area drift" in page
    stored = json.loads((options.output / FIGURES_FILE).read_text(encoding="utf-8"))
    assert stored["runs"][0]["curve"] == figures["runs"][0]["curve"]
    assert [point["scale"] for point in stored["runs"][0]["curve"]] == [0.0, 0.5, 1.0, 1.5]
    assert stored["variants"][0]["area_drift"]["mean"] == run.areas["area_drift"]

    asked: list[Sequence[float]] = []
    generate = image_sets.EvaluationImages.generate_at
    monkeypatch.setattr(
        image_sets.EvaluationImages, "generate_at", lambda self, scales: asked.append(scales) or generate(self, scales)
    )
    (more,) = compare(replace(options, scales=(0.5, 1.25, 1.5)), trainer=refuse).runs
    assert asked == [[1.25]], "only what is missing is measured"
    assert [point for point in more.curve if point.scale != 1.25] == list(run.curve)
    job_folder = options.output / "castle" / "seed-0" / "bitfit"
    (job_folder / CURVE).write_text("{", encoding="utf-8")
    (job,) = jobs_of(options)
    options = replace(
        options,
        training=replace(options.training, precision="fp32"),
        scoring=replace(options.scoring, precision="fp32"),
    )
    assert missing_scales(job, run.trained, options) == missing_scales(job, None, options) == [0.5, 1.5]
    assert compare(options, trainer=refuse).runs[0].curve == run.curve, "what is damaged is measured anew"
    assert missing_scales(job, run.trained, options) == []
    assert not compare(replace(options, scales=()), trainer=refuse).runs[0].curve


def test_a_scale_that_cannot_be_measured_costs_the_curve_alone(
    options: CompareOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise AtomtuneError("the images are not finite")

    class Heard(Events):
        def __init__(self) -> None:
            self.warnings: list[str] = []

        def warn(self, text: str) -> None:
            self.warnings.append(text)

    heard = Heard()
    monkeypatch.setattr(image_sets.EvaluationImages, "generate_at", broken)
    result = compare(options, trainer=train_here, events=heard)
    assert not result.failures
    assert result.runs[0].curve == ()
    assert [text for text in heard.warnings if "has no curve: the images are not finite" in text]
    assert "area_drift" not in write_comparison(result)["variants"][0]
