"""docker/: what can be checked without an engine."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = [
    line.split(maxsplit=1)
    for line in re.sub(r"\\\n\s*", "", DOCKERFILE).splitlines()
    if line and not line.startswith("#")
]


def of_kind(kind: str) -> list[str]:
    return [rest for name, rest in INSTRUCTIONS if name == kind]


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([program, ROOT / "docker" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_base_is_pinned_and_every_stage_uses_it() -> None:
    assert of_kind("ARG")[0] == "PYTHON=python:3.11.14-slim-trixie"
    assert all(stage.startswith("${PYTHON}") for stage in of_kind("FROM"))


def test_it_runs_as_an_ordinary_user_with_atomtune_as_entry_point() -> None:
    assert of_kind("USER") == ["1000"]
    assert of_kind("ENTRYPOINT") == ['["atomtune"]']
    assert "mode 1777 /cache /cache/huggingface /cache/atomtune /work" in DOCKERFILE


def test_dependencies_come_before_the_source() -> None:
    last_stage = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert (
        last_stage.index("requirements.txt -c") < last_stage.index("/wheels/*.whl") < last_stage.index("COPY prompts")
    )
    assert "COPY . ." not in last_stage


def test_what_is_copied_is_there_and_not_ignored() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert lines[1] == "*"
    for rest in of_kind("COPY"):
        source = rest.split()[0]
        if source not in (".", "--from=requirements"):
            assert PurePosixPath(source).parts[0] in allowed
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert allowed == {"atomtune", "prompts", "constraints.txt", "pyproject.toml", "LICENSE", "README.md"}
    assert {project["readme"], *project["license-files"]} <= allowed
    assert all((ROOT / name).exists() for name in allowed)


def test_the_list_of_dependencies_is_made_as_written(tmp_path: Path) -> None:
    (step,) = (rest for rest in of_kind("RUN") if "tomllib" in rest)
    step = step.replace("/pyproject.toml", str(ROOT / "pyproject.toml")).replace("> /", f"> {tmp_path}/")
    step = step.replace("python -c", f"{sys.executable} -c")
    subprocess.run(["sh", "-c", step], check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    expected = [*project["dependencies"], *extras["heic"], *extras["smart-crop"]]
    assert (tmp_path / "requirements.txt").read_text(encoding="utf-8").splitlines() == expected


def test_compose_reserves_the_gpu_and_keeps_cache_concepts_and_runs() -> None:
    compose: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))
    service = compose["services"]["atomtune"]
    (gpu,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert (gpu["driver"], gpu["capabilities"]) == ("nvidia", ["gpu"])
    assert "HF_HUB_OFFLINE" in service["environment"]
    assert service["volumes"][0] == "cache:/cache"
    assert "cache" in compose["volumes"]
    binds = {volume["target"]: volume for volume in service["volumes"][1:]}
    assert binds["/work/concepts"]["read_only"]
    assert set(binds) == {"/work/concepts", "/work/runs"}
    build = service["build"]
    assert (ROOT / "docker" / build["context"] / build["dockerfile"]).resolve() == ROOT / "docker" / "Dockerfile"


@pytest.mark.parametrize("script", ["docker/check.sh"])
def test_scripts_parse(script: str) -> None:
    subprocess.run(["bash", "-n", ROOT / script], check=True)
