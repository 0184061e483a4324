"""What may go wrong around a run: disks, other images, another model, signals in a row."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import pytest
from PIL import Image

from atomtune.errors import AtomtuneError, Terminated, UsageError
from atomtune.files.atoms_file import load_atoms
from atomtune.files.checkpoint import load_checkpoint
from atomtune.files.decomposition_file import load_decomposition
from atomtune.files.temporary import SUFFIX
from atomtune.methods.specs import AtomsSpec
from atomtune.runtime.disk_space import DiskNeed
from atomtune.training import resources as needs
from atomtune.training.options import TrainOptions
from atomtune.training.resources import run_bytes
from atomtune.training.resume import check_material
from atomtune.training.train import train
from photo_files import Heard

Options = Callable[..., TrainOptions]
CHECKPOINT = "checkpoint.safetensors"


class WhenItTrains(Heard):
    """Does something right before the first step."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self.act = act

    def begin(self, what: str, total: int, done: int = 0) -> None:
        if what == "train":
            self.act()


def never(*_arguments: Any, **_options: Any) -> NoReturn:
    raise AssertionError("the model was loaded")


def steps_of(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def temporary(folder: Path) -> list[Path]:
    return list(folder.rglob(".*.tmp"))


# disks


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that fails the test when it is loaded."""
    monkeypatch.setattr("atomtune.training.loaded_base.load_pipeline", never)


@pytest.mark.usefixtures("unloaded")
def test_places_that_cannot_be_written_are_known_before_the_model_loads(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AtomtuneError, match=r"cannot write .*run: Not a directory") as refused:
        train(options(), tmp_path / "file" / "run")
    assert "--output" in (refused.value.hint or "")
    with pytest.raises(UsageError, match="is not a folder"):
        train(options(), tmp_path / "file")
    monkeypatch.setenv("ATOMTUNE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(AtomtuneError, match=r"cannot write .*cache: Not a directory") as refused:
        train(options(), tmp_path / "run")
    assert "ATOMTUNE_CACHE" in (refused.value.hint or "")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("unloaded")
def test_a_disk_that_is_too_small_is_known_before_the_model_loads(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, "LEAST_FREE", 10**18)
    said = r"run and .*cache together need 1000000000\.0 GB, .* are free on their disk"
    with pytest.raises(AtomtuneError, match=said) as refused:
        train(options(), tmp_path / "run")
    assert "--output" in (refused.value.hint or "")
    assert "ATOMTUNE_CACHE" in (refused.value.hint or "")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("sparsity", [0.0, 0.05])
def test_what_a_run_needs_is_what_it_writes(
    sparsity: float, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[DiskNeed] = []
    chosen = options(ema=True, spec=AtomsSpec(tile=4, sparsity=sparsity))
    monkeypatch.setattr(needs, "check_disk_space", lambda places, _least: asked.extend(places))
    cache = Path(os.environ["ATOMTUNE_CACHE"])
    result = train(chosen, tmp_path / "run")
    state = load_checkpoint(tmp_path / "run" / CHECKPOINT)
    kept = [*state.parameters.values(), *state.average.values()]
    # AdamW counts its steps in a tensor too, of one number
    kept += [value for moments in state.optimizer["state"].values() for value in moments.values() if value.numel() > 1]
    tensors, _, _ = load_atoms(result.atoms_file)
    of_atoms = sum(2 * value.numel() for value in tensors.values())
    checkpoints = len(list((tmp_path / "run" / "steps").iterdir()))
    written = 2 * sum(4 * value.numel() for value in kept) + (1 + checkpoints) * of_atoms
    assert run_bytes(result.trainable_parameters, checkpoints, "adamw", ema=True) == written
    of_run, of_cache = asked
    assert (of_run.folder, of_run.bytes) == (tmp_path / "run", written)
    (path,) = (cache / "decompositions").iterdir()
    parts = load_decomposition(path)[0].values()
    decomposed = sum(
        2 * tensor.numel() for part in parts for tensor in (part.atoms, part.coefficients) if tensor is not None
    )
    assert (of_cache.folder, of_cache.bytes) == (cache, decomposed)
    asked.clear()
    train(chosen, tmp_path / "run", overwrite=True)
    (again,) = asked  # the decomposition is there, so nobody asks for the cache
    assert again.bytes == written, "the old run stays until the new one is complete"


def test_a_disk_that_fills_up_costs_no_state(options: Options, tmp_path: Path) -> None:
    limits = pytest.importorskip("limits")
    run, whole = tmp_path / "run", train(options(), tmp_path / "whole")
    train(options(steps=2), run)
    before = (run / CHECKPOINT).read_bytes()
    more = {"resume": True, "explicit": frozenset({"steps"})}
    limit = limits.largest_file(len(before) // 2)
    with (
        ExitStack() as stack,
        pytest.raises(AtomtuneError, match=rf"cannot write .*{CHECKPOINT}: .*[Ff]ile too large") as refused,
    ):
        train(options(), run, events=WhenItTrains(lambda: stack.enter_context(limit)), **more)
    assert "free space" in (refused.value.hint or "")
    assert (run / CHECKPOINT).read_bytes() == before
    assert not temporary(run)
    assert train(options(), run, **more).sha256 == whole.sha256


def test_a_log_that_cannot_grow_costs_no_state(options: Options, tmp_path: Path) -> None:
    limits = pytest.importorskip("limits")
    run, whole = tmp_path / "run", train(options(steps=12), tmp_path / "whole")
    train(options(steps=8), run)
    before = (run / CHECKPOINT).read_bytes()
    # the next line fits, and half of the one after that
    limit = limits.largest_file((run / "log.jsonl").stat().st_size + 100)
    more = {"resume": True, "explicit": frozenset({"steps"})}
    with ExitStack() as stack, pytest.raises(AtomtuneError, match=r"cannot write .*log\.jsonl: File too large"):
        train(options(steps=12), run, events=WhenItTrains(lambda: stack.enter_context(limit)), **more)
    assert (run / CHECKPOINT).read_bytes() == before
    assert train(options(steps=12), run, **more).sha256 == whole.sha256
    assert steps_of(run) == list(range(1, 13))


def test_what_a_killed_process_half_wrote_is_removed(options: Options, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(options(steps=2), run)
    (run / "previews").mkdir()
    half_written = [
        run / f".{CHECKPOINT}.ab12{SUFFIX}",
        run / "previews" / f".step-000002-0.png.y{SUFFIX}",
        run / "steps" / f".step-000002.safetensors.z{SUFFIX}",
    ]
    for folder in half_written:
        folder.mkdir()
        (folder / "part").write_bytes(b"half")
    (run / ".mine.tmp").write_bytes(b"somebody's")
    train(options(), run, resume=True, explicit=frozenset({"steps"}))
    assert temporary(run) == [run / ".mine.tmp"]


# images, captions, models


def test_other_images_and_captions_are_refused_and_listed(options: Options, images: Path, tmp_path: Path) -> None:
    first = train(options(steps=2), tmp_path / "run")
    (images / "0.png").unlink()
    Image.new("RGB", (40, 30), (9, 90, 200)).save(images / "1.png")
    (images / "2.txt").write_text("{} at night", encoding="utf-8")
    with Image.open(images / "3.png") as same:
        same.load()
    same.save(images / "3.png", compress_level=0)  # another file, the same pixels
    Image.new("RGB", (40, 30)).save(images / "9.png")
    before = first.atoms_file.read_bytes()
    with pytest.raises(UsageError) as refused:
        train(options(), tmp_path / "run", resume=True)
    assert refused.value.message.splitlines()[1:] == [
        "9.png was added",
        "0.png is missing",
        "1.png was changed",
        "the caption of 2.png was 'a photo of a sks castle', now 'sks castle at night'",
    ]
    assert first.atoms_file.read_bytes() == before


@pytest.mark.parametrize("stored", [None, 5, [5], [{"file": "0.png"}], {"file": "0.png"}])
def test_a_record_without_its_images_is_refused(options: Options, tmp_path: Path, stored: Any) -> None:
    train(options(steps=2), tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**record, "images": stored}), encoding="utf-8")
    with pytest.raises(AtomtuneError, match="does not say which images") as refused:
        train(options(), tmp_path / "run", resume=True)
    assert "--overwrite" in (refused.value.hint or "")


def test_of_many_differences_the_first_are_listed() -> None:
    now = [{"file": f"{number:03d}\n.png", "digest": "ab", "caption": "a sks castle"} for number in range(300)]
    with pytest.raises(UsageError) as refused:
        check_material([], now)
    lines = refused.value.message.splitlines()
    assert lines[1] == "'000\\n.png' was added"
    assert lines[-1] == "and 280 more"
    assert len(lines) == 22


def test_another_model_under_the_same_name_is_refused(
    options: Options, tiny_model: Path, other_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    train(options(steps=2, model=str(model)), tmp_path / "run")
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()
    shutil.copytree(other_model, model, dirs_exist_ok=True)
    unet = r"with the unet [0-9a-f]{12}"
    with pytest.raises(AtomtuneError, match=f"is {model} {unet}, the run began with {model} {unet}") as refused:
        train(options(model=str(model)), tmp_path / "run", resume=True)
    named = [word.rstrip(",") for word in refused.value.message.split() if len(word.rstrip(",")) == 12]
    assert len(set(named)) == 2
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before


# signals


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_second_signal_stops_at_once(
    options: Options, tmp_path: Path, number: signal.Signals, kind: type[BaseException]
) -> None:
    class Insist(Heard):
        taken = 0

        def advance(self, note: str = "") -> None:
            self.taken += note.startswith("loss")
            if self.taken == 3:
                os.kill(os.getpid(), number)
                os.kill(os.getpid(), number)

    whole = train(options(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(options(), tmp_path / "run", events=Insist())
    assert type(stopped.value) is kind
    assert load_checkpoint(tmp_path / "run" / CHECKPOINT).step == 2, "it went on to save"
    assert train(options(), tmp_path / "run", resume=True).sha256 == whole.sha256
