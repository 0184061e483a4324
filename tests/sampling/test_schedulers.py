"""Another scheduler is another solver of the same model."""

from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from atomtune.errors import UsageError
from atomtune.models.base_model import POCKET, load_pipeline, resolve
from atomtune.models.conditioning import embed
from atomtune.sampling.generate import Settings, generate
from atomtune.sampling.schedulers import SCHEDULERS, use_scheduler

SPARSE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
"""A configuration that says no more than it must."""


class Pipeline:
    """As much of a pipeline as a scheduler needs."""

    def __init__(self, kind: str, **config: Any) -> None:
        self.scheduler = getattr(diffusers, kind).from_config(config)


@pytest.fixture(scope="module")
def pocket() -> Any:
    return load_pipeline(resolve(POCKET))


def spread(pipeline: Any) -> float:
    """The standard deviation of the pixels of two images."""
    words = embed(pipeline, ["a castle in the snow", "a dog on the beach", ""])
    images = generate(pipeline, words[:2], words[2:], [0, 1], Settings(steps=12, guidance_scale=5.0))
    return float(np.stack([np.asarray(image) for image in images]).std())


@pytest.fixture(scope="module")
def own_spread(pocket: Any) -> float:
    return spread(pocket)


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_no_scheduler_washes_images_out(name: str, pocket: Any, own_spread: float) -> None:
    own = pocket.scheduler
    try:
        use_scheduler(pocket, name)
        assert spread(pocket) == pytest.approx(own_spread, rel=0.2)
    finally:
        pocket.scheduler = own


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
@pytest.mark.parametrize("kind", ["PNDMScheduler", "DDIMScheduler", "EulerDiscreteScheduler"])
def test_what_the_model_was_trained_with_stays(name: str, kind: str) -> None:
    pipeline = Pipeline(kind, **SPARSE, prediction_type="v_prediction", num_train_timesteps=900)
    betas = pipeline.scheduler.betas
    use_scheduler(pipeline, name)
    made = pipeline.scheduler
    assert torch.equal(made.betas, betas)
    assert (made.config.prediction_type, made.config.num_train_timesteps) == ("v_prediction", 900)
    for key in ("clip_sample", "thresholding"):
        assert not made.config.get(key, False), key


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_a_schedule_of_defaults_is_that_of_the_models_own_class(name: str) -> None:
    """The default betas of HeunDiscreteScheduler are others than those of all other classes."""
    pipeline = Pipeline("DDPMScheduler")
    betas = pipeline.scheduler.betas
    use_scheduler(pipeline, name)
    assert torch.equal(pipeline.scheduler.betas, betas)


def test_settings_that_only_some_schedulers_have_are_kept_or_decided() -> None:
    pipeline = Pipeline("DDIMScheduler", **SPARSE, set_alpha_to_one=True, steps_offset=0, clip_sample=True)
    use_scheduler(pipeline, "pndm")
    config = pipeline.scheduler.config
    assert (config.set_alpha_to_one, config.steps_offset, config.skip_prk_steps) == (True, 0, True)
    pipeline = Pipeline("EulerDiscreteScheduler", **SPARSE)
    use_scheduler(pipeline, "ddim")
    config = pipeline.scheduler.config
    assert (config.set_alpha_to_one, config.clip_sample, config.timestep_spacing) == (False, False, "leading")


def test_where_timesteps_lie_is_the_models_word() -> None:
    for kind in ("DDIMScheduler", "EulerDiscreteScheduler"):
        for name in SCHEDULERS:
            pipeline = Pipeline(kind, **SPARSE, timestep_spacing="trailing")
            use_scheduler(pipeline, name)
            assert pipeline.scheduler.config.timestep_spacing == "trailing"


def test_a_schedule_that_ends_without_signal_is_kept_or_refused() -> None:
    for name in SCHEDULERS:
        pipeline = Pipeline("DDIMScheduler", **SPARSE, rescale_betas_zero_snr=True)
        if name in ("pndm", "heun"):
            with pytest.raises(UsageError, match="ends without signal"):
                use_scheduler(pipeline, name)
        else:
            use_scheduler(pipeline, name)
            config = pipeline.scheduler.config
            assert (config.rescale_betas_zero_snr, config.timestep_spacing) == (True, "trailing")


def test_a_schedule_that_a_scheduler_cannot_have_is_refused() -> None:
    pipeline = Pipeline("DDPMScheduler", beta_schedule="sigmoid")
    with pytest.raises(UsageError, match="cannot have the noise schedule") as problem:
        use_scheduler(pipeline, "pndm")
    assert problem.value.hint
