"""SD v2 and SDXL through the same commands, and text encoders that learn too."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from atomtune.core.fingerprint import fingerprint
from atomtune.errors import AtomtuneError
from atomtune.files.atoms_file import load_atoms
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.models.components import split_parts
from atomtune.models.conditioning import embed, embed_negative, encode, text_encoders, tokenize
from atomtune.runtime.progress import Events
from atomtune.sampling.apply import merge_atoms
from atomtune.sampling.changes import read_atoms
from atomtune.sampling.generate import generate
from atomtune.sampling.options import Settings
from atomtune.training.loop import Loop
from atomtune.training.options import TrainOptions
from atomtune.training.train import train
from tiny import tiny_v2, tiny_xl

Options = Callable[..., TrainOptions]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, Path]:
    """A tiny model of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    return {"v1": tiny_model, "v2": tiny_v2(folder / "v2"), "xl": tiny_xl(folder / "xl")}


@pytest.mark.parametrize("kind", ["v2", "xl"])
def test_the_commands_take_other_models(
    kind: str, models: dict[str, Path], images: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    model = ("--model", models[kind])
    assert cli("decompose", *model, "--json").code == 0
    trained = cli(
        *("train", "--concept", "castle", "--images", images, *model, "--steps", 3, "--device", "cpu", "--json"),
        *("--prior-preservation", "--prior-images", 4, "--sample-every", 3, "--sample-steps", 2),
    )
    assert trained.code == 0, trained.err
    assert (Path("runs") / "castle" / "previews.png").is_file()
    drawn = cli("sample", "--concept", "castle", "--prompt", "a <castle>", "--steps", 2, "--base", "--json")
    assert drawn.code == 0, drawn.err
    with_concept, base = (Image.open(item["path"]) for item in json.loads(drawn.out)["images"])
    assert with_concept.size == base.size == (32, 32)
    assert cli("inspect", json.loads(trained.out)["atoms_file"]).code == 0
    merged = cli("merge", "--concept", "castle", "--output", tmp_path / "merged", "--json")
    assert merged.code == 0, merged.err
    assert cli("sample", "--model", tmp_path / "merged", "--prompt", "a castle", "--steps", 2).code == 0


def test_v2_is_trained_to_predict_v(models: dict[str, Path], options: Options, tmp_path: Path) -> None:
    """The same weights and draws under the other target give another loss."""
    as_v = train(options(model=str(models["v2"]), steps=1), tmp_path / "v")
    folder = tiny_v2(tmp_path / "as-noise")
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"prediction_type": "epsilon"}))
    as_noise = train(options(model=str(folder), steps=1), tmp_path / "noise")
    assert as_v.final_loss != pytest.approx(as_noise.final_loss, rel=1e-3)


def test_sdxl_is_told_text_and_size(models: dict[str, Path]) -> None:
    pipeline = load_pipeline(resolve(str(models["xl"])))
    told = embed(pipeline, ["a castle", "a dog"]).for_unet(32)
    assert told["encoder_hidden_states"].shape == (2, 77, 40)
    assert told["added_cond_kwargs"]["text_embeds"].shape == (2, 24)
    assert told["added_cond_kwargs"]["time_ids"].tolist() == [[32, 32, 0, 0, 32, 32]] * 2


def test_images_are_those_of_the_pipeline(models: dict[str, Path]) -> None:
    """Drawing by embeddings gives what diffusers' own call gives for the prompt."""
    for kind, model in models.items():
        pipeline = load_pipeline(resolve(str(model)))
        settings = Settings(steps=3)
        ours = generate(pipeline, embed(pipeline, ["a castle"]), embed_negative(pipeline, ""), [5], settings)[0]
        generator = torch.Generator().manual_seed(5)
        theirs = pipeline("a castle", num_inference_steps=3, guidance_scale=7.5, generator=generator, output_type="pt")
        expected = (theirs.images[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        assert ours.tobytes() == expected.tobytes(), kind


@pytest.mark.parametrize("kind", ["v1", "v2", "xl"])
def test_tokens_are_encoded_as_the_pipeline_does(kind: str, models: dict[str, Path]) -> None:
    pipeline = load_pipeline(resolve(str(models[kind])))
    prompts = ["a photo of a sks castle", ""]
    ours = encode(list(text_encoders(pipeline).values()), tokenize(pipeline, prompts, torch.device("cpu")))
    theirs = embed(pipeline, prompts)
    assert torch.equal(ours.states, theirs.states)
    assert (ours.pooled is None) == (theirs.pooled is None)
    assert ours.pooled is None or torch.equal(ours.pooled, theirs.pooled)


@pytest.mark.parametrize("kind", ["v1", "xl"])
def test_text_encoders_learn(kind: str, models: dict[str, Path], options: Options, tmp_path: Path) -> None:
    result = train(options(model=str(models[kind]), train_text_encoder=True, steps=3), tmp_path / "run")
    tensors, info, _ = load_atoms(result.atoms_file)
    parts = split_parts(tensors)
    assert set(parts) == {"unet", "text_encoder", *(["text_encoder_2"] if kind == "xl" else [])}
    assert info.training["train_text_encoder"]
    assert info.parameters == sum(t.numel() for key, t in tensors.items() if "delta" in key)
    assert all(bool(t.any()) for key, t in tensors.items() if "delta" in key), "a delta never moved"

    loaded = read_atoms([(result.atoms_file, 1.0)])
    pipeline, plain = (load_pipeline(resolve(str(models[kind]))) for _ in range(2))
    merge_atoms(pipeline, loaded, Events())
    for name, encoder in text_encoders(pipeline).items():
        assert fingerprint(encoder) != fingerprint(getattr(plain, name)), name
        assert not any(isinstance(module, nn.ModuleDict) for module in encoder.modules()), "deltas were left"


def test_a_run_with_text_encoders_resumes_bit_equal(options: Options, tmp_path: Path) -> None:
    wanted = options(train_text_encoder=True, prior_preservation=True, prior_images=4)
    whole = train(wanted, tmp_path / "whole")
    steps = Loop.run

    def stop(self: Loop, total: int, after_step: Callable[[float], bool]) -> None:
        steps(self, 4, after_step)
        raise RuntimeError("the machine went down")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "run", stop)
        with pytest.raises(RuntimeError):
            train(wanted, tmp_path / "parts")
    assert train(wanted, tmp_path / "parts", resume=True).sha256 == whole.sha256


def test_training_the_text_encoder_is_off_by_default(options: Options, tmp_path: Path) -> None:
    tensors, _, _ = load_atoms(train(options(), tmp_path / "run").atoms_file)
    assert set(split_parts(tensors)) == {"unet"}


def test_atoms_of_a_part_the_model_lacks_are_refused(models: dict[str, Path], options: Options, tmp_path: Path) -> None:
    """A pipeline without a second text encoder and a UNet that happens to fit."""
    result = train(options(model=str(models["xl"]), train_text_encoder=True, steps=1), tmp_path / "run")
    pipeline = load_pipeline(resolve(str(models["xl"])))
    before = fingerprint(pipeline.unet)
    pipeline.text_encoder_2 = None
    with pytest.raises(AtomtuneError, match="tunes a text_encoder_2"):
        merge_atoms(pipeline, read_atoms([(result.atoms_file, 1.0)]), Events())
    assert fingerprint(pipeline.unet) == before
