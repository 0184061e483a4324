"""Every mixture of what a run can see and do: finite, gradients only where something is trained, bit-equal resumed."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

import atomtune
from atomtune.data.concept import Concept
from atomtune.data.options import TaughtConcept
from atomtune.errors import Interrupted
from atomtune.files.atoms_file import load_atoms
from atomtune.files.checkpoint import load_checkpoint
from atomtune.methods.options import default_spec
from atomtune.methods.specs import PRESETS, RankSpec
from atomtune.training.loaded_base import LoadedBase
from atomtune.training.options import TrainOptions
from atomtune.training.step import Stepper
from atomtune.training.train import train
from stopping import StopAfter
from tiny import tiny_xl

LAUNCHER = Path(atomtune.__file__).parents[1] / "cli.py"
STEPS = 3

METHODS: dict[str, dict[str, Any]] = {
    "c1": {"spec": PRESETS["c1"]},
    "c3": {"spec": PRESETS["c3"]},
    "lora": {"method": "lora", "spec": RankSpec(rank=2)},
    "bitfit": {"method": "bitfit", "spec": default_spec("bitfit")},
    "textual-inversion": {"method": "textual-inversion", "spec": default_spec("textual-inversion")},
}

CHOICES = st.fixed_dictionaries(
    {
        "method": st.sampled_from(list(METHODS)),
        "xl": st.booleans(),
        "masked": st.booleans(),
        "mask_floor": st.sampled_from([0.0, 0.1]),
        "square": st.booleans(),
        "several": st.booleans(),
        "preserve": st.sampled_from([0.0, 1.0]),
        "preserve_every": st.sampled_from([1, 2]),
        "flip": st.booleans(),
        "grad_accum": st.sampled_from([1, 2]),
        "prior_preservation": st.booleans(),
        "own_classes": st.booleans(),
        "caption_dropout": st.sampled_from([0.0, 0.5]),
        "shuffle_tags": st.booleans(),
        "validate": st.sampled_from([0, 1]),
        "train_token": st.booleans(),
        "train_text_encoder": st.booleans(),
        "ema": st.booleans(),
        "min_snr_gamma": st.sampled_from([None, 5.0]),
        "timesteps": st.sampled_from(["uniform", "logit-normal", "200-800"]),
        "stop": st.integers(1, STEPS - 1),
    }
)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two concepts with images of two shapes, masks of all but one, captions of some; images of a class; a model."""
    root = tmp_path_factory.mktemp("material")
    for name, turn in (("castle", 0), ("rex", 20)):
        folder = root / name
        folder.mkdir()
        for number in range(4):
            size = (30, 44) if number == 3 else (44, 30)
            image = Image.radial_gradient("L").rotate(30 * number + turn).resize(size).convert("RGB")
            image.save(folder / f"{number}.png")
            if number:
                mask = Image.new("L", size, 0)
                mask.paste(255, (4, 4, 26, 26))
                mask.save(folder / f"{number}.mask.png")
        (folder / "1.txt").write_text("{}, small, grey, round", encoding="utf-8")
    classes = root / "classes"
    classes.mkdir()
    for number in range(2):
        Image.linear_gradient("L").rotate(90 * number).resize((40, 40)).convert("RGB").save(classes / f"{number}.png")
    return {
        "root": root,
        "castle": root / "castle",
        "rex": root / "rex",
        "classes": classes,
        "xl": tiny_xl(root / "xl"),
    }


@pytest.fixture(scope="module")
def bases() -> dict[bool, LoadedBase]:
    return {True: LoadedBase(keep=True), False: LoadedBase(keep=True)}


def asked(chosen: dict[str, Any], material: dict[str, Path], tiny_model: Path) -> TrainOptions:
    """The options of a choice; what does not go together is left out."""
    given = dict(chosen)
    del given["stop"]
    method, is_xl = METHODS[given.pop("method")], given.pop("xl")
    several, own_classes = given.pop("several"), given.pop("own_classes")
    is_inversion = method.get("method") == "textual-inversion"
    if is_inversion:
        given |= {"preserve": 0.0, "train_token": False, "train_text_encoder": False}
    if not given["preserve"]:
        del given["preserve_every"]
    own_classes &= given["prior_preservation"]
    others = TaughtConcept(
        concept=Concept("rex", "dog"),
        images=material["rex"],
        repeats=2,
        prior_dir=material["classes"] if own_classes else None,
    )
    return TrainOptions(
        concept=Concept("castle", "castle", "sks"),
        images=material["castle"],
        others=(others,) if several else (),
        model=str(material["xl"] if is_xl else tiny_model),
        prior_dir=material["classes"] if own_classes else None,
        prior_images=2,
        steps=STEPS,
        batch_size=1,
        checkpoint_every=STEPS,
        validate_every=1,
        lr=1e-3,
        device="cpu",
        **method,
        **given,
    )


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Has every step checked before it is taken: what is trained has finite gradients, nothing else has any."""
    update, steps = Stepper.update, []

    def check(self: Stepper) -> None:
        own = {id(parameter) for parameter in self.parameters}
        for name, parameter in self.model.named_parameters():
            assert parameter.requires_grad == (id(parameter) in own), name
            if id(parameter) not in own:
                assert parameter.grad is None, name
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        assert gradients
        assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
        assert any(bool(gradient.any()) for gradient in gradients)
        update(self)
        steps.append(1)

    monkeypatch.setattr(Stepper, "update", check)
    return steps


def holds(
    chosen: dict[str, Any],
    material: dict[str, Path],
    tiny_model: Path,
    bases: dict[bool, LoadedBase],
    folder: Path,
    checked: list[int],
) -> None:
    wanted, base = asked(chosen, material, tiny_model), bases[chosen["xl"]]
    checked.clear()
    whole = train(wanted, folder / "whole", loaded=base)
    assert len(checked) == STEPS
    with pytest.raises(Interrupted):
        train(wanted, folder / "parts", events=StopAfter(chosen["stop"]), loaded=base)
    resumed = train(wanted, folder / "parts", resume=True, loaded=base)
    assert (resumed.sha256, resumed.resumed_from) == (whole.sha256, chosen["stop"])
    one, two = (load_checkpoint(folder / run / "checkpoint.safetensors") for run in ("whole", "parts"))
    assert one.losses == two.losses
    assert one.held_out == two.held_out
    assert all(math.isfinite(loss) for loss in [*one.losses, *one.held_out.values()])
    assert all(torch.equal(value, two.parameters[name]) for name, value in one.parameters.items())
    tensors, info, _ = load_atoms(whole.atoms_file)
    assert tensors
    assert info.names == [concept.name for concept in wanted.concepts]
    record = json.loads((folder / "whole" / "run.json").read_text(encoding="utf-8"))
    assert TrainOptions.from_dict(record["options"]).others == wanted.others


@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(chosen=CHOICES)
def test_some_mixtures(
    chosen: dict[str, Any],
    material: dict[str, Path],
    tiny_model: Path,
    bases: dict[bool, LoadedBase],
    checked: list[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    holds(chosen, material, tiny_model, bases, tmp_path_factory.mktemp("runs"), checked)


@pytest.mark.slow
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(chosen=CHOICES)
def test_many_mixtures(
    chosen: dict[str, Any],
    material: dict[str, Path],
    tiny_model: Path,
    bases: dict[bool, LoadedBase],
    checked: list[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    holds(chosen, material, tiny_model, bases, tmp_path_factory.mktemp("runs"), checked)


TOML = """
[[concept]]
name = "castle"
token = "sks"
images = "{castle}"

[[concept]]
name = "rex"
class_noun = "dog"
images = "{rex}"
repeats = 2
"""


@pytest.mark.slow
def test_two_processes_are_one_with_the_summed_batch(
    material: dict[str, Path], tiny_model: Path, tmp_path: Path
) -> None:
    """Masks, two shapes, two concepts, flips, preservation and a held-out image, by two processes and by one."""
    (tmp_path / "run.toml").write_text(TOML.format(**material), encoding="utf-8")
    shared = f"--config {tmp_path / 'run.toml'} --model {tiny_model} --device cpu --preset c1 --steps {STEPS} --masked"
    shared += " --flip --preserve 0.5 --validate 1 --validate-every 1 --json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ATOMTUNE_CACHE": str(tmp_path / "cache")}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    results = {}
    for name, launcher, flags in (
        ("one", [], "--batch-size 4 --preserve-rows 4"),
        ("two", launch, "--batch-size 1 --grad-accum 2 --preserve-rows 1"),
    ):
        command = [sys.executable, *launcher, str(LAUNCHER), "train", *shared.split(), *flags.split()]
        done = subprocess.run(
            [*command, "--output", str(tmp_path / name)], capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 0, done.stderr
        results[name] = json.loads(done.stdout)
    one, two = (load_checkpoint(tmp_path / name / "checkpoint.safetensors") for name in results)
    assert one.losses == pytest.approx(two.losses, rel=1e-4)
    assert list(one.held_out.values()) == pytest.approx(list(two.held_out.values()), rel=1e-4)
    assert results["one"]["held_out"] == results["two"]["held_out"]
    for key, value in one.parameters.items():
        assert (value - two.parameters[key]).norm() < 1e-2 * value.norm(), key
