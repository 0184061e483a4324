"""The table of the forms."""

from benchmarks.export import Row, table


def test_a_form_is_a_line_and_what_was_not_measured_is_empty() -> None:
    rows = [
        Row("c2", "base model", 0, None, None, 12.34, None, 0.2),
        Row("c2", "lora --rank 16", 2_000_000, 0.5, 0.25, 25.06, 21.04, 0.6),
        Row("c2", "atoms", 70_000, 0.0, None, None, None, 0.61),
    ]
    *_, base, lora, atoms = table(rows).splitlines()
    assert base == "| c2 | base model |  |  |  | 12.3 |  | 0.200 |"
    assert lora == "| c2 | lora --rank 16 | 2.0 MB | 0.5000 | 0.2500 | 25.1 | 21.0 | 0.600 |"
    assert atoms == "| c2 | atoms | 70.0 kB | 0.0000 |  |  |  | 0.610 |"
