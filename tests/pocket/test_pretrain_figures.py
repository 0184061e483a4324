"""Measures of the model card against cases whose answers are known."""

import numpy as np
import pytest
import torch
from PIL import Image

from atomtune.models.base_model import POCKET, load_pipeline, resolve
from pretrain.card import measures
from pretrain.figures import excess_distance, frechet_distance, mean_psnr, word_shifts


def normal(count: int, mean: float, deviation: float, seed: int) -> torch.Tensor:
    return mean + deviation * torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))


def test_the_frechet_distance_of_normal_vectors_is_the_known_one() -> None:
    a, b = normal(40_000, 0.0, 1.0, 0), normal(40_000, 0.5, 2.0, 1)
    # of N(0, I) and N(0.5, 4 I) in four dimensions: 4 * (0.5 ** 2 + (2 - 1) ** 2)
    assert frechet_distance(a, b) == pytest.approx(5.0, rel=0.03)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-6)


def test_the_distance_that_few_vectors_feign_is_taken_off() -> None:
    sets = [[normal(20, 0.0, 1.0, 3 * trial + k) for k in range(3)] for trial in range(30)]
    feigned = sum(frechet_distance(samples, fresh) for samples, fresh, _ in sets) / len(sets)
    left = sum(excess_distance(*three) for three in sets) / len(sets)
    assert feigned > 0.3
    assert abs(left) < 0.2 * feigned
    samples, fresh, others = sets[0]
    assert excess_distance(samples + 1.0, fresh, others) > 3.0


def test_psnr_of_an_even_error() -> None:
    image = Image.fromarray(np.full((8, 8, 3), 100, np.uint8))
    other = Image.fromarray(np.full((8, 8, 3), 110, np.uint8))
    assert mean_psnr([image], [other]) == pytest.approx(20 * np.log10(255 / 10))


def test_another_noun_shifts_by_one_and_no_word_by_nothing() -> None:
    pipeline = load_pipeline(resolve(POCKET))
    shifts = word_shifts(pipeline, ["", "red"], things=4)
    assert shifts[""] == 0.0
    assert 0.0 < shifts["red"] < 3.0


def test_the_card_shows_the_earlier_figures_beside_the_new_ones() -> None:
    def figures(psnr: float, distance: float) -> dict:
        return {
            "autoencoder_psnr": psnr,
            "fidelity": {"same_thing": 0.9, "reconstructed_thing": 0.8, "other_thing": 0.1},
            "names": {"with_name": 0.7, "without_name": 0.1},
            "distance": {"all": distance, "by_class": {"dog": 2 * distance, "cup": distance}},
            "thing_distance": {"all": 3 * distance, "by_class": {"dog": 3 * distance, "cup": 4 * distance}},
            "words": {"reserved": 0.02, "unbound_median": 0.03, "names_median": 0.4},
        }

    table = measures(figures(33.5, 0.01), figures(27.5, 0.05))
    assert "| measure | before | now |" in table
    assert "| autoencoder, PSNR of fresh renders, dB | 27.50 | 33.50 |" in table
    assert "| Frechet distance of samples to fresh renders, grader | 0.0500 | 0.0100 |" in table
    assert "| the worst class's Frechet distance, grader | 0.1000 (dog) | 0.0200 (dog) |" in table
    assert "| the worst class's Frechet distance, identity | 0.2000 (cup) | 0.0400 (cup) |" in table
    assert len(measures(figures(33.5, 0.01)).splitlines()[0].split("|")) == 4
