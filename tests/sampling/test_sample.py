"""Images: what they depend on, and what they do not."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from atomtune.adapt import attach
from atomtune.core.deltas import AtomDelta
from atomtune.core.fingerprint import fingerprint
from atomtune.errors import AtomtuneError, Interrupted, Terminated, UsageError
from atomtune.files.atoms_file import load_atoms, save_atoms
from atomtune.files.cache import cache_folder
from atomtune.methods.atoms import Atoms
from atomtune.methods.specs import PRESETS
from atomtune.methods.textual_inversion import change_shape
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.models.conditioning import embed
from atomtune.models.decomposition import load_or_decompose
from atomtune.runtime.progress import Events
from atomtune.sampling.apply import merge_atoms
from atomtune.sampling.changes import read_atoms
from atomtune.sampling.generate import generate
from atomtune.sampling.options import SampleOptions, Settings
from atomtune.sampling.sample import sample
from atomtune.training.options import TrainOptions
from atomtune.training.train import train
from made import made_atoms

Options = Callable[..., TrainOptions]
QUICK = Settings(steps=3)


class Heard(Events):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def psnr(one: Image.Image, other: Image.Image) -> float:
    """Peak signal-to-noise ratio of two images, dB."""
    difference = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    error = float((difference**2).mean())
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


@pytest.fixture
def atoms(options: Options, tmp_path: Path) -> Path:
    """An atoms file with a change that shows."""
    return train(options(lr=0.05), tmp_path / "run").atoms_file


def test_an_image_depends_on_its_seed_and_not_on_its_batch(atoms: Path, tmp_path: Path) -> None:
    def generated(batch_size: int, seed: int = 5, num: int = 3) -> list[Image.Image]:
        wanted = SampleOptions(
            atoms=((atoms, 1.0),),
            prompts=("a <castle>",),
            per_prompt=num,
            seed=seed,
            batch_size=batch_size,
            settings=QUICK,
        )
        return [item.load() for item in sample(wanted, tmp_path / "out")[0]]

    together, alone, shifted = generated(3), generated(1), generated(1, seed=6, num=2)
    # kernels may round differently by batch size, so a level or two of 255 is the same image
    assert all(psnr(a, b) > 55 for a, b in zip(together, alone, strict=True))
    assert all(psnr(a, b) > 55 for a, b in zip(alone[1:], shifted, strict=True))
    assert psnr(alone[0], alone[1]) < 40


def test_the_file_and_the_base_alone_give_the_trained_model(atoms: Path, tiny_model: Path, tmp_path: Path) -> None:
    """The decomposition cache is deleted; what is encoded again gives the same images as the cached coefficients."""
    source = resolve(str(tiny_model))
    attached = load_pipeline(source)
    loaded = read_atoms([(atoms, 1.0)])[0]
    decomposition, report = load_or_decompose(attached.unet, source, PRESETS["c2"])
    assert report.found
    deltas = Atoms().create(attached.unet, PRESETS["c2"], decomposition)
    with torch.no_grad():
        for name, delta in deltas.items():
            stored = loaded.tensors[f"{name}.delta_atoms"].float() / delta.gain
            assert isinstance(delta, AtomDelta)
            delta.delta_atoms.copy_(delta.atoms @ stored if delta.is_complete else stored)
    attach(attached.unet, deltas)

    report.path.unlink()
    assert not list(cache_folder().rglob("*.safetensors"))
    merged = load_pipeline(source)
    merge_atoms(merged, [loaded], Events())
    images = []
    for pipeline in (attached, merged, load_pipeline(source)):
        words = embed(pipeline, ["a sks castle", ""])
        images.append(generate(pipeline, words[:1], words[1:], [0], Settings(steps=5))[0])
    assert psnr(images[0], images[1]) > 50
    assert psnr(images[0], images[2]) < 40, "the atoms change nothing, so the comparison says nothing"


def test_scale_zero_is_the_base_and_files_add_up(atoms: Path, tiny_model: Path, tmp_path: Path) -> None:
    dog = made_atoms(tmp_path / "dog.safetensors", tiny_model, concept="dog", class_noun="dog")

    def merged(*files: tuple[Path, float]) -> dict[str, torch.Tensor]:
        pipeline = load_pipeline(resolve(str(tiny_model)))
        merge_atoms(pipeline, read_atoms(files), Events())
        return dict(pipeline.unet.state_dict())

    base, zero, one, other = merged(), merged((atoms, 0.0)), merged((atoms, 1.0)), merged((dog, 0.5))
    both = merged((atoms, 1.0), (dog, 0.5))
    assert all(torch.equal(base[name], zero[name]) for name in base)
    assert any(not torch.equal(base[name], one[name]) for name in base)
    assert any(not torch.equal(base[name], other[name]) for name in base)
    assert all(torch.allclose(one[name] + other[name] - base[name], both[name], atol=1e-6) for name in base)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "the same atoms"),
        ({"seed": 1, "concept": "home", "token": "SKS"}, "different concepts that are both 'sks castle'"),
        ({"seed": 1, "class_noun": "house"}, "different concepts that are both called <castle>"),
    ],
)
def test_concepts_that_no_prompt_tells_apart_are_refused(
    changes: dict[str, Any], says: str, tiny_model: Path, tmp_path: Path
) -> None:
    one = made_atoms(tmp_path / "one.safetensors", tiny_model)
    other = made_atoms(tmp_path / "other.safetensors", tiny_model, **changes)
    with pytest.raises(UsageError, match=says) as problem:
        read_atoms([(one, 1.0), (other, 0.5)])
    assert problem.value.hint
    different = made_atoms(tmp_path / "dog.safetensors", tiny_model, seed=2, concept="dog", class_noun="dog")
    assert len(read_atoms([(one, 1.0), (different, 1.0)])) == 2, "one token, but the noun tells them apart"


def test_two_trainings_of_one_concept_add_up_with_a_warning(tiny_model: Path, tmp_path: Path) -> None:
    files = [made_atoms(tmp_path / f"{seed}.safetensors", tiny_model, seed=seed) for seed in (1, 2)]
    heard = Heard()
    assert len(read_atoms([(file, 0.5) for file in files], heard)) == 2
    assert "are of one concept, 'sks castle'" in heard.warnings[0]


def test_two_concepts_that_train_one_token_are_pointed_out(tiny_model: Path, tmp_path: Path) -> None:
    files = []
    for name, token in (("castle", "choa uer"), ("dog", "uer apha"), ("mug", "wiwx")):
        tensors, info, _ = load_atoms(made_atoms(tmp_path / "made.safetensors", tiny_model, seed=len(files)))
        vectors = len(token.split())
        tensors["text_encoder.token_embedding.change"] = torch.ones(change_shape(vectors, 16), dtype=torch.float16)
        files.append(tmp_path / f"{name}.safetensors")
        save_atoms(files[-1], replace(info, concept=name, class_noun=name, token=token), tensors)
    heard = Heard()
    read_atoms([(file, 1.0) for file in files], heard)
    (warning,) = heard.warnings
    assert "castle.safetensors and" in warning
    assert "both train the embedding of uer: each changes what the other learned" in warning


def test_pngs_say_how_they_were_made(atoms: Path, tmp_path: Path) -> None:
    wanted = SampleOptions(
        atoms=((atoms, 0.7),), prompts=("a <castle> in snow",), seed=9, settings=QUICK, base=True, grid=True
    )
    images, grid = sample(wanted, tmp_path / "out")
    assert [item.base for item in images] == [True, False]
    assert grid is not None
    assert grid.is_file()
    facts = json.loads(Image.open(images[1].path).info["atomtune"])
    assert (facts["prompt"], facts["seed"], facts["atoms"][0]["scale"]) == ("a sks castle in snow", 9, 0.7)
    assert facts["atoms"][0]["sha256"] == read_atoms([(atoms, 1.0)])[0].sha256
    assert json.loads(Image.open(images[0].path).info["atomtune"])["atoms"] == []
    assert "Seed: 9" in Image.open(images[1].path).info["parameters"]
    again, _ = sample(wanted, tmp_path / "out")
    assert not {item.path for item in images} & {item.path for item in again}, "a second call must not overwrite"


def test_inspect_shows_how_an_image_was_generated(atoms: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    wanted = SampleOptions(atoms=((atoms, 0.7),), prompts=("a <castle>\x1b[2J",), seed=9, settings=QUICK)
    ((image,), _) = sample(wanted, tmp_path / "out")
    facts = json.loads(cli("inspect", image.path, "--json").out)
    assert (facts["kind"], facts["width"], facts["height"], facts["seed"], facts["steps"]) == ("image", 32, 32, 9, 3)
    assert facts["prompt"] == "a sks castle\\u001b[2J", "what would steer the terminal is escaped"
    assert (facts["atoms"][0]["concept"], facts["atoms"][0]["scale"]) == ("castle", 0.7)
    assert str(tmp_path) not in json.dumps({**facts, "path": ""})
    shown = cli("inspect", image.path).out
    assert "a sks castle" in shown
    assert "0.7" in shown
    other = tmp_path / "other.png"
    text = PngInfo()
    text.add_text("parameters", "a cat\nSteps: 3")
    Image.new("RGB", (8, 8)).save(other, pnginfo=text)
    assert json.loads(cli("inspect", other, "--json").out)["settings"] == "a cat\nSteps: 3"


def test_inspect_of_other_pngs(cli: Callable[..., Any], tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "plain.png").read_bytes()[:20])
    for name, says in (("plain.png", "does not say how it was generated"), ("broken.png", "damaged PNG")):
        answer = cli("inspect", tmp_path / name)
        assert answer.code == 1
        assert says in answer.err
        assert "Traceback" not in answer.err


def test_files_are_named_after_prompts_in_any_script(tiny_model: Path, tmp_path: Path) -> None:
    prompts = ("A cat, asleep!", "猫が眠る", "Élan " + "x" * 300, "...")
    wanted = SampleOptions(prompts=prompts, model=str(tiny_model), settings=QUICK)
    names = [image.path.name for image in sample(wanted, tmp_path / "out")[0]]
    assert names == [
        *("00000-0-a-cat-asleep-base.png", "00001-0-猫が眠る-base.png"),
        *("00002-0-élan-base.png", "00003-0-base.png"),
    ]


class Stopped(Heard):
    """Ctrl-C after so many images."""

    def __init__(self, images: int, kind: type[KeyboardInterrupt] = KeyboardInterrupt) -> None:
        super().__init__()
        self.left = images
        self.kind = kind

    def advance(self, note: str = "") -> None:
        self.left -= 1
        if self.left == 0:
            raise self.kind


@pytest.mark.parametrize(("kind", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_an_interrupt_keeps_what_was_generated(
    kind: type[KeyboardInterrupt], code: int, tiny_model: Path, tmp_path: Path
) -> None:
    wanted = SampleOptions(
        prompts=("a castle",), model=str(tiny_model), per_prompt=5, batch_size=1, settings=QUICK, grid=True
    )
    with pytest.raises(Interrupted, match=r"stopped after 2 of 5 images; they are kept in .*out") as stopped:
        sample(wanted, tmp_path / "out", Stopped(2, kind))
    assert stopped.value.exit_code == code
    kept = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in kept] == ["00000-0-a-castle-base.png", "00001-1-a-castle-base.png"]
    assert all(json.loads(Image.open(file).info["atomtune"])["seed"] == seed for seed, file in enumerate(kept))


def test_a_folder_that_takes_no_images_is_known_before_the_model_loads(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atomtune.sampling.sample.load_sampler", lambda *_: pytest.fail("the model was loaded"))
    (tmp_path / "file").write_text("")
    with pytest.raises(AtomtuneError, match="cannot write"):
        sample(SampleOptions(prompts=("a castle",), model=str(tiny_model)), tmp_path / "file" / "out")


def test_a_concept_that_no_prompt_names_is_pointed_out(atoms: Path, tmp_path: Path) -> None:
    heard = Heard()
    wanted = SampleOptions(atoms=((atoms, 1.0),), prompts=("a castle",), settings=QUICK)
    sample(wanted, tmp_path / "out", heard)
    assert "no prompt names 'sks castle': <castle> stands for it" in heard.warnings
    heard = Heard()
    (image,) = sample(replace(wanted, prompts=("a {} on the beach",)), tmp_path / "out", heard)[0]
    assert (image.prompt, heard.warnings) == ("a sks castle on the beach", [])


def test_another_base_is_a_warning_and_another_architecture_an_error(
    options: Options, other_model: Path, wider_model: Path, tmp_path: Path
) -> None:
    # with tiles of 4 every atom of the wider model has the shape of the file's
    atoms = train(options(spec=PRESETS["c1"]), tmp_path / "c1").atoms_file
    heard = Heard()
    merge_atoms(load_pipeline(resolve(str(other_model))), read_atoms([(atoms, 1.0)]), heard)
    assert "other weights" in heard.warnings[0]
    wider = load_pipeline(resolve(str(wider_model)))
    before = fingerprint(wider.unet)
    with pytest.raises(AtomtuneError, match="is for the architecture") as problem:
        merge_atoms(wider, read_atoms([(atoms, 1.0)]), heard)
    assert "base model of its architecture" in (problem.value.hint or "")
    assert fingerprint(wider.unet) == before


def test_sides_are_multiples_of_8() -> None:
    with pytest.raises(UsageError, match="size must have sides that are multiples of 8, not 31x32"):
        Settings(size=(31, 32))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"prompts": ()}, "nothing to generate"),
        ({"prompts": ("a <car>",)}, "<car>"),
        ({"scheduler": "magic"}, "scheduler must be one of ddim"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_wishes_are_refused(wrong: dict[str, Any], says: str, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        sample(SampleOptions(**{"prompts": ("a castle",), "model": str(tiny_model), **wrong}), tmp_path / "out")
    assert not (tmp_path / "out").exists()
