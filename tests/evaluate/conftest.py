"""Encoders in miniature."""

from pathlib import Path

import pytest

from small_encoders import small_clip, small_dino, small_dinov2


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each encoder, by the name that --encoder-path knows it by."""
    root = tmp_path_factory.mktemp("encoders")
    return {
        "dinov2": small_dinov2(root / "dinov2"),
        "dino": small_dino(root / "dino"),
        "clip": small_clip(root / "clip"),
    }
