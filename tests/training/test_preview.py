"""Previews take no more resources as a run gets longer, and never end one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from atomtune.training.options import TrainOptions
from atomtune.training.preview import spread
from atomtune.training.train import train
from photo_files import Heard

Options = Callable[..., TrainOptions]


def test_previews_take_no_more_files_with_every_step(options: Options, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    descriptors = Path("/proc/self/fd")
    in_use = len(list(descriptors.iterdir())) if descriptors.exists() else 64
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    heard = Heard()
    train(options(steps=1, sample_every=1, sample_steps=1), tmp_path / "first")  # what is opened once for all
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 24, hard))
    try:
        train(options(steps=30, sample_every=1, sample_steps=1), tmp_path / "run", events=heard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not [text for text in heard.warnings if "preview" in text]
    assert len(list((tmp_path / "run" / "previews").iterdir())) == 30
    with Image.open(tmp_path / "run" / "previews.png") as sheet:
        assert sheet.width < 13 * (128 + 8) + 8


def test_a_preview_that_fails_ends_no_run(options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, heard = train(options(), tmp_path / "whole"), Heard()

    def fail(*_arguments: object, **_named: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("atomtune.training.preview.generate", fail)
    result = train(options(sample_every=3, sample_steps=1), tmp_path / "run", events=heard)
    assert result.sha256 == whole.sha256
    failed = [text.partition(" failed")[0] for text in heard.warnings if "preview" in text]
    assert failed == ["the preview of step 3", "the preview of step 6"]


def test_of_many_steps_the_sheet_shows_some_that_lie_evenly_between_the_first_and_the_last() -> None:
    assert spread([3, 6, 9], 12) == [3, 6, 9]
    assert spread(list(range(1, 101)), 12) == [1, 10, 19, 28, 37, 46, 55, 64, 73, 82, 91, 100]
