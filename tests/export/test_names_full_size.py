"""The names of the full-size models, by their shapes alone."""

from typing import Any

import pytest
from diffusers.loaders import single_file_utils as convert
from torch import Tensor, nn

from atomtune.adapt import adaptable_layers
from atomtune.export.lora_keys import has_taps, kohya_name
from atomtune.export.original_layout import original_layout
from full_shapes import V1, V2, XL, Pipeline
from single_file import unet_name


@pytest.fixture(scope="module", params=[V1, V2, XL], ids=["v1", "v2", "xl"])
def full(request: pytest.FixtureRequest) -> tuple[str, Pipeline]:
    return request.param, Pipeline(request.param)


def test_every_layer_has_a_name_for_kohya(full: tuple[str, Pipeline]) -> None:
    name, pipeline = full
    layers = list(adaptable_layers(pipeline.unet))
    names = {kohya_name("unet", layer, pipeline.unet.config, name == XL) for layer in layers}
    assert len(layers) == len(names) == {V1: 282, V2: 282, XL: 794}[name]
    if name == XL:  # the tests have a converter of their own
        other = {
            unet_name(pipeline.unet, f"{layer}.weight").removesuffix(".weight")
            for layer in layers
            if "add_emb" not in layer
        }
        assert {f"lora_unet_{key.replace('.', '_')}" for key in other} == {
            key for key in names if "label_emb" not in key
        }
    sided = [layer for layer in layers if has_taps("unet", layer, pipeline, as_kohya_trains=name != XL)]
    flat = [layer for layer in layers if layer not in sided]
    convolutions = [layer for layer, module in adaptable_layers(pipeline.unet).items() if isinstance(module, nn.Conv2d)]
    projections = [layer for layer in layers if layer.endswith((".proj_in", ".proj_out"))]
    assert set(sided) == set(convolutions) | (set(projections) if name == V2 else set())
    assert all(isinstance(pipeline.unet.get_submodule(layer), nn.Linear) for layer in flat)


def test_a_checkpoint_has_every_key_that_is_read_from_the_original_layout(full: tuple[str, Pipeline]) -> None:
    """Back through diffusers' converters every weight is there under its own name, in its own shape."""
    name, pipeline = full
    tensors = dict(original_layout(pipeline))
    assert len(tensors) == {V1: 1131, V2: 1228, XL: 2515}[name]
    unet = convert.convert_ldm_unet_checkpoint(tensors, dict(pipeline.unet.config))
    vae = convert.convert_ldm_vae_checkpoint(tensors, dict(pipeline.vae.config))
    assert shapes(unet) == shapes(pipeline.unet.state_dict())
    assert shapes(vae) == shapes(pipeline.vae.state_dict())
    components = [part for part in pipeline.components if part.startswith("text")]
    for number, part in enumerate(components):
        encoder: Any = pipeline.components[part]
        if name == V2 or number == 1:
            prefix = "cond_stage_model.model." if name == V2 else "conditioner.embedders.1.model."
            back = convert.convert_open_clip_checkpoint(encoder, tensors, prefix)
        else:
            back = convert.convert_ldm_clip_checkpoint(tensors)
        own = {f"text_model.{key.removeprefix('text_model.')}": value for key, value in encoder.state_dict().items()}
        wanted = {key.replace("text_model.text_projection", "text_projection"): value for key, value in own.items()}
        there = shapes(back)
        assert {key: there.get(key) for key in shapes(wanted)} == shapes(wanted)


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}
