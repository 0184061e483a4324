"""Encoders prepare images as the libraries do, mind no batches, and are those that a base model is scored with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel, BitImageProcessor, Dinov2Config, Dinov2Model
from transformers.utils import logging

from atomtune.errors import AtomtuneError
from atomtune.evaluation import metrics as scores
from atomtune.evaluation.encoders.base import encoders_for, parse_encoder_paths, public_name
from atomtune.evaluation.encoders.clip import load_clip
from atomtune.evaluation.encoders.dino import DINOV2_PREPROCESSING, load_dino, load_dinov2
from atomtune.evaluation.encoders.embedding import unit_rows
from atomtune.evaluation.encoders.grader import IDENTITY_WIDTH, load_grader, load_identity
from atomtune.evaluation.encoders.preprocessing import IMAGENET_DEVIATION, IMAGENET_MEAN, Preprocessing
from atomtune.models.base_model import DEFAULT_MODEL, POCKET, load_pipeline, resolve
from pretrain.figures import same_thing
from small_encoders import (
    CLIP_SIDE,
    LOADERS,
    TEXTS,
    WIDTHS,
    are_unit_rows,
    odd_images,
    small_clip,
    small_dino,
    write_clip,
)


@pytest.mark.parametrize("kind", LOADERS)
def test_rows_are_of_norm_one_and_differ(kind: str, folders: dict[str, Path]) -> None:
    encoder = LOADERS[kind](str(folders[kind]))
    embeddings = encoder.encode_images(odd_images())
    assert are_unit_rows(embeddings, len(odd_images()), WIDTHS[kind])
    assert encoder.width == WIDTHS[kind]
    assert str(folders[kind]) in encoder.name
    assert str(folders[kind]) not in public_name(encoder.name)
    assert folders[kind].name in public_name(encoder.name)
    closest = scores.cosine_matrix(embeddings, embeddings).fill_diagonal_(-1).max()
    assert closest < 0.9999


@pytest.mark.parametrize("kind", [*LOADERS, "grader", "identity"])
def test_batches_and_neighbours_do_not_matter(kind: str, folders: dict[str, Path]) -> None:
    own = {"grader": load_grader, "identity": load_identity}
    encoder = own[kind]() if kind in own else LOADERS[kind](str(folders[kind]))
    images = odd_images()
    embeddings = encoder.encode_images(images)
    for batch in (1, 2, 5):
        assert torch.allclose(encoder.encode_images(images, batch=batch), embeddings, atol=1e-6)
    assert torch.allclose(encoder.encode_images(images[::-1], batch=4).flip(0), embeddings, atol=1e-6)
    assert encoder.encode_images([]).shape == (0, encoder.width)
    in_ones, at_once = (encoder.encode_images(images, batch=batch) for batch in (1, 100))
    assert scores.vendi(in_ones) == pytest.approx(scores.vendi(at_once), abs=1e-5)
    assert scores.fidelity(in_ones, embeddings) == pytest.approx(scores.fidelity(at_once, embeddings), abs=1e-5)


@pytest.mark.parametrize("kind", LOADERS)
def test_loading_is_quiet(kind: str, folders: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    LOADERS[kind](str(folders[kind]))
    assert capfd.readouterr() == ("", "")
    assert (logging.is_progress_bar_enabled(), logging.get_verbosity()) == (bars, verbosity)


@pytest.mark.parametrize("kind", ["clip", "grader"])
def test_texts_are_in_the_space_of_images(kind: str, folders: dict[str, Path]) -> None:
    encoder = load_grader() if kind == "grader" else load_clip(str(folders["clip"]))
    embeddings = encoder.encode_texts(TEXTS)
    assert are_unit_rows(embeddings, len(TEXTS), encoder.width)
    assert torch.allclose(encoder.encode_texts(TEXTS[::-1]).flip(0), embeddings, atol=1e-6)
    assert len({tuple(row.tolist()) for row in embeddings}) == len(TEXTS)


def test_modes_of_images_are_read_as_colours(folders: dict[str, Path]) -> None:
    encoder = load_dinov2(str(folders["dinov2"]))
    grey = odd_images()[1].convert("L")
    assert torch.equal(encoder.encode_images([grey]), encoder.encode_images([grey.convert("RGB")]))
    palette = odd_images()[1].convert("P")
    assert torch.equal(encoder.encode_images([palette]), encoder.encode_images([palette.convert("RGB")]))


def dinov2_processor(kind: type[BitImageProcessor]) -> BitImageProcessor:
    """What facebook/dinov2-base says of images in its preprocessor_config.json."""
    return kind(
        do_resize=True,
        size={"shortest_edge": 256},
        resample=Image.Resampling.BICUBIC,
        do_center_crop=True,
        crop_size={"height": 224, "width": 224},
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=list(IMAGENET_MEAN),
        image_std=list(IMAGENET_DEVIATION),
        do_convert_rgb=True,
    )


def test_dinov2_sees_what_transformers_would_show_it() -> None:
    module = pytest.importorskip("transformers.models.bit.image_processing_pil_bit")
    processor = dinov2_processor(module.BitImageProcessorPil)
    for image in odd_images():
        theirs = processor(images=image, return_tensors="pt")["pixel_values"]
        assert torch.allclose(DINOV2_PREPROCESSING([image]), theirs, atol=1e-5)


def test_dinov2_sees_what_the_processor_on_tensors_would_show_it() -> None:
    processor = dinov2_processor(BitImageProcessor)
    step = 1 / 255 / min(IMAGENET_DEVIATION)
    for image in odd_images():
        theirs = processor(images=image, return_tensors="pt")["pixel_values"]
        difference = (DINOV2_PREPROCESSING([image]) - theirs).abs()
        # Pillow and torchvision round the resized image to eight bits in their own ways
        assert difference.max() < 2.01 * step
        assert difference.mean() < 0.1 * step


def test_dinov2_is_its_class_token(folders: dict[str, Path]) -> None:
    module = pytest.importorskip("transformers.models.bit.image_processing_pil_bit")
    images = odd_images()
    model = AutoModel.from_pretrained(folders["dinov2"]).eval()
    with torch.no_grad():
        shown = dinov2_processor(module.BitImageProcessorPil)(images=images, return_tensors="pt")
        theirs = torch.nn.functional.normalize(model(**shown).pooler_output)
    assert torch.allclose(load_dinov2(str(folders["dinov2"])).encode_images(images), theirs, atol=1e-5)


def test_a_vit_takes_images_larger_than_those_it_was_trained_on(tmp_path: Path) -> None:
    encoder = load_dino(str(small_dino(tmp_path, image_size=112)))
    assert are_unit_rows(encoder.encode_images(odd_images()), len(odd_images()), WIDTHS["dino"])


@pytest.mark.parametrize(
    "asked", [{}, {"resize_mode": "squash"}, {"interpolation": "bilinear"}, {"mean": [0.5] * 3, "std": [0.5] * 3}]
)
def test_clip_sees_what_open_clip_would_show_it(asked: dict[str, object], tmp_path: Path) -> None:
    folder, images = small_clip(tmp_path, **asked), odd_images()
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    with torch.no_grad():
        shown = torch.stack([transform(image) for image in images])
        expected = model.eval().encode_image(shown, normalize=True)
        texts = model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS), normalize=True)
    encoder = load_clip(str(folder))
    assert torch.allclose(encoder.encode_images(images), expected, atol=1e-5)
    assert torch.allclose(encoder.encode_texts(TEXTS), texts, atol=1e-5)


def test_preprocessing_is_said_in_words(folders: dict[str, Path]) -> None:
    said = {kind: LOADERS[kind](str(folder)).preprocessing for kind, folder in folders.items()}
    assert said["dinov2"] == "shortest side 256 px bicubic, centre crop 224, ImageNet mean and deviation"
    assert said["dino"] == said["dinov2"]
    assert said["clip"] == f"shortest side {CLIP_SIDE} px bicubic, centre crop {CLIP_SIDE}, CLIP mean and deviation"
    assert load_grader().preprocessing == "both sides 64 px bicubic, values from -1 to 1"
    odd = Preprocessing(32, 30, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0), filter="bilinear")
    assert str(odd) == "shortest side 32 px bilinear, centre crop 30, mean (0.1, 0.2, 0.3), deviation (1.0, 1.0, 1.0)"
    with pytest.raises(ValueError, match="cannot cut"):
        Preprocessing(30, 32, IMAGENET_MEAN, IMAGENET_DEVIATION)


def test_the_grader_sees_its_own_size_untouched() -> None:
    image = odd_images()[-1]
    assert image.size == (64, 64)
    seen = load_grader()._preprocess([image])
    plain = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 127.5 - 1
    assert torch.allclose(seen[0], plain, atol=1e-6)


def test_weights_in_float16_are_read_as_float32(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["dinov2"], tmp_path / "half"))
    weights = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float16", "torch_dtype": "float16"}))
    encoder = load_dinov2(str(folder))
    assert {parameter.dtype for parameter in encoder.model.parameters()} == {torch.float32}
    whole = load_dinov2(str(folders["dinov2"])).encode_images(odd_images())
    assert torch.allclose(encoder.encode_images(odd_images()), whole, atol=0.02)


def test_pocket_is_scored_by_its_grader() -> None:
    encoders = encoders_for("pocket", device="cpu")
    assert encoders.dino is None
    assert public_name(encoders.alignment.name) == encoders.alignment.name == "pocket's grader"
    assert encoders.fidelity.name == "pocket's identity encoder"
    assert encoders.fidelity.width == IDENTITY_WIDTH
    assert encoders.diversity is encoders.alignment


def test_the_identity_encoder_knows_a_thing_again_in_another_scene() -> None:
    """Things that no training saw; others of the class are told from it by far more than a scene makes out."""
    figures = same_thing(load_identity(), load_pipeline(resolve(POCKET)))
    assert figures["same_thing"] - figures["other_thing"] > 0.2
    assert figures["same_thing"] > 0.6


def test_named_folders_come_first(folders: dict[str, Path]) -> None:
    clip = encoders_for("pocket", paths={"clip": str(folders["clip"])}, device="cpu")
    assert (clip.fidelity.name, clip.alignment.width) == ("pocket's identity encoder", WIDTHS["clip"])
    both = {name: str(folders[name]) for name in ("dinov2", "clip")}
    encoders = encoders_for(DEFAULT_MODEL, paths=both, device="cpu")
    assert (encoders.fidelity.width, encoders.alignment.width) == (WIDTHS["dinov2"], WIDTHS["clip"])
    assert encoders.diversity is encoders.fidelity
    assert encoders.dino is None
    dino = encoders_for("pocket", paths={name: str(path) for name, path in folders.items()}, device="cpu").dino
    assert dino is not None
    assert dino.width == WIDTHS["dino"]
    with pytest.raises(ValueError, match="no encoder called 'sam'"):
        encoders_for("pocket", paths={"sam": "."}, device="cpu")


@pytest.mark.parametrize("broken", [0.0, float("nan")])
def test_embeddings_without_a_direction_are_refused(broken: float) -> None:
    def encode(items: object) -> Tensor:
        return torch.tensor([[1.0, 2.0], [broken, broken]])

    with pytest.raises(AtomtuneError, match="the encoder eye gives no direction"):
        unit_rows("eye", encode, ["a", "b"], 2, 2)
    with pytest.raises(ValueError, match="at least one"):
        unit_rows("eye", encode, ["a", "b"], 0, 2)


@pytest.mark.slow
def test_full_size_models_run_through(tmp_path: Path, cli: Callable[..., Any]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Dinov2Model(Dinov2Config(image_size=518)).save_pretrained(tmp_path / "dinov2")
        clip = open_clip.create_model("ViT-L-14-quickgelu")
    write_clip(
        tmp_path / "clip",
        {name: tensor.half() for name, tensor in clip.state_dict().items()},
        {"model_cfg": open_clip.get_model_config("ViT-L-14-quickgelu"), "preprocess_cfg": clip.visual.preprocess_cfg},
    )
    del clip
    paths = parse_encoder_paths([f"dinov2={tmp_path / 'dinov2'}", f"clip={tmp_path / 'clip'}"])
    encoders = encoders_for(DEFAULT_MODEL, paths=paths, device="cpu")
    images, texts = odd_images()[:3], TEXTS[:3]
    seen, shown = encoders.fidelity.encode_images(images), encoders.alignment.encode_images(images, batch=2)
    assert are_unit_rows(seen, 3, 768)
    assert are_unit_rows(shown, 3, 768)
    assert 1 < scores.vendi(seen) <= 3
    assert -1 <= scores.alignment(shown, encoders.alignment.encode_texts(texts)) <= 1
    assert torch.allclose(encoders.fidelity.encode_images(images, batch=1), seen, atol=1e-5)
    assert torch.allclose(encoders.alignment.encode_images(images, batch=1), shown, atol=1e-5)
    for i, image in enumerate(images):
        for folder in ("drawn", "real"):
            (tmp_path / folder).mkdir(exist_ok=True)
            image.convert("RGB").save(tmp_path / folder / f"{i}.png")
    folders = (word for name, path in paths.items() for word in ("--encoder-path", f"{name}={path}"))
    answer = cli(*("evaluate", "--images", tmp_path / "drawn", "--references", tmp_path / "real"), *folders, "--json")
    assert answer.code == 0, answer.err
    figures = json.loads(answer.out)
    assert figures["fidelity"] == pytest.approx(scores.fidelity(seen, seen), abs=1e-3)
