"""A cache of the hub with made-up repositories."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], None]:
    """Put a copy of a folder into an empty cache, as a snapshot of a repository."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))

    def add(repository: str, folder: Path) -> None:
        commit = "0123456789abcdef0123456789abcdef01234567"
        place = cache / f"models--{repository.replace('/', '--')}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text(commit)
        shutil.copytree(folder, place / "snapshots" / commit)

    return add
