"""The pieces of the loss against their formulas."""

import pytest
import torch
from diffusers import DDPMScheduler

from atomtune.training.loss import Objective, min_snr_weight, offset_noise, signal_to_noise

KINDS = ["epsilon", "v_prediction", "sample"]
SHAPE = (3, 4, 8, 8)


def draw() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    prediction, latents, noise = (torch.randn(SHAPE, generator=generator) for _ in range(3))
    return prediction, latents, noise, torch.tensor([3, 500, 990])


def objective(kind: str, gamma: float | None = None) -> Objective:
    return Objective(DDPMScheduler(prediction_type=kind), gamma)


def test_signal_to_noise_is_the_ratio_of_the_variances() -> None:
    alphas = torch.tensor([0.9, 0.5, 0.1])
    assert torch.allclose(signal_to_noise(alphas), torch.tensor([9.0, 1.0, 1.0 / 9.0]))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("epsilon", [5 / 10, 1.0, 1.0]),
        ("v_prediction", [5 / 11, 2 / 3, 0.0]),
        ("sample", [5.0, 2.0, 0.0]),
    ],
)
def test_min_snr_weights_are_those_of_the_paper(kind: str, expected: list[float]) -> None:
    assert torch.allclose(min_snr_weight(torch.tensor([10.0, 2.0, 0.0]), 5.0, kind), torch.tensor(expected))


@pytest.mark.parametrize("kind", KINDS)
def test_every_min_snr_loss_is_the_weighted_error_of_the_clean_latents(kind: str) -> None:
    prediction, latents, noise, timesteps = draw()
    made = objective(kind, 5.0)
    alphas = made.schedule.alphas_cumprod[timesteps].double().view(-1, 1, 1, 1)
    noisy = alphas.sqrt() * latents + (1 - alphas).sqrt() * noise
    clean = {
        "epsilon": (noisy - (1 - alphas).sqrt() * prediction) / alphas.sqrt(),
        "v_prediction": alphas.sqrt() * noisy - (1 - alphas).sqrt() * prediction,
        "sample": prediction.double(),
    }[kind]
    errors = (clean - latents).square().mean(dim=(1, 2, 3))
    snr = (alphas / (1 - alphas)).flatten()
    expected = (snr.clamp(max=5.0) * errors).mean()
    assert float(made.loss(prediction, latents, noise, timesteps)) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_gamma_the_loss_is_the_mean_squared_error(kind: str) -> None:
    prediction, latents, noise, timesteps = draw()
    made = objective(kind)
    expected = (prediction - made.target(latents, noise, timesteps)).square().mean()
    assert torch.allclose(made.loss(prediction, latents, noise, timesteps), expected)


def test_a_gamma_out_of_reach_changes_nothing_for_epsilon() -> None:
    tensors = draw()
    assert torch.allclose(objective("epsilon", 1e9).loss(*tensors), objective("epsilon").loss(*tensors))


def test_offset_noise_moves_whole_channels() -> None:
    noise = torch.randn(4, 8, 8)
    moved = offset_noise(noise, 0.1, torch.Generator().manual_seed(0)) - noise
    assert torch.allclose(moved, moved[:, :1, :1].expand_as(moved), atol=1e-6)
    assert torch.allclose(moved[:, 0, 0], 0.1 * torch.randn(4, generator=torch.Generator().manual_seed(0)), atol=1e-6)


@pytest.mark.parametrize("gamma", [None, 5.0])
def test_weights_make_the_loss_a_weighted_mean_within_each_example(gamma: float | None) -> None:
    tensors, made = draw(), objective("epsilon", gamma)
    ones = torch.ones(SHAPE[0], 1, *SHAPE[2:])
    torch.testing.assert_close(made.loss(*tensors, ones), made.loss(*tensors))
    torch.testing.assert_close(made.loss(*tensors, 0.1 * ones), made.loss(*tensors))
    half = ones.clone()
    half[..., 4:] = 0.0
    left = [part[..., :4] if part.ndim == 4 else part for part in tensors]
    torch.testing.assert_close(made.loss(*tensors, half), made.loss(*left))
