"""Means, spreads and differences against figures made by hand."""

import csv
import io

import pytest

from atomtune.compare.table import Mean, differences, flat, lines, markdown, mean_and_spread, reference, run_row
from atomtune.compare.variants import parse_variant
from atomtune.report.csv_text import csv_text
from made_runs import made_run

C2, LORA = parse_variant("atoms:c2"), parse_variant("lora")

RUNS = [
    made_run("castle", 0, C2, 0.5, alignment=0.20),
    made_run("castle", 1, C2, 0.6, alignment=0.30),
    made_run("robot", 0, C2, 0.8, alignment=0.25, base=0.6),
    made_run("castle", 0, LORA, 0.4, alignment=0.10),
    made_run("robot", 0, LORA, 0.6, alignment=0.20, base=0.6),
]


def test_the_spread_is_the_standard_deviation_of_a_sample() -> None:
    assert mean_and_spread([1.0, 2.0, 4.0]) == Mean(pytest.approx(7 / 3), pytest.approx((14 / 6) ** 0.5), 3)
    assert mean_and_spread([1.5]) == Mean(1.5, None, 1)
    assert mean_and_spread([]) is None
    assert mean_and_spread([1.0, None]) is None, "a mean over some of the runs would be of other runs than the rest"


def test_a_line_is_the_mean_over_concepts_and_seeds() -> None:
    c2, lora = lines(RUNS, [C2, LORA])
    assert (c2.variant, c2.runs, lora.runs) == (C2, 3, 2)
    assert c2.figures["fidelity"] == Mean(pytest.approx(1.9 / 3), pytest.approx(0.152753, abs=1e-6), 3)
    assert c2.figures["diversity"] == Mean(3.0, 0.0, 3)
    assert lora.figures["alignment"] == Mean(pytest.approx(0.15), pytest.approx(0.0707107, abs=1e-6), 2)
    assert c2.figures["seconds"].mean == pytest.approx(31 / 3)
    assert (c2.parameters, c2.atoms_bytes, c2.peak) == (1000, 2500, 2_000_001)
    assert "scenes_right" not in c2.figures


def test_a_variant_without_runs_has_no_line() -> None:
    assert [line.variant.name for line in lines(RUNS, [parse_variant("full"), LORA])] == ["lora"]


def test_the_memory_is_the_gpus_where_there_is_one() -> None:
    line = lines([made_run("castle", 0, C2, 0.5, gpu=7_000_000)], [C2])[0]
    assert (line.peak, line.peak_bytes, line.gpu_peak_bytes) == (7_000_000, 2_000_000, 7_000_000)


def test_the_base_model_counts_once_for_each_concept() -> None:
    against = reference(RUNS)
    assert against.base["fidelity"] == Mean(pytest.approx(0.5), pytest.approx(0.1414214), 2)
    assert against.real == Mean(pytest.approx(0.9), pytest.approx(0.0), 2)


def test_differences_are_of_pairs() -> None:
    (lora,) = differences(RUNS, [C2, LORA])
    # castle 0: 0.4 − 0.5; robot 0: 0.6 − 0.8; castle 1 has no like
    mean, error, pairs = lora.figures["fidelity"]
    assert (mean, error, pairs) == (pytest.approx(-0.15), pytest.approx(0.05), 2)
    assert lora.figures["alignment"][:2] == (pytest.approx(-0.075), pytest.approx(0.025))
    (one,) = differences(RUNS[2:], [C2, LORA])
    assert one.figures["fidelity"] == (pytest.approx(-0.2), None, 1)
    assert differences(RUNS, [C2]) == []


def test_the_table_as_markdown() -> None:
    text = markdown(lines(RUNS, [C2, LORA]), reference(RUNS)).splitlines()
    assert text[0] == (
        "| variant | runs | rate | fidelity | diversity | alignment | drift "
        "| parameters | file | seconds | peak memory |"
    )
    assert text[2].startswith("| base model |  |  | 0.500 ± 0.141 | 4.00 ± 0.00 | 0.300 ± 0.000 | 0.000 ± 0.000 |")
    assert text[3].startswith("| real images |  |  | 0.900 ± 0.000 |  |")
    assert text[4] == (
        "| atoms:c2 | 3 | 0.001 | 0.633 ± 0.153 | 3.00 ± 0.00 | 0.250 ± 0.050 | 0.100 ± 0.000 "
        "| 1,000 | 2.5 kB | 10.3 ± 0.6 | 2.0 MB |"
    )
    assert len({line.count("|") for line in text}) == 1


def test_scenes_are_a_column_where_a_grader_named_them() -> None:
    runs = [made_run("castle", 0, C2, 0.5, scenes=0.75)]
    assert "| scenes right |" in markdown(lines(runs, [C2]), reference(runs))


def test_the_csv_files_hold_plain_numbers() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text([flat(line) for line in lines(RUNS, [C2, LORA])], []))))
    assert [row["variant"] for row in rows] == ["atoms:c2", "lora"]
    assert float(rows[0]["fidelity"]) == pytest.approx(1.9 / 3)
    assert float(rows[1]["fidelity_spread"]) == pytest.approx(0.1414214)
    assert rows[0]["scenes_right"] == ""
    each = list(csv.DictReader(io.StringIO(csv_text([run_row(one) for one in RUNS], []))))
    assert [float(row["fidelity"]) for row in each] == [0.5, 0.6, 0.8, 0.4, 0.6]
