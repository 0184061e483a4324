"""Latents, and the batches drawn from them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from atomtune.data.images import load_images
from atomtune.errors import UsageError
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.runtime.seeds import derived_seed
from atomtune.training.data import Batches, Latents, encode_latents, to_tensor


def test_tensors_span_minus_one_to_one() -> None:
    pixels = to_tensor([Image.new("RGB", (4, 4), (0, 255, 0))])
    assert pixels.shape == (1, 3, 4, 4)
    assert (pixels[0, 0].max(), pixels[0, 1].min()) == (-1.0, 1.0)


def test_latents_are_the_vaes(tiny_model: Path, images: Path) -> None:
    vae = load_pipeline(resolve(str(tiny_model))).vae
    loaded = [image.image for image in load_images(images, 32)]
    latents = encode_latents(vae, loaded, batch=2)
    with torch.no_grad():
        expected = vae.encode(to_tensor(loaded)).latent_dist
    factor = vae.config.scaling_factor
    assert torch.allclose(latents.mean, expected.mean * factor, atol=1e-5)
    assert torch.allclose(latents.std, expected.std * factor, atol=1e-5)


def latents(count: int) -> Latents:
    """Latents of `count` images that tell their number."""
    mean = torch.arange(float(count)).view(-1, 1, 1, 1).expand(-1, 4, 2, 2)
    return Latents(mean, torch.zeros_like(mean))


def test_batches_do_not_depend_on_who_draws_them() -> None:
    batches = Batches(latents(5), False, 1000, 4, seed=3)
    whole = batches.draw(7)
    halves = [batches.draw(7, 0, 2), batches.draw(7, 2, 2)]
    for name in ("latents", "noise", "timesteps"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(half, name) for half in halves]))
    assert not torch.equal(whole.noise, batches.draw(8).noise)
    assert not torch.equal(whole.noise, Batches(latents(5), False, 1000, 4, seed=4).draw(7).noise)


def test_every_image_comes_once_before_any_comes_twice() -> None:
    batches = Batches(latents(5), False, 1000, 1, seed=0)
    seen = [int(batches.draw(step).latents.mean()) for step in range(15)]
    assert [sorted(seen[i : i + 5]) for i in (0, 5, 10)] == [[0, 1, 2, 3, 4]] * 3
    assert seen[:5] != seen[5:10] or seen[5:10] != seen[10:]


def test_flips_take_the_second_half_half_of_the_time() -> None:
    batches = Batches(latents(10), True, 1000, 1, seed=0)
    seen = [int(batches.draw(step).latents.mean()) for step in range(200)]
    assert set(seen) == set(range(10))
    assert 60 < sum(index >= 5 for index in seen) < 140


def test_captions_go_with_their_images() -> None:
    batches = Batches(latents(10), True, 1000, 1, seed=0, captions=((3,), (1,), (4,), (1,), (5,)))
    for step in range(40):
        batch = batches.draw(step)
        assert int(batch.captions) == (3, 1, 4, 1, 5)[int(batch.latents.mean()) % 5]
    assert torch.equal(Batches(latents(5), False, 1000, 3, seed=0).draw(0).captions, torch.zeros(3, dtype=torch.long))


def test_noise_and_timesteps_have_the_right_distribution() -> None:
    batch = Batches(latents(5), False, 1000, 400, seed=0).draw(0)
    assert abs(float(batch.noise.mean())) < 0.06
    assert abs(float(batch.noise.std()) - 1) < 0.04
    assert 430 < float(batch.timesteps.float().mean()) < 570
    assert 0 <= int(batch.timesteps.min()) <= int(batch.timesteps.max()) <= 999


def test_seeds_are_the_same_everywhere() -> None:
    assert derived_seed(0, "example", 1, 2) == 8639155405961839054


def test_an_image_shows_each_of_its_captions_and_sometimes_none() -> None:
    captions = ((0, 1), (2,))
    plain = Batches(latents(2), False, 1000, 2000, seed=0, captions=captions)
    batch = plain.draw(0)
    first = batch.captions[batch.latents[:, 0, 0, 0] == 0]
    assert float((first == 1).float().mean()) == pytest.approx(0.5, abs=0.05)
    assert set(batch.captions[batch.latents[:, 0, 0, 0] == 1].tolist()) == {2}
    dropping = replace(plain, dropped=(3, 0.25)).draw(0)
    assert float((dropping.captions == 3).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(dropping.noise, batch.noise), "what else is drawn stays the same"
    assert torch.equal(dropping.timesteps, batch.timesteps)


@pytest.mark.parametrize(
    ("sampling", "low", "high", "mean"),
    [("uniform", 0, 999, 500), ("200-299", 200, 299, 250), ("900-5000", 900, 999, 950)],
)
def test_timesteps_are_drawn_from_their_range(sampling: str, low: int, high: int, mean: int) -> None:
    drawn = Batches(latents(2), False, 1000, 2000, seed=0, sampling=sampling).draw(0).timesteps.float()
    assert low <= float(drawn.min()) <= low + 20
    assert high - 20 <= float(drawn.max()) <= high
    assert float(drawn.mean()) == pytest.approx(mean, abs=25)


def test_logit_normal_timesteps_are_mostly_middle_ones() -> None:
    drawn = Batches(latents(2), False, 1000, 2000, seed=0, sampling="logit-normal").draw(0).timesteps
    share = float(((drawn > 269) & (drawn < 731)).float().mean())  # within one standard deviation of the logit
    assert share == pytest.approx(0.683, abs=0.04)


def test_a_range_beyond_the_models_timesteps_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--timesteps 1000-2000: the model has 1000, from 0 on"):
        Batches(latents(2), False, 1000, 1, seed=0, sampling="1000-2000").draw(0)
