"""Going on with a run: the steps that were asked for, what may change meanwhile, and what must not."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from atomtune.data.concept import Concept
from atomtune.errors import AtomtuneError, Interrupted, UsageError
from atomtune.files import store
from atomtune.files.atoms_file import load_atoms
from atomtune.files.decomposition_file import KIND
from atomtune.methods.specs import PRESETS
from atomtune.training.options import TrainOptions
from atomtune.training.train import train
from photo_files import Heard
from stopping import StopAfter

Options = Callable[..., TrainOptions]
STEPS = frozenset({"steps"})


def interrupted(options: TrainOptions, run: Path, after: int, **how: Any) -> Interrupted:
    with pytest.raises(Interrupted) as stopped:
        train(options, run, events=StopAfter(after), **how)
    return stopped.value


def own(header: dict[str, str]) -> dict[str, str]:
    """The metadata of a file without what `store` adds."""
    return {key: value for key, value in header.items() if not key.startswith(("format", "sha256", "metadata_sha256"))}


def test_a_run_that_was_begun_when_every_token_was_sks_goes_on(options: Options, tmp_path: Path) -> None:
    interrupted(options(concept=Concept("castle", "castle", "sks")), tmp_path / "run", 2)
    with pytest.raises(UsageError, match="concept was"):
        train(options(concept=Concept("castle", "castle", "zwq")), tmp_path / "run")
    assert train(options(concept=Concept("castle", "castle")), tmp_path / "run").steps == 6
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert record["options"]["data"]["concept"]["token"] == "sks"


# precision


def in_bf16(run: Path) -> bool:
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return record["options"]["model"]["precision"] == "bf16"


def test_a_run_goes_on_in_the_precision_that_auto_was_for_it(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(options(precision="bf16"), tmp_path / "whole")
    with monkeypatch.context() as elsewhere:  # as on a GPU that computes in it
        elsewhere.setattr("atomtune.training.train.pick_precision", lambda asked, _: asked.replace("auto", "bf16"))
        interrupted(options(), tmp_path / "run", 2)
    assert in_bf16(tmp_path / "run")
    interrupted(options(), tmp_path / "run", 2)  # the same command again, here
    with pytest.raises(UsageError, match="precision was 'bf16', now 'fp32'"):
        train(options(precision="fp32"), tmp_path / "run")
    with pytest.raises(UsageError, match="precision was 'bf16', now 'fp32'"):
        train(options(precision="fp32"), tmp_path / "run", resume=True)
    explicit = frozenset({"precision"})
    assert train(options(), tmp_path / "run", resume=True, explicit=explicit).sha256 == whole.sha256
    assert in_bf16(tmp_path / "run")
    assert load_atoms(tmp_path / "run" / "castle.safetensors")[1].training["precision"] == "bf16"


def test_auto_is_float32_on_a_cpu_and_float16_is_refused_there(options: Options, tmp_path: Path) -> None:
    result = train(options(steps=1), tmp_path / "run")
    assert train(options(steps=1, precision="fp32"), tmp_path / "other").sha256 == result.sha256
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert record["options"]["model"]["precision"] == "fp32"
    with pytest.raises(UsageError, match="a CPU cannot train in fp16") as refused:
        train(options(precision="fp16"), tmp_path / "half")
    assert "fp32 or bf16" in str(refused.value.hint)
    assert not (tmp_path / "half" / "run.json").exists()


# steps


def test_a_run_that_was_given_more_steps_goes_on_to_all_of_them(options: Options, tmp_path: Path) -> None:
    whole = train(options(steps=8), tmp_path / "whole")
    train(options(steps=2), tmp_path / "run")
    stopped = interrupted(options(steps=8), tmp_path / "run", 3, resume=True, explicit=STEPS)
    assert "stopped after step 5 of 8" in stopped.message
    hinted = train(options(steps=1000), tmp_path / "run", resume=True)  # as the hint says, without --steps
    assert (hinted.steps, hinted.sha256) == (8, whole.sha256)


def test_fewer_steps_than_were_taken_are_refused(options: Options, tmp_path: Path) -> None:
    result = train(options(steps=4), tmp_path / "run")
    before = result.atoms_file.read_bytes()
    with pytest.raises(UsageError, match=r"^the run has taken 4 steps, so it cannot be resumed with --steps 2$"):
        train(options(steps=2), tmp_path / "run", resume=True, explicit=STEPS)
    assert result.atoms_file.read_bytes() == before


def test_a_run_that_did_not_end_can_be_given_fewer_steps(options: Options, tmp_path: Path) -> None:
    interrupted(options(), tmp_path / "run", 3)
    result = train(options(steps=4), tmp_path / "run", resume=True, explicit=STEPS)
    assert result.sha256 == train(options(steps=4), tmp_path / "whole").sha256


def test_a_finished_run_says_that_it_is_finished(options: Options, tmp_path: Path) -> None:
    first, heard = train(options(), tmp_path / "run"), Heard()
    again = train(options(), tmp_path / "run", resume=True, events=heard)
    assert (again.steps, again.resumed_from, again.sha256) == (6, 6, first.sha256)
    (said,) = [text for text in heard.warnings if "finished" in text]
    assert said.endswith("run is finished: it has taken its 6 steps; --steps N with more than 6 goes on")


def test_a_finished_run_without_its_checkpoint_is_not_trained_anew(options: Options, tmp_path: Path) -> None:
    train(options(), tmp_path / "run")
    (tmp_path / "run" / "checkpoint.safetensors").unlink()
    with pytest.raises(UsageError, match="is finished and its checkpoint was deleted"):
        train(options(steps=8), tmp_path / "run", resume=True, explicit=STEPS)


# the same command


def test_the_same_command_goes_on_with_a_run_that_did_not_end(options: Options, tmp_path: Path) -> None:
    whole = train(options(), tmp_path / "whole")
    interrupted(options(), tmp_path / "run", 3)
    again = train(options(), tmp_path / "run")
    assert (again.resumed_from, again.sha256) == (3, whole.sha256)
    with pytest.raises(UsageError, match="already holds a run"):
        train(options(), tmp_path / "run")


def test_another_command_does_not(options: Options, tmp_path: Path) -> None:
    interrupted(options(), tmp_path / "run", 3)
    with pytest.raises(UsageError) as refused:
        train(options(lr=0.5, steps=9), tmp_path / "run")
    first, *differences = refused.value.message.splitlines()
    assert "already holds a run that did not end, with other options" in first
    assert differences == ["lr was 0.001, now 0.5", "steps was 6, now 9"]
    assert "--resume goes on with it" in (refused.value.hint or "")


# what may change


def test_what_changes_no_result_may_change(options: Options, tmp_path: Path) -> None:
    whole = train(options(), tmp_path / "whole")
    interrupted(options(sample_every=1, sample_steps=1, sample_prompts=("a {}",)), tmp_path / "run", 3)
    changed = {"sample_every": 0, "checkpoint_every": 4, "gradient_checkpointing": False, "device": "cpu"}
    result = train(options(**changed), tmp_path / "run", resume=True, explicit=frozenset(changed))
    assert result.sha256 == whole.sha256
    kept = sorted(path.name for path in (tmp_path / "run" / "steps").iterdir())
    assert kept == ["step-000002.safetensors", "step-000004.safetensors"]


def test_images_and_model_may_move(options: Options, images: Path, tiny_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    asked = options(model=str(model))
    whole = train(asked, tmp_path / "whole")
    interrupted(asked, tmp_path / "run", 3)
    images.rename(tmp_path / "elsewhere")
    model.rename(tmp_path / "other")
    moved = replace(asked, images=tmp_path / "elsewhere", model=str(tmp_path / "other"))
    with pytest.raises(AtomtuneError, match="model"):
        train(moved, tmp_path / "run", resume=True, explicit=frozenset())
    result = train(moved, tmp_path / "run", resume=True)
    assert result.sha256 == whole.sha256


def test_relative_paths_are_found_from_elsewhere(
    options: Options, images: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    shutil.copytree(tiny_model, project / "models" / "tiny")
    shutil.copytree(images, project / "concepts" / "castle")
    whole = train(options(), tmp_path / "whole")
    monkeypatch.chdir(project)
    asked = options(images=Path("concepts/castle"), model="./models/tiny")
    interrupted(asked, Path("runs/castle"), 3)
    (tmp_path / "concepts" / "castle" / "more.png").write_bytes((images / "0.png").read_bytes())  # another data set
    monkeypatch.chdir(tmp_path)
    project.rename(tmp_path / "moved")
    result = train(options(), Path("moved/runs/castle"), resume=True, explicit=frozenset())
    assert result.sha256 == whole.sha256


# what must not


def test_another_text_encoder_is_refused(options: Options, tiny_model: Path, other_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    interrupted(options(model=str(model)), tmp_path / "run", 2)
    shutil.copytree(other_model / "text_encoder", model / "text_encoder", dirs_exist_ok=True)
    with pytest.raises(AtomtuneError, match=r"with the text_encoder [0-9a-f]{12}, the run began with"):
        train(options(), tmp_path / "run", resume=True, explicit=frozenset())


def test_another_decomposition_in_the_cache_changes_nothing(options: Options, tmp_path: Path) -> None:
    whole = train(options(), tmp_path / "whole")
    interrupted(options(), tmp_path / "run", 3)
    (path,) = (Path(os.environ["ATOMTUNE_CACHE"]) / "decompositions").glob("*.safetensors")
    tensors, header = store.load(path, KIND)
    name = min(tensors)
    tensors[name] = tensors[name].flip(-1).contiguous()
    store.save(path, KIND, tensors, own(header))
    assert train(options(), tmp_path / "run", resume=True).sha256 == whole.sha256


@pytest.mark.parametrize("where", ["run.json", "checkpoint.safetensors"])
def test_a_run_that_began_with_other_atoms_is_refused(options: Options, tmp_path: Path, where: str) -> None:
    interrupted(options(), tmp_path / "run", 3)
    path, other = tmp_path / "run" / where, {"atoms of the unet": "0" * 64}
    if where == "run.json":
        path.write_text(json.dumps({**json.loads(path.read_text()), "cached": other}))
    else:
        tensors, header = store.load(path, "checkpoint")
        store.save(path, "checkpoint", tensors, {**own(header), "cached": json.dumps(other)})
    with pytest.raises(AtomtuneError, match=r"began with other atoms|begun with other atoms of the unet"):
        train(options(), tmp_path / "run", resume=True)


def repaint(path: Path) -> None:
    """Put a red image of the same size in the place of another."""
    with Image.open(path) as image:
        size = image.size
    Image.new("RGB", size, (200, 20, 20)).save(path)


def test_a_class_image_that_was_replaced_is_generated_again(options: Options, tmp_path: Path) -> None:
    asked = options(spec=PRESETS["c1"], steps=2, prior_preservation=True, prior_images=2)
    whole, heard = train(asked, tmp_path / "whole"), Heard()
    (folder,) = (Path(os.environ["ATOMTUNE_CACHE"]) / "prior").iterdir()
    repaint(folder / "00001.png")
    assert train(asked, tmp_path / "run", events=heard).sha256 == whole.sha256
    assert [text for text in heard.warnings if "00001.png is not the image that was generated" in text]


def test_a_run_with_other_class_images_is_not_resumed(options: Options, tmp_path: Path) -> None:
    asked = options(spec=PRESETS["c1"], steps=4, prior_preservation=True, prior_images=2)
    interrupted(asked, tmp_path / "run", 2)
    (folder,) = (Path(os.environ["ATOMTUNE_CACHE"]) / "prior").iterdir()
    for path in folder.glob("*.png"):  # as if no image had been signed, as in version 0.1
        repaint(path)
    with pytest.raises(AtomtuneError, match="the run was begun with other class images than those in the cache"):
        train(asked, tmp_path / "run", resume=True)


def test_from_python_options_that_are_not_the_default_count_as_asked_for(options: Options, tmp_path: Path) -> None:
    train(options(steps=2), tmp_path / "run")
    assert train(options(steps=4), tmp_path / "run", resume=True).steps == 4
    with pytest.raises(UsageError, match="batch_size was 2, now 3"):
        train(options(steps=4, batch_size=3), tmp_path / "run", resume=True)
