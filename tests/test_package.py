"""The package as others get it: what is in the wheel, and that it runs outside a checkout."""

import os
import shutil
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import atomtune

ROOT = Path(__file__).parents[1]


def run(*command: object, folder: Path, **environment: str) -> str:
    """The standard output of a command that has to succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("launch", [("-m", "atomtune"), (ROOT / "cli.py",)], ids=["module", "file"])
def test_it_starts_from_any_folder(launch: tuple[object, ...], tmp_path: Path) -> None:
    said = run(sys.executable, *launch, "--version", folder=tmp_path, PYTHONPATH=str(ROOT))
    assert said == f"atomtune {atomtune.__version__}\n"


@pytest.mark.slow
def test_accelerate_launches_the_module_from_any_folder(tmp_path: Path) -> None:
    launch = (sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", 1, "-m", "atomtune")
    said = run(*launch, "--version", folder=tmp_path, PYTHONPATH=str(ROOT))
    assert f"atomtune {atomtune.__version__}\n" in said


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("built")
    hidden = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "runs", "concepts")
    shutil.copytree(ROOT, folder / "checkout", ignore=hidden, symlinks=True)
    build = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
    run(sys.executable, "-c", build, "build_sdist", folder, folder=folder / "checkout", PYTHONPATH="")
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    run(sys.executable, "-c", build, "build_wheel", folder, folder=source, PYTHONPATH="")
    return folder


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.split("/")[0] for name in names} == {"atomtune", f"atomtune-{atomtune.__version__}.dist-info"}
    held = {path.relative_to(ROOT).as_posix() for path in (ROOT / "atomtune").rglob("*") if path.is_file()}
    held |= {f"atomtune/prompts/{path.name}" for path in (ROOT / "prompts").iterdir()}
    expected = {name for name in held if "__pycache__" not in name}
    assert {name for name in names if name.startswith("atomtune/")} == expected
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_installed_wheel_runs_outside_the_checkout(built: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (wheel,) = built.glob("*.whl")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, folder=tmp_path)
    # the dependencies are those that the tests run with
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n", encoding="utf-8")
    work = tmp_path / "work"
    work.mkdir()
    isolated = {"PYTHONPATH": "", "ATOMTUNE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}

    where = run(python, "-c", "import atomtune; print(atomtune.__file__)", folder=work, **isolated)
    assert Path(where.strip()) == packages / "atomtune" / "__init__.py"
    program = python.with_name("atomtune")
    assert run(program, "--version", folder=work, **isolated) == f"atomtune {atomtune.__version__}\n"
    base = ("--model", "pocket", "--device", "cpu")
    found = "from atomtune.evaluation.prompt_sets import prompt_set; print(prompt_set('customconcept_castle.txt'))"
    prompts = run(python, "-c", found, folder=work, **isolated).strip()
    assert Path(prompts).parent == packages / "atomtune" / "prompts"
    run(program, "decompose", *base, folder=work, **isolated)
    run(program, "sample", *base, "--prompt", "a castle", "--steps", 2, "--output", "images", folder=work, **isolated)
    images = list((work / "images").glob("*.png"))
    assert len(images) == 1
    shutil.copytree(work / "images", work / "concepts" / "castle")
    run(python, "-m", "atomtune", "train", *base, "--concept", "castle", "--steps", 1, folder=work, **isolated)
    assert (work / "runs" / "castle" / "castle.safetensors").is_file()
