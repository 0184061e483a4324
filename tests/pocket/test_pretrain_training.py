"""A training that is stopped, resumed and prolonged; and a start from narrower weights."""

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors import safe_open
from torch import Tensor, nn

from pretrain import export
from pretrain.autoencoder import (
    as_tensor,
    new_autoencoder,
    train_autoencoder,
    train_decoder,
    trained_autoencoder,
    widened,
)
from pretrain.dataset import subject
from pretrain.denoiser import (
    all_rows,
    even_norms,
    known_tokens,
    new_text_encoder,
    new_unet,
    only_rows,
    widened_unet,
)
from pretrain.export import export_autoencoder
from pretrain.names import NAMES
from pretrain.recipe import Recipe
from pretrain.tokenizer import RESERVED_WORD, load_tokenizer
from pretrain.training import (
    Trainer,
    average_gradients,
    begin_from_averages,
    first_process_first,
    keep_averages,
    share_of_work,
)


def training(path: Path, steps: int, until: int | None = None) -> tuple[nn.Module, list[float], list[int]]:
    """Fit a line, and say what the rate and the number of each step were; `until` stops it before its end."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    trainer = Trainer(path, {"line": model}, steps, 1e-2, 0.0, decay_share=0.25, save_every=4)
    rates, numbers = [], []

    class Stopped(Exception):
        pass

    def loss_at(step: int) -> tuple[Tensor, dict[str, float]]:
        if step == until:
            raise Stopped
        rates.append(next(iter(trainer.optimizers)).param_groups[0]["lr"])
        numbers.append(step)
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return (model(x) - x[:, :2]).square().mean(), {}

    with contextlib.suppress(Stopped):
        trainer.run(loss_at)
    return model, rates, numbers


def test_the_rate_is_constant_and_then_decays(tmp_path: Path) -> None:
    _, rates, _ = training(tmp_path / "line.safetensors", 40)
    assert max(rates[4:30]) == min(rates[4:30]) > rates[0], "after the warm-up"
    assert rates[31] > rates[35] > rates[39] > 0


def test_a_stopped_training_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    whole, _, _ = training(tmp_path / "whole.safetensors", 20)
    training(tmp_path / "parts.safetensors", 20, until=10)
    parts, _, numbers = training(tmp_path / "parts.safetensors", 20)
    assert numbers[0] == 8, "from its last checkpoint"
    assert torch.equal(whole.weight, parts.weight)


def test_a_longer_training_goes_on_from_before_the_decay(tmp_path: Path) -> None:
    training(tmp_path / "line.safetensors", 20)
    _, rates, numbers = training(tmp_path / "line.safetensors", 40)
    assert (numbers[0], numbers[-1]) == (15, 39)
    assert rates[0] == rates[14] == max(rates) > rates[-1], "the rate is what it was before it decayed"


def test_without_a_checkpoint_of_before_the_decay_nothing_is_prolonged(tmp_path: Path) -> None:
    training(tmp_path / "line.safetensors", 20)
    (tmp_path / "line.steady.safetensors").unlink()
    with pytest.raises(ValueError, match="has decayed"):
        training(tmp_path / "line.safetensors", 40)


def test_another_training_begins_from_kept_averages(tmp_path: Path) -> None:
    training(tmp_path / "line.safetensors", 20)
    keep_averages(tmp_path / "line.safetensors", tmp_path / "kept.safetensors")
    begun = nn.Linear(3, 2)
    begin_from_averages(tmp_path / "kept.safetensors", {"line": begun})
    with safe_open(tmp_path / "line.safetensors", "pt") as file:
        assert torch.equal(begun.weight, file.get_tensor("averages/line/weight").half().float())
    with pytest.raises(ValueError, match=r"another network: 1 weights differ, line/weight among them"):
        begin_from_averages(tmp_path / "kept.safetensors", {"line": nn.Linear(4, 2)})


def test_the_denoiser_that_is_kept_fits_the_recipe(tmp_path: Path) -> None:
    recipe = Recipe()
    tokenizer = load_tokenizer(tmp_path)
    text_encoder, unet = new_text_encoder(recipe, tokenizer), new_unet(recipe)
    only_rows(text_encoder, torch.tensor(known_tokens(tokenizer, recipe)))
    begin_from_averages(
        Path(export.__file__).parent / "denoiser.safetensors", {"unet": unet, "text_encoder": text_encoder}
    )


@torch.no_grad()
def test_a_trained_autoencoder_is_taken_as_it_is(tmp_path: Path) -> None:
    recipe = Recipe(latent_channels=4, autoencoder_channels=(8, 8, 8), autoencoder_from=str(tmp_path / "vae"))
    trained = new_autoencoder(recipe).half().float().eval()
    export_autoencoder(tmp_path / "vae", trained)
    taken = train_autoencoder(tmp_path / "work", recipe, np.zeros((1, 16, 16, 3), np.uint8))
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(taken.cpu().encode(images).latent_dist.mean, trained.encode(images).latent_dist.mean)
    assert not (tmp_path / "work").exists(), "nothing was trained"
    with pytest.raises(ValueError, match="has 4 latent channels, the recipe 8"):
        train_autoencoder(tmp_path / "work", replace(recipe, latent_channels=8), np.zeros((1, 16, 16, 3), np.uint8))


def test_the_decoder_learns_on_and_the_latents_stay(tmp_path: Path) -> None:
    recipe = Recipe(latent_channels=4, autoencoder_channels=(8, 8, 8), decoder_steps=40, decoder_batch=4)
    images = np.stack([subject(number).render(16) for number in range(4)])
    model = new_autoencoder(recipe)
    encoder = {key: value.clone() for key, value in model.encoder.state_dict().items()}
    with torch.no_grad():
        posterior = model.encode(as_tensor(images)).latent_dist
        means, deviations = posterior.mean, posterior.std
        before = (model.decode(means).sample - as_tensor(images)).square().mean()
    trained = train_decoder(tmp_path, recipe, model, images, means, deviations)
    with torch.no_grad():
        after = (trained.decode(means).sample - as_tensor(images)).square().mean()
    assert after < 0.8 * before
    assert all(torch.equal(value, encoder[key]) for key, value in trained.encoder.state_dict().items())


def of_two_processes(process: int, meeting: str, results: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=process, world_size=2)
    weight, unused = torch.zeros(3, requires_grad=True), torch.zeros(2, requires_grad=True)
    (weight * (process + 1.0)).sum().backward()
    average_gradients([weight, unused])
    assert share_of_work() == (process, 2)
    with first_process_first():
        seen = Path(f"{results}.seen")
        assert seen.exists() == (process == 1)
        seen.touch()
    assert weight.grad is not None
    assert unused.grad is None
    torch.save(weight.grad, f"{results}{process}")


@pytest.mark.slow
def test_two_processes_share_their_gradients(tmp_path: Path) -> None:
    places = (str(tmp_path / "meeting"), str(tmp_path / "grad"))
    torch.multiprocessing.start_processes(of_two_processes, places, nprocs=2, start_method="fork")
    assert all(torch.load(tmp_path / f"grad{n}").tolist() == [1.5] * 3 for n in range(2))


@torch.no_grad()
def test_the_autoencoder_that_is_kept_gives_unseen_images_back() -> None:
    kept = Path(export.__file__).parent / "vae"
    model = trained_autoencoder(kept, Recipe())
    images = [subject(37 * number, held_out=True).render(64) for number in range(8)]
    given = as_tensor(np.stack(images))
    returned = model.decode(model.encode(given).latent_dist.mean).sample.clamp(-1, 1)
    error = ((given - returned) / 2).square().mean(dim=(1, 2, 3))
    assert (-10 * error.log10()).mean() > 32, "dB"


@torch.no_grad()
def test_a_wider_autoencoder_begins_with_the_narrow_ones_latents(tmp_path: Path) -> None:
    small = Recipe(latent_channels=4, autoencoder_channels=(8, 8, 8))
    narrow = new_autoencoder(small).eval()
    narrow.save_pretrained(tmp_path / "vae")
    wide = new_autoencoder(Recipe(latent_channels=6, autoencoder_channels=(8, 8, 8))).eval()
    widened(wide, tmp_path / "vae")
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    before, after = narrow.encode(images).latent_dist, wide.encode(images).latent_dist
    assert torch.allclose(after.mean[:, :4], before.mean, atol=1e-5)
    assert torch.allclose(after.logvar[:, :4], before.logvar, atol=1e-5)
    latents = after.mean.clone()
    latents[:, 4:] = 0
    kept = wide.post_quant_conv(latents)
    kept[:, 4:] = 0  # what the further channels' own biases add
    assert torch.allclose(wide.decoder(kept), narrow.decode(before.mean).sample, atol=1e-4)
    same = new_autoencoder(small)
    widened(same, tmp_path / "vae")
    assert all(
        torch.equal(a, b)
        for (key, a), b in zip(same.state_dict().items(), narrow.state_dict().values(), strict=True)
        if key != "quant_conv.bias"
    )


@torch.no_grad()
def test_a_wider_unet_at_first_predicts_what_the_narrow_one_does(tmp_path: Path) -> None:
    sizes = {"unet_channels": (16, 16, 16), "text_width": 8, "unet_heads": 2}
    narrow = new_unet(Recipe(latent_channels=4, **sizes))
    narrow.conv_out.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    narrow.save_pretrained(tmp_path / "unet")
    wide = new_unet(Recipe(latent_channels=6, **sizes))
    widened_unet(wide, tmp_path / "unet")
    latents = torch.randn(2, 6, 8, 8, generator=torch.Generator().manual_seed(1))
    times, states = torch.tensor([10, 900]), torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(2))
    before = narrow(latents[:, :4], times, states).sample
    after = wide(latents, times, states).sample
    assert torch.allclose(after[:, :4], before, atol=1e-5)
    assert after[:, 4:].abs().max() == 0


@torch.no_grad()
def test_a_unet_with_attention_at_other_levels_takes_what_it_can(tmp_path: Path) -> None:
    sizes = {"unet_channels": (16, 16, 16), "text_width": 8, "unet_heads": 2, "latent_channels": 4}
    old = new_unet(Recipe(**sizes))
    old.save_pretrained(tmp_path / "unet")
    unet = new_unet(Recipe(**sizes, unet_attention=(False, True, True)))
    assert unet.config["down_block_types"] == ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D")
    assert unet.config["up_block_types"] == ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")
    for parameter in old.parameters():
        parameter.fill_(0.25)
    old.save_pretrained(tmp_path / "unet")
    widened_unet(unet, tmp_path / "unet")
    taken = {key for key, value in unet.state_dict().items() if (value == 0.25).all()}
    assert taken == set(unet.state_dict()) & set(old.state_dict())
    assert any("attentions" in key for key in set(unet.state_dict()) - taken)


def test_only_words_of_captions_are_trained_and_all_others_have_a_words_norm(tmp_path: Path) -> None:
    recipe = Recipe(text_width=12)
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    encoder = new_text_encoder(recipe, tokenizer)
    known = torch.tensor(known_tokens(tokenizer, recipe))
    castle, name, reserved = (tokenizer(word).input_ids[1] for word in ("castle", NAMES[0], RESERVED_WORD))
    assert {castle, name} <= set(known.tolist())
    assert reserved not in known
    with torch.no_grad():
        encoder.get_input_embeddings().weight[castle] *= 40
    before = encoder.get_input_embeddings().weight.detach().clone()
    even_norms(encoder, tokenizer, known)
    norms = encoder.get_input_embeddings().weight.detach().norm(dim=1)
    assert torch.equal(encoder.get_input_embeddings().weight[castle], before[castle]), "words stay as they are"
    assert norms[name].item() == pytest.approx(norms[reserved].item()) != pytest.approx(before[reserved].norm().item())
    whole = only_rows(encoder, known)
    rows = encoder.get_input_embeddings().weight
    assert rows.shape == (len(known), 12)
    with torch.no_grad():
        rows[known.tolist().index(name)] = 7.0
    all_rows(encoder, whole, known)
    after = encoder.get_input_embeddings().weight
    assert after[name].tolist() == [7.0] * 12
    others = torch.arange(len(after)) != name
    assert torch.equal(after[others], whole[others])


def test_the_autoencoder_is_diffusers_own() -> None:
    assert type(new_autoencoder(Recipe(autoencoder_channels=(8, 8, 8)))) is AutoencoderKL
