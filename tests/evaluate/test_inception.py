"""FID on Inception's features, by torch-fidelity where it is installed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from atomtune.compare.subprocess_training import Order
from atomtune.errors import AtomtuneError
from atomtune.evaluation import measure as measuring
from atomtune.evaluation.encoders import inception
from atomtune.evaluation.encoders.base import encoders_for
from atomtune.evaluation.encoders.inception import WEIGHTS, Inception
from atomtune.evaluation.measure import Measures, measure
from atomtune.evaluation.metrics import fid
from small_encoders import small_clip, small_dinov2


def pictures(count: int, seed: int) -> list[Image.Image]:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 20, 24, 3), generator=generator, dtype=torch.uint8)
    return [Image.fromarray(one.numpy()) for one in pixels]


def test_without_the_package_a_folder_for_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inception, "find_spec", lambda _name: None)
    paths = {"dinov2": str(small_dinov2(tmp_path / "d")), "clip": str(small_clip(tmp_path / "c"))}
    assert encoders_for("pocket", paths=paths).inception is None
    with pytest.raises(AtomtuneError, match="FID needs torch-fidelity") as caught:
        encoders_for("pocket", paths=paths | {"inception": str(tmp_path)})
    assert "atomtune[fid]" in str(caught.value.hint)


def test_measures_of_before_called_the_distance_in_dinov2s_space_fid() -> None:
    earlier = {key: value for key, value in Measures(60, 60, kid=0.1, fid=2.5).as_dict().items() if key != "fd_dinov2"}
    assert Measures.from_dict(earlier) == Measures(60, 60, kid=0.1, fd_dinov2=2.5)
    now = Measures(60, 60, fd_dinov2=2.5, fid=30.0)
    assert Measures.from_dict(now.as_dict()) == now


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with random weights of Inception's shapes."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    torch.manual_seed(0)
    with monkeypatch.context() as patched:
        patched.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        patched.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.save(module.FeatureExtractorInceptionV3("x", ["2048"]).state_dict(), tmp_path / WEIGHTS)
    return tmp_path


def test_the_features_are_torch_fidelitys(weights: Path) -> None:
    package: Any = pytest.importorskip("torch_fidelity.metric_fid")
    encoder = Inception(weights, torch.device("cpu"))
    ours, others = pictures(6, 0), [image.resize((30, 30)) for image in pictures(5, 1)]
    features, theirs = encoder.features([*ours, *others], batch=4), encoder.features(others)
    assert features.shape == (11, 2048)
    torch.testing.assert_close(features[6:], theirs, rtol=1e-4, atol=1e-5)
    scored = Inception(weights, torch.device("cpu")).features(ours)
    statistics = [package.fid_features_to_statistics(rows) for rows in (scored, theirs)]
    expected = package.fid_statistics_to_metric(*statistics, verbose=False)[package.KEY_METRIC_FID]
    assert fid(scored, theirs) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_large_sets_have_a_fid_beside_fd_dinov2(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "FEWEST_FOR_KID", 4)
    paths = {"dinov2": str(small_dinov2(tmp_path / "d")), "clip": str(small_clip(tmp_path / "c"))}
    encoders = encoders_for("any", paths=paths | {"inception": str(weights)}, device="cpu")
    images, references = pictures(4, 0), pictures(4, 1)
    texts = [None] * len(images)
    found = measure(encoders, images, texts, references).measures
    without = measure(replace(encoders, inception=None), images, texts, references).measures
    assert found.fid is not None
    assert found.fd_dinov2 == without.fd_dinov2
    assert found.fid != found.fd_dinov2
    assert without.fid is None


@pytest.mark.parametrize("content", [None, b"nonsense"])
def test_weights_that_are_none_are_an_error_with_a_hint(weights: Path, content: bytes | None) -> None:
    (weights / WEIGHTS).unlink()
    if content is not None:
        (weights / WEIGHTS).write_bytes(content)
    with pytest.raises(AtomtuneError, match="cannot load Inception's weights") as caught:
        Inception(weights, torch.device("cpu")).features(pictures(1, 0))
    assert WEIGHTS in str(caught.value.hint)


def test_weights_that_would_run_code_are_refused(weights: Path) -> None:
    torch.save({"fc.weight": Order}, weights / WEIGHTS)  # a class, as only a pickle can hold it
    with pytest.raises(AtomtuneError, match="cannot load Inception's weights"):
        Inception(weights, torch.device("cpu")).features(pictures(1, 0))
