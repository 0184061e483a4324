"""The doctor: which problems it sees, on packages that are stand-ins."""

import json
from pathlib import Path
from typing import Any

import pytest

from atomtune.doctor import checks as doctor
from atomtune.doctor.checks import Health, Problem, check_installation, read_probe

NMS = "operator torchvision::nms does not exist"
GPU = {"name": "Some GPU", "bytes": 8e9, "capability": "8.6", "error": None}
TORCH = """
class version: cuda = None; hip = None
class backends:
    class mps: is_available = staticmethod(lambda: False)
class cuda: is_available = staticmethod(lambda: False)
def get_num_threads(): return 3
"""
STAND_INS = {
    "torch": TORCH,
    "torchvision": "",
    "safetensors": "safe_open = 1",
    "PIL": "Image = 1",
    "huggingface_hub": "class constants: HF_HUB_CACHE = '{here}/hub'; ENDPOINT = 'https://huggingface.co'",
    "transformers": "CLIPTextModel = 1",
    "accelerate": "Accelerator = 1",
    "diffusers": "print('loading'); StableDiffusionPipeline = 1",
    "open_clip": "",
}


@pytest.fixture
def examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Examine stand-ins for the packages; keyword arguments replace their sources."""
    monkeypatch.setattr(doctor, "_version", lambda package: "9999.0")
    monkeypatch.setattr(doctor, "_nvidia_smi", lambda: None)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 10**12}))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.chdir(tmp_path)

    def run(**changed: str) -> Health:
        for name, source in {**STAND_INS, **changed}.items():
            file = tmp_path / "site" / name / "__init__.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source.replace("{here}", str(tmp_path)), encoding="utf-8")
        return check_installation()

    return run


def serious(health: Health) -> list[Problem]:
    return [problem for problem in health.problems if problem.serious]


def test_a_sound_installation_is_well(examined: Any, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "model").write_bytes(b"12345")
    health = examined()
    assert serious(health) == []
    assert health.well
    assert health.devices["threads"] == 3
    assert health.caches["hub"] == {"path": str(tmp_path / "hub"), "bytes": 5}
    assert health.caches["atomtune"]["path"] == str(tmp_path / "cache")
    assert [problem.message[:6] for problem in health.problems if "GPU" in problem.message] == ["no GPU"]


def test_a_torchvision_that_does_not_match_is_named_once_with_both_versions(examined: Any) -> None:
    health = examined(
        torchvision=f"raise RuntimeError('{NMS}')",
        transformers="import torchvision; CLIPTextModel = 1",
        diffusers=f"raise RuntimeError('Failed to import: {NMS}')",
    )
    (problem,) = serious(health)
    assert problem.message == f"torchvision 9999.0 does not match torch 9999.0: RuntimeError: {NMS}"
    assert "torch torchvision" in problem.hint
    assert not health.well


def test_a_package_that_takes_the_process_down_is_named(examined: Any) -> None:
    (problem,) = serious(examined(accelerate="import os; os.abort()"))
    assert problem.message.startswith("accelerate cannot be used: the process ended with -6")


def test_what_is_missing_or_has_no_such_name_is_told_apart(examined: Any) -> None:
    health = examined(diffusers="", accelerate="raise ModuleNotFoundError(\"No module named 'accelerate'\")")
    assert sorted(problem.message.split(":")[0] for problem in serious(health)) == [
        "accelerate is not installed",
        "diffusers cannot be used",
    ]
    assert all(problem.hint for problem in health.problems)


def test_packages_that_are_too_old_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["torch>=2.6", "typer>=0.29", 'pytest>=8; extra == "test"']
    monkeypatch.setattr(doctor.metadata, "requires", lambda _name: needs)
    monkeypatch.setattr(doctor, "_version", {"torch": "2.5.1+cu121", "typer": "0.29.0", "pytest": "7"}.get)
    assert [problem.message for problem in doctor._version_problems()] == [
        "torch 2.5.1+cu121 is installed, >=2.6 is needed"
    ]


@pytest.mark.parametrize(
    ("devices", "said", "is_serious"),
    [
        ({"driver": None}, "no GPU", False),
        ({"driver": None, "mps": True}, None, False),
        ({"driver": "580.1", "gpus": [GPU]}, None, False),
        ({"driver": "580.1", "gpus": [{**GPU, "error": "no kernel image"}]}, "no kernel image", True),
        ({"driver": "580.1", "cuda": None}, "built without CUDA", True),
        ({"driver": "535.2", "cuda": "13.2"}, "CUDA 13.2, cannot use the NVIDIA GPU with driver 535.2", True),
        ({"driver": "535.2", "cuda": "13.2", "threads": None}, None, False),  # torch itself is the problem then
    ],
)
def test_gpus_that_cannot_be_used_are_explained(
    devices: dict[str, Any], said: str | None, is_serious: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    none: dict[str, Any] = {"gpus": [], "mps": False, "threads": 2, "cuda": None, "driver": None}
    found = doctor._device_problems(none | devices, container=False)
    assert [problem.serious for problem in found] == ([is_serious] if said else [])
    assert said is None or said in found[0].message


def test_a_hidden_gpu_and_a_container_without_one_get_their_own_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    none: dict[str, Any] = {"gpus": [], "mps": False, "threads": 2, "cuda": "13.2", "driver": None}
    assert "--gpus all" in doctor._device_problems(none, container=True)[0].hint
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (hidden,) = doctor._device_problems(none | {"driver": "580.1"}, container=False)
    assert (hidden.serious, "CUDA_VISIBLE_DEVICES" in hidden.message) == (False, True)


def test_places_without_room_or_permission_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = tmp_path / "hub"
    full = doctor._place_problems("hub", hub, tmp_path, free=10**8)
    short = doctor._place_problems("hub", hub, tmp_path, free=5 * 10**9)
    assert [(problem.serious, "free at" in problem.message) for problem in full + short] == [
        (True, True),
        (False, True),
    ]
    monkeypatch.setattr(doctor.os, "access", lambda _path, _mode: False)
    (closed,) = doctor._place_problems("hub", hub, tmp_path, free=10**12)
    assert closed.serious
    assert "HF_HOME" in closed.hint


def test_the_probe_may_be_talked_into() -> None:
    lines = ["hello", "[1]", json.dumps({"package": "torch", "state": "begun"}), json.dumps({"torch": {"threads": 2}})]
    probed = read_probe("\n".join([*lines, json.dumps({"done": True})]), "unused")
    assert (probed.failed, probed.torch) == ({}, {"threads": 2})
    assert read_probe("\n".join(lines), "it stopped").failed == {"torch": ["it stopped"]}
    assert read_probe("", "it stopped").failed == {"the probe": ["it stopped"]}
