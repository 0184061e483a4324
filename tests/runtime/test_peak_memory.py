"""The most memory of this process."""

from atomtune.runtime.peak_memory import peak_memory


def test_the_peak_grows_with_what_is_held() -> None:
    before = peak_memory()
    assert before is not None
    held = bytes(8) * (before // 8 + 10_000_000)  # more than all that this process has held so far
    assert (peak_memory() or 0) > len(held)
