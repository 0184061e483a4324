"""What surrounds the code: version, prompt sets, packaged configurations, the launcher."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import atomtune

ROOT = Path(__file__).parents[1]
CONFIGS = Path(atomtune.__file__).parent / "models" / "configs" / "sd-v1-4"
DREAMBOOTH = ["dreambooth_objects.txt", "dreambooth_live_subjects.txt"]
CUSTOM_CONCEPT = ["customconcept_castle.txt", "customconcept_canal.txt"]


@pytest.mark.parametrize(("name", "count"), [(n, 25) for n in DREAMBOOTH] + [(n, 20) for n in CUSTOM_CONCEPT])
def test_prompt_sets_have_one_place_for_the_concept_a_line(name: str, count: int) -> None:
    lines = (ROOT / "prompts" / name).read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(set(lines)) == count
    for line in lines:
        assert line == line.strip()
        assert line.count("{}") == 1


def test_the_two_dreambooth_sets_differ_in_the_middle_ten() -> None:
    objects, live = ((ROOT / "prompts" / name).read_text(encoding="utf-8").splitlines() for name in DREAMBOOTH)
    assert objects[:10] == live[:10]
    assert objects[20:] == live[20:]
    assert not set(objects[10:20]) & set(live[10:20])


def test_version_is_a_version_and_the_changelog_is_kept() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", atomtune.__version__)
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_constraints_name_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = project["dependencies"] + project["optional-dependencies"]["test"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if not line.startswith("#")}
    names = {re.split(r"[<>=!\[ ]", requirement)[0].lower().replace("_", "-") for requirement in needed}
    assert names <= pinned
    assert all(re.fullmatch(r"#.*|[\w.-]+==[\w.!-]+", line) for line in lines)


def test_the_lowest_versions_are_those_that_the_package_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    allowed = {*project["dependencies"], *project["optional-dependencies"]["test"]}
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    plain = {re.sub(r"\[.*\]", "", requirement) for requirement in allowed}  # constraints name no extras
    assert [line.replace("==", ">=") for line in lines if not line.startswith("#")] == sorted(plain, key=str.lower)


def test_packaged_configs_are_those_of_sd_v1_4() -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    def config(part: str) -> dict[str, object]:
        return json.loads((CONFIGS / part / "config.json").read_text(encoding="utf-8"))

    with torch.device("meta"):
        models = [
            UNet2DConditionModel.from_config(config("unet")),
            AutoencoderKL.from_config(config("vae")),
            CLIPTextModel(CLIPTextConfig.from_dict(config("text_encoder"))),
        ]
    assert [sum(p.numel() for p in model.parameters()) for model in models] == [859_520_964, 83_653_863, 123_060_480]


def test_help_needs_none_of_the_heavy_imports() -> None:
    heavy = "torch", "numpy", "PIL", "diffusers", "transformers", "accelerate", "huggingface_hub", "safetensors"
    program = f"import sys; import atomtune.commands.app; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
