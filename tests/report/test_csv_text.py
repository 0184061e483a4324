"""CSV for spreadsheets."""

import csv
import io

import pytest

from atomtune.report.csv_text import csv_text


@pytest.mark.parametrize("prompt", ["=HYPERLINK(1)", "+1", "-a castle", "@sum", "\t=1", "\r=1", "\n=1"])
def test_no_text_is_a_formula(prompt: str) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_text([{"prompt": prompt, "x": 1}], []), newline=""))
    assert row["prompt"] == f"'{prompt}".replace("\r", "\n")


def test_numbers_and_other_texts_stay_what_they_are() -> None:
    text = csv_text([{"a": -0.5, "b": "a castle, =1", "c": None, "d": 'say "x"'}], [])
    assert text == 'a,b,c,d\n-0.5,"a castle, =1",,"say ""x"""\n'


def test_without_rows_the_columns_are_there() -> None:
    assert csv_text([], ["variant", "runs"]) == "variant,runs\n"
