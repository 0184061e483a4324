"""Model folders of any content: a model, or one line and a hint."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from atomtune.errors import AtomtuneError
from atomtune.models.architecture import native_resolution, text_encoders_on_meta, unet_on_meta
from atomtune.models.base_model import load_pipeline, load_unet, resolve
from hostile import budgets, for_all

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.sampled_from(
        ["", "diffusers", "transformers", "os", "CLIPTextModel", "UNet2DConditionModel", "\x1b[2J", "v" * 3000]
    )
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
ON_META = (unet_on_meta, text_encoders_on_meta, native_resolution)


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def check(folder: Path, loaders: tuple[Callable[[Any], object], ...]) -> None:
    problems = []
    for load in loaders:
        try:
            load(resolve(str(folder)))
        except AtomtuneError as problem:
            problems.append(problem)
    assert all(problem.hint and "\n" not in problem.message and len(problem.message) < 1000 for problem in problems)


@budgets(60)
def test_any_value_in_an_index(examples: int, folder: Path) -> None:
    path = folder / "model_index.json"
    index = json.loads(path.read_text())

    def change(key: str, value: object) -> None:
        path.write_text(json.dumps({**index, key: value}))
        # what is left as it is loads, which takes a while
        check(folder, ON_META if key.startswith("_diffusers") or not isinstance(value, list) else (load_unet, *ON_META))

    for_all(examples, change, st.sampled_from([*index, "extra", "image_encoder"]) | st.text(max_size=5), VALUES)


@budgets(15)
def test_any_value_in_a_configuration(examples: int, folder: Path) -> None:
    files = ["unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json"]
    configs = {file: json.loads((folder / file).read_text()) for file in files}
    keys = [(file, key) for file, config in configs.items() for key in config]

    def change(where: tuple[str, str], value: object) -> None:
        file, key = where
        (folder / file).write_text(json.dumps({**configs[file], key: value}))
        check(folder, (*ON_META, load_pipeline))
        (folder / file).write_text(json.dumps(configs[file]))

    for_all(examples, change, st.sampled_from(keys), VALUES)


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("unet/config.json", "layers_per_block", 10**7),
        ("unet/config.json", "block_out_channels", [10**9, 10**9]),
        ("unet/config.json", "transformer_layers_per_block", 10**6),
        ("text_encoder/config.json", "num_hidden_layers", 10**6),
        ("text_encoder/config.json", "hidden_size", 10**12),
        ("vae/config.json", "block_out_channels", [8] * 20_000),
        ("scheduler/scheduler_config.json", "num_train_timesteps", 10**12),
    ],
)
def test_giant_models_are_refused_before_they_are_made(file: str, key: str, value: object, folder: Path) -> None:
    (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | {key: value}))
    with pytest.raises(AtomtuneError, match=f"{file} of .* is damaged at {key}"):
        load_pipeline(resolve(str(folder)))
