"""A model is data: whatever its folder names or holds, no code of it is run."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomtune.errors import AtomtuneError
from atomtune.models.architecture import native_resolution, text_encoders_on_meta, unet_on_meta
from atomtune.models.base_model import load_pipeline, load_unet, resolve

Load = Callable[[Any], object]
LOADERS: list[Load] = [
    load_pipeline,
    load_unet,
    unet_on_meta,
    native_resolution,
    text_encoders_on_meta,
]


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that exists once the code of `evil` was run."""
    return tmp_path / "code was run"


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def evil(mark: Path) -> str:
    """A module that leaves a mark when it is imported, and when its classes are made."""
    return f"""
from pathlib import Path
Path({str(mark)!r}).touch()
class Evil:
    config_name = "config.json"
    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        Path({str(mark)!r}).touch()
        return cls()
EvilPipeline = EvilConfig = EvilTokenizer = Evil
"""


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder: Path, mark: Path, loaders: list[Load] = LOADERS, match: str = "model") -> None:
    for load in loaders:
        with pytest.raises(AtomtuneError, match=match) as problem:
            load(resolve(str(folder)))
        assert problem.value.hint
        assert "\n" not in problem.value.message
    assert not mark.exists()


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler", "safety_checker", "extra"])
def test_a_module_in_the_folder_of_a_part_is_not_imported(part: str, folder: Path, mark: Path) -> None:
    (folder / part).mkdir(exist_ok=True)
    (folder / part / "evil.py").write_text(evil(mark))
    change(folder / "model_index.json", **{part: ["evil", "Evil"]})
    refused(folder, mark, match=f"the {part} of .* is a evil.Evil, which is not allowed")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler", "safety_checker", "extra"])
def test_an_installed_module_is_not_imported(
    part: str, folder: Path, mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "evil_installed.py").write_text(evil(mark))
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    change(folder / "model_index.json", **{part: ["evil_installed", "Evil"]})
    refused(folder, mark, match="which is not allowed")
    change(folder / "model_index.json", **{part: ["this", "X"]})
    refused(folder, mark, match=r"is a this\.X, which is not allowed")
    assert "this" not in sys.modules
    assert "evil_installed" not in sys.modules


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ("unet", ["diffusers", "AutoencoderKL"]),
        ("vae", ["diffusers.models", "AutoencoderKL"]),
        ("text_encoder", ["transformers", "AutoModel"]),
        ("text_encoder", ["transformers", "CLIPTextModelWithProjection"]),
        ("tokenizer", ["transformers", "pipeline"]),
        ("unet", ["torch.hub", "load"]),
        ("unet", ["os", "system"]),
        ("unet", ["", ""]),
        ("unet", ["diffusers", "__class__"]),
        ("safety_checker", ["torch.hub", "load"]),
    ],
)
def test_other_classes_of_installed_libraries_are_refused(
    part: str, named: list[str], folder: Path, mark: Path
) -> None:
    change(folder / "model_index.json", **{part: named})
    refused(folder, mark, match="which is not allowed")


@pytest.mark.parametrize("value", [["a"], ["a", "b", "c"], [1, 2], [None, "X"], [["diffusers"], "X"], [{}, []]])
def test_damaged_entries_of_the_index_are_refused(value: object, folder: Path, mark: Path) -> None:
    change(folder / "model_index.json", unet=value)
    refused(folder, mark)


@pytest.mark.parametrize(
    "kind", [["evil", "EvilPipeline"], ["pipeline", "StableDiffusionPipeline"], "EvilPipeline", None, {}, 1]
)
def test_pipelines_of_the_models_own_are_refused(kind: object, folder: Path, mark: Path) -> None:
    (folder / "evil.py").write_text(evil(mark))
    (folder / "pipeline.py").write_text(evil(mark))
    change(folder / "model_index.json", _class_name=kind)
    refused(folder, mark, match="which is not supported")


def test_a_custom_pipeline_beside_the_index_is_not_looked_at(folder: Path, mark: Path) -> None:
    (folder / "pipeline.py").write_text(evil(mark))
    change(folder / "model_index.json", custom_pipeline="pipeline", custom_revision="main", trust_remote_code=True)
    assert type(load_pipeline(resolve(str(folder)))).__name__ == "StableDiffusionPipeline"
    assert not mark.exists()


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
@pytest.mark.parametrize("file", ["unet.py", "modeling_evil.PY", "fast.so", "cached.pyc"])
def test_folders_with_code_in_a_part_are_refused(part: str, file: str, folder: Path, mark: Path) -> None:
    (folder / part / file).write_text(evil(mark))
    refused(folder, mark, match=rf"holds code \({part}/{file}\)")


@pytest.mark.parametrize(
    "changes",
    [
        {"auto_map": {"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}},
        {"trust_remote_code": True},
    ],
)
@pytest.mark.parametrize(
    "file",
    ["text_encoder/config.json", "tokenizer/tokenizer_config.json", "unet/config.json", "vae/config.json",
     "scheduler/scheduler_config.json"],
)  # fmt: skip
def test_configurations_that_ask_for_code_are_refused(
    file: str, changes: dict[str, object], folder: Path, mark: Path
) -> None:
    (folder / "evil.py").write_text(evil(mark))
    change(folder / file, **changes)
    refused(folder, mark, [load_pipeline], match=f"{file} of .* asks for code of its own")


@pytest.mark.parametrize(
    "changes",
    [
        {"_attn_implementation": "someone/kernels"},
        {"attn_implementation": "someone/kernels:evil"},
        {"_attn_implementation_internal": "someone/kernels"},
        {"_name_or_path": "someone/other", "architectures": ["Evil"]},
        {"use_kernels": True},
    ],
)
def test_settings_that_fetch_kernels_are_left_out(changes: dict[str, object], folder: Path) -> None:
    expected = load_pipeline(resolve(str(folder))).text_encoder.config
    change(folder / "text_encoder" / "config.json", **changes)
    config = load_pipeline(resolve(str(folder))).text_encoder.config
    assert config._attn_implementation == expected._attn_implementation


def test_quantised_models_are_refused_by_name(folder: Path, mark: Path) -> None:
    change(folder / "unet" / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    refused(folder, mark, [load_pipeline, load_unet], match="the unet of .* is quantised")


def test_a_merged_model_is_checked_like_any_other(
    tiny_model: Path, tmp_path: Path, mark: Path, cli: Callable[..., Any], images: Path
) -> None:
    trained = cli(
        *("train", "--concept", "castle", "--images", images, "--model", tiny_model, "--steps", 1, "--device", "cpu")
    )
    assert trained.code == 0, trained.err
    assert cli("merge", "--concept", "castle", "--output", tmp_path / "merged").code == 0
    (tmp_path / "merged" / "unet" / "evil.py").write_text(evil(mark))
    change(tmp_path / "merged" / "model_index.json", unet=["evil", "Evil"])
    answer = cli("sample", "--model", tmp_path / "merged", "--prompt", "a castle", "--steps", 1)
    assert answer.code == 1
    assert "which is not allowed" in answer.err
    assert not mark.exists()


@pytest.mark.parametrize("content", ["", "[]", "null", "{", '{"_class_name": ' + "[" * 10_000, "\ufeff{}", "{}"])
def test_any_index(content: str, folder: Path, mark: Path) -> None:
    (folder / "model_index.json").write_text(content, encoding="utf-8")
    refused(folder, mark)


def test_snapshots_of_the_hub_are_checked_too(
    folder: Path, mark: Path, tmp_path: Path, hub_cache: Callable[..., None]
) -> None:
    (folder / "unet" / "evil.py").write_text(evil(mark))
    change(folder / "model_index.json", unet=["evil", "Evil"])
    hub_cache("someone/evil", folder)
    for load in LOADERS:
        with pytest.raises(AtomtuneError, match=r"the unet of someone/evil is a evil\.Evil, which is not allowed"):
            load(resolve("someone/evil"))
    assert not mark.exists()
