"""`classify train`: every method, resumed runs, what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from atomtune.errors import AtomtuneError, Interrupted, UsageError
from atomtune.files.atoms_file import load_atoms
from atomtune.methods.specs import PRESETS, InPlaceSpec, RankSpec
from atomtune.vision.classifier import load_classifier
from atomtune.vision.evaluate import evaluate
from atomtune.vision.network import Network
from atomtune.vision.options import ClassifyOptions
from atomtune.vision.train import planned, train
from atomtune.vision.tuning import suited
from photo_files import Heard
from stopping import StopAfter

Options = Callable[..., ClassifyOptions]

METHODS = ("linear-probe", "bitfit", "lora", "loldu", "atoms:conv", "atoms:c1", "atoms:c2", "atoms:c3", "full")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_a_classifier_that_its_file_gives_back(
    method: str, options: Options, tmp_path: Path, classes: Path
) -> None:
    result = train(options(method=method, lr=1e-2), tmp_path / "run")
    tensors, info, _ = load_atoms(result.atoms_file)
    assert {"trained:fc.weight", "trained:fc.bias"} <= set(tensors)
    assert (len(tensors) == 2) == (method == "linear-probe")
    assert info.training["classes"] == ["blue", "green", "red"]
    assert (result.trainable_parameters > result.head_parameters) == (method != "linear-probe")
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    classifier = load_classifier(None, tmp_path / "run", device="cpu")
    assert evaluate(classifier, classes, tmp_path / "page").scores.images == 15
    assert len(losses) == result.steps == 4
    # what the file gives is what was trained: the head alone does as much as the probe's
    classifier.loaded.scale = 0.0
    changed = classifier.logits([next(classes.rglob("*.png"))])
    classifier.loaded.scale = 1.0
    assert torch.equal(changed, classifier.logits([next(classes.rglob("*.png"))])) == (method == "linear-probe")


def test_a_classifier_learns_what_its_images_show(options: Options, tmp_path: Path, test_classes: Path) -> None:
    train(options(method="full", lr=3e-3, epochs=8, augment="flip"), tmp_path / "run")
    assert evaluate(load_classifier(None, tmp_path / "run"), test_classes, tmp_path / "page").scores.accuracy > 0.8


@pytest.mark.parametrize(
    "changes", [{"method": "lora", "precision": "bf16"}, {"augment": "randaugment"}], ids=["lora", "randaugment"]
)
def test_a_resumed_run_ends_bit_equal(changes: dict[str, Any], options: Options, tmp_path: Path) -> None:
    whole = train(options(**changes), tmp_path / "whole")
    with pytest.raises(Interrupted, match="stopped after step 3 of 4"):
        train(options(**changes), tmp_path / "run", events=StopAfter(3))
    # auto is the precision that the run was begun with
    resumed = train(options(), tmp_path / "run", resume=True, explicit=frozenset({"precision"}))
    assert (resumed.resumed_from, resumed.sha256) == (3, whole.sha256)
    # and with processes that read the images
    assert train(options(workers=1, **changes), tmp_path / "read").sha256 == whole.sha256


def test_a_run_goes_on_with_its_own_options_and_images_alone(options: Options, tmp_path: Path, classes: Path) -> None:
    with pytest.raises(Interrupted):
        train(options(), tmp_path / "run", events=StopAfter(1))
    with pytest.raises(UsageError, match="epochs was 2, now 3"):
        train(options(epochs=3), tmp_path / "run")
    with pytest.raises(UsageError, match="lr was"):
        train(options(lr=0.5), tmp_path / "run", resume=True)
    other = tmp_path / "other"
    shutil.copytree(classes, other)
    (other / "blue" / "00.png").unlink()
    with pytest.raises(UsageError, match="other images of blue"):
        train(options(images=other), tmp_path / "run")
    assert train(options(), tmp_path / "run").resumed_from == 1
    with pytest.raises(UsageError, match="already holds a run"):
        train(options(), tmp_path / "run")
    assert train(options(lr=2e-3), tmp_path / "run", overwrite=True).resumed_from == 0
    assert load_classifier(None, tmp_path / "run").info.training["lr"] == 2e-3


def test_a_run_of_the_other_kind_is_not_gone_on_with(options: Options, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(options(), tmp_path / "run", events=StopAfter(1))
    record = tmp_path / "run" / "run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "task": None}))
    with pytest.raises(UsageError, match="is of atomtune train"):
        train(options(), tmp_path / "run")


def test_other_weights_than_a_run_began_with_are_refused(options: Options, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(options(), tmp_path / "run", events=StopAfter(1))
    with pytest.raises(AtomtuneError, match="weights of timm:test_resnet are not those"):
        train(options(weights="random"), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "resnet50"}, "there is no network resnet50"),
        ({"model": "timm:resnet5o"}, "timm has no network resnet5o"),
        ({"model": "timm:test_resnet.nobody"}, "Invalid pretrained tag"),
        ({"model": "torchvision:resnet18", "weights": None}, "are pickles"),
        ({"weights": "missing.safetensors"}, "no file of weights"),
        ({"model": "timm:test_vit"}, "timm cannot build timm:test_vit"),
        ({"model": "timm:test_resnet.r160_in1k", "weights": None}, "was not asked"),
        ({"images": Path("nowhere")}, "no folder nowhere"),
    ],
)
def test_what_is_not_there_is_named(changes: dict[str, Any], message: str, options: Options, tmp_path: Path) -> None:
    with pytest.raises(AtomtuneError, match=message) as raised:
        train(options(**changes), tmp_path / "run")
    assert raised.value.hint
    assert "\n" not in raised.value.hint


def test_a_damaged_image_is_named(options: Options, tmp_path: Path) -> None:
    for kind in ("a", "b"):
        (tmp_path / "images" / kind).mkdir(parents=True)
        (tmp_path / "images" / kind / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(AtomtuneError, match=r"cannot read .*1\.png"):
        train(options(images=tmp_path / "images"), tmp_path / "run")


def test_impossible_options_are_all_named() -> None:
    with pytest.raises(UsageError) as raised:
        ClassifyOptions(name="a/b", images=Path("x"), model="timm:x", method="nothing", epochs=0)
    assert all(word in raised.value.message for word in ("name must", "method must", "epochs must"))


def test_a_preset_is_named_with_its_method() -> None:
    made = ClassifyOptions(name="a", images=Path("x"), model="timm:x", method="atoms:c1")
    assert (made.method, made.spec, made.preset) == ("atoms", PRESETS["c1"], "c1")
    assert ClassifyOptions.from_dict(made.to_dict()) == made


# layers that a method leaves out


def test_depthwise_convolutions_are_tuned_by_atoms_and_left_out_by_lora(options: Options) -> None:
    heard = Heard()
    network = {"model": "timm:test_convnext", "weights": "random"}
    atoms, _ = planned(options(**network, method="atoms:conv"), 3, heard)
    assert any("conv_dw" in layer.name for layer in atoms)
    assert heard.warnings == []
    lora, _ = planned(options(**network, method="lora"), 3, heard)
    assert lora
    assert not any("conv_dw" in layer.name for layer in lora)
    assert "no lora for grouped convolutions" in heard.warnings[0]


def test_fused_projections_are_tuned_where_the_layer_is_called(options: Options) -> None:
    found, _ = planned(
        options(model="timm:test_vit", weights="random", method="lora", spec=RankSpec(layers="attention", rank=2)),
        3,
        Heard(),
    )
    assert {layer.name.split(".", 2)[2] for layer in found} == {"attn.qkv", "attn.proj"}


def test_projections_whose_weight_is_read_without_a_call_are_named() -> None:
    from timm.models.beit import Beit

    model = Beit(img_size=32, patch_size=16, embed_dim=16, depth=1, num_heads=2, num_classes=3).eval()
    network = Network(model, "timm:beit", "head", 32, (0.5,) * 3, (0.5,) * 3, "bicubic", 1.0)
    heard = Heard()
    spec = suited(network, "lora", RankSpec(layers="attention"), heard)
    assert spec.layers == "attention,!blocks.0.attn.qkv"
    assert "without calling them: blocks.0.attn.qkv" in heard.warnings[0]
    assert suited(network, "full", InPlaceSpec(), heard).layers == "all"  # which changes the weight where it is
