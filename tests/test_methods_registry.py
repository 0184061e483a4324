"""Methods that others bring: registered in two lines, or named by an installed package."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from atomtune.errors import AtomtuneError
from atomtune.files.atoms_file import load_atoms
from atomtune.methods import METHODS, Method, WeightDelta, method_names, register
from atomtune.methods.specs import Spec
from atomtune.runtime.progress import Events
from atomtune.sampling.apply import merge_atoms
from atomtune.sampling.changes import read_atoms
from atomtune.training.options import TrainOptions
from atomtune.training.train import train

PAGE = Path(__file__).parents[1] / "docs" / "write-a-method.md"
BUILT_IN = (
    "atoms",
    "lora",
    "loha",
    "lokr",
    "oft",
    "coft",
    "bitfit",
    "difffit",
    "loldu",
    "loralib",
    "oft-scaled",
    "full",
    "textual-inversion",
)

PLUGIN = """
import torch
from atomtune.methods import WeightDelta, register

class Shift(WeightDelta):
    def __init__(self, weight):
        super().__init__()
        self.change = torch.nn.Parameter(torch.zeros((), device=weight.device))

    def delta_weight(self, weight):
        # as a constant for every input it would have no gradient behind a layer norm, whose outputs add up to nothing
        return self.change * weight.float().roll(1, -1)

@register("shift", "one number for each layer", learning_rate=0.1)
def shift(layer, weight, spec):
    return Shift(weight)
"""


@pytest.fixture(autouse=True)
def _no_trace() -> Iterator[None]:
    """What a test registers is gone after it."""
    modules = set(sys.modules)
    yield
    for name in ("shift", "row-scale"):
        METHODS.remove(name)
    for name in set(sys.modules) - modules:
        if name.startswith("shift_"):
            del sys.modules[name]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a distribution folder, as pip leaves it, on the path."""

    def installed(package: str, entry: str, code: str = PLUGIN) -> Path:
        site = tmp_path / package
        (site / package).mkdir(parents=True)
        (site / package / "__init__.py").write_text(code, encoding="utf-8")
        folder = site / f"{package}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
        (folder / "entry_points.txt").write_text(f"[atomtune.methods]\n{entry}\n", encoding="utf-8")
        monkeypatch.syspath_prepend(site)
        return site

    return installed


def test_the_page_on_writing_a_method_runs() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) == 2
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert "row-scale" in method_names()


def test_the_names_need_no_torch() -> None:
    code = (
        "import sys, atomtune.methods as m; from atomtune.methods.specs import PRESETS; "
        "print(*m.method_names()); assert 'torch' not in sys.modules; m.METHODS['lora']; assert 'torch' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert tuple(done.stdout.split()) == BUILT_IN


def test_a_method_of_another_package_trains_and_its_file_merges(
    install: Callable[..., Path], options: Callable[..., TrainOptions], tmp_path: Path, tiny_model: Path
) -> None:
    from atomtune.models.base_model import load_pipeline, resolve

    install("shift_package", "shift = shift_package:shift")
    assert method_names() == (*BUILT_IN, "shift")
    assert "shift_package" not in sys.modules, "names alone import nothing"
    method = METHODS["shift"]
    assert method.learning_rate == 0.1
    result = train(options(method="shift", spec=method.spec(layers="attention"), steps=2), tmp_path / "run")
    tensors, info, _ = load_atoms(result.atoms_file)
    assert info.method == "shift"
    assert all(name.endswith(".change") for name in tensors)
    pipeline = load_pipeline(resolve(str(tiny_model)))
    before = {name: weight.clone() for name, weight in pipeline.unet.named_parameters()}
    merge_atoms(pipeline, read_atoms([(result.atoms_file, 1.0)]), Events())
    moved = {name for name, weight in pipeline.unet.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {f"{name.removesuffix('.change').removeprefix('unet.')}.weight" for name in tensors}


def test_the_command_line_takes_a_method_of_another_package(
    install: Callable[..., Path], cli: Callable[..., Any], images: Path, tiny_model: Path
) -> None:
    install("shift_package", "shift = shift_package:shift")
    asked = ("--concept", "castle", "--images", images, "--model", tiny_model, "--method", "shift")
    answer = cli("train", *asked, "--layers", "attention", "--dry-run", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["trainable_parameters"] > 0
    answer = cli("train", *asked, "--rank", 4, "--dry-run")
    assert answer.code == 2
    assert "rank" in answer.err


def test_two_packages_cannot_bring_methods_of_one_name(install: Callable[..., Path]) -> None:
    install("shift_one", "shift = shift_one:shift")
    assert "shift" in METHODS
    install("shift_two", "shift = shift_two:shift")
    with pytest.raises(AtomtuneError, match="brings a method 'shift', which there is already"):
        method_names()


def test_a_package_cannot_replace_a_method_of_atomtune(install: Callable[..., Path]) -> None:
    install("shift_lora", "lora = shift_lora:shift")
    with pytest.raises(AtomtuneError, match="shift_lora brings a method 'lora'"):
        method_names()
    assert METHODS["lora"].name == "lora"


@pytest.mark.parametrize(
    ("entry", "code", "message"),
    [
        ("shift = shift_bad:shift", "raise OSError('no such library')", "cannot be loaded: no such library"),
        ("shift = shift_bad:nothing", PLUGIN, "cannot be loaded"),
        ("shift = shift_bad:Shift", PLUGIN, "has no name"),
        ("drift = shift_bad:shift", PLUGIN, "calls itself 'shift'"),
    ],
)
def test_a_package_whose_method_does_not_load_is_named(
    entry: str, code: str, message: str, install: Callable[..., Path]
) -> None:
    install("shift_bad", entry, code)
    with pytest.raises(AtomtuneError, match=message) as caught:
        METHODS[entry.split(" ")[0]]
    assert "shift_bad" in str(caught.value.hint)


class Shift(WeightDelta):
    def __init__(self, start: float) -> None:
        super().__init__()
        self.change = nn.Parameter(torch.tensor(start))

    def delta_weight(self, weight: Tensor) -> Tensor:
        # as a constant for every input it would have no gradient behind a layer norm, whose outputs add up to nothing
        return self.change * weight.float().roll(1, -1)


def make_shift(_layer: str, _weight: Tensor, _spec: Spec) -> Shift:
    return Shift(0.0)


def make_another(_layer: str, _weight: Tensor, _spec: Spec) -> Shift:
    return Shift(1.0)


def test_a_registered_method_is_one_of_the_methods() -> None:
    registered = register("shift", "one number a layer")(make_shift)
    assert METHODS["shift"] is registered
    method: Method = registered
    assert (method.name, method.title, method.spec, method.learning_rate) == ("shift", "one number a layer", Spec, 1e-3)


def test_a_cell_that_is_run_again_registers_again_but_nobody_else_can() -> None:
    register("shift", "one number a layer")(make_shift)
    again = register("shift", "a number for each layer")(make_shift)
    assert METHODS["shift"] is again
    with pytest.raises(ValueError, match="there is a method 'shift' already"):
        register("shift", "another")(make_another)
    with pytest.raises(ValueError, match="there is a method 'lora' already"):
        register("lora", "another")(make_shift)


@pytest.mark.parametrize("name", ["", "Shift", "a b", "a:b", "-a", "a_b", "../a"])
def test_a_name_that_a_file_or_a_command_line_could_not_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="small letters, digits and hyphens"):
        register(name, "one number a layer")(make_shift)


def test_a_change_that_is_not_zero_at_the_start_is_refused() -> None:
    method = register("shift", "one number a layer")(make_another)
    model = nn.Sequential(nn.Linear(4, 4)).requires_grad_(False)
    with pytest.raises(AtomtuneError, match="the change of 0 is not zero at the start"):
        method.attach(model, Spec())
    assert type(model[0]) is nn.Linear


def test_an_unknown_method_is_no_method() -> None:
    assert "elsewhere" not in METHODS
    with pytest.raises(KeyError):
        METHODS["elsewhere"]
