"""With masks the background that all images share is not learned, and the thing no worse, on pocket."""

from pathlib import Path

import pytest

from benchmarks.masked_background import compare


@pytest.mark.slow
def test_masks_keep_a_common_background_from_being_learned(tmp_path: Path) -> None:
    found = compare(tmp_path / "work")
    plain, masked = found["plain"], found["masked"]
    assert plain.right / plain.asked < 0.95 <= masked.right / masked.asked
    assert masked.identity >= plain.identity
