"""The kinds of models that can be trained: latent diffusion that predicts noise or v, with CLIP text encoders."""

from collections.abc import Mapping
from typing import Any

from ..errors import AtomtuneError, excerpt
from .hub_files import PipelineFiles
from .pipeline_index import PIPELINES, read_config

_KINDS = "text-to-image models of SD v1, v2 and SDXL can be trained"
_NOISE_SCHEDULE = ("beta_start", "beta_end", "beta_schedule")
_PREDICTIONS = ("epsilon", "v_prediction")


def check_supported(files: PipelineFiles) -> None:
    """Raise AtomtuneError where the configurations of a pipeline are of another kind, or contradict each other.

    Components whose folder is not there are not checked.
    """
    parts = [part for part in files.index.components if (files.folder / part).is_dir()]
    configs = {part: read_config(files.name, files.folder, part) for part in parts if not part.startswith("tokenizer")}
    for part, config in configs.items():
        class_name = config.get("_class_name")
        if class_name is not None and ("diffusers", class_name) not in PIPELINES[files.index.kind][part]:
            raise AtomtuneError(
                f"the {part} of {files.name} is a {excerpt(class_name)}, which is not supported", _KINDS
            )
    if "unet" in configs:
        _check_unet(files.name, configs["unet"], is_xl="text_encoder_2" in files.index.components)
    if "scheduler" in configs:
        config = configs["scheduler"]
        if not config.get("trained_betas") and any(config.get(key) is None for key in _NOISE_SCHEDULE):
            raise AtomtuneError(
                f"scheduler/scheduler_config.json of {files.name} does not say its noise schedule",
                "fetch the model again",
            )
        predicted = config.get("prediction_type", "epsilon")
        if predicted not in _PREDICTIONS:
            raise AtomtuneError(f"{files.name} predicts {excerpt(predicted)}, which is not supported", _KINDS)
    _check_sizes(files.name, configs)


def _check_unet(name: str, config: Mapping[str, Any], is_xl: bool) -> None:
    channels, expected = config.get("in_channels", 4), config.get("out_channels", 4)
    if channels != expected:
        raise AtomtuneError(
            f"{name} is for another task: its UNet takes {excerpt(channels)} channels and gives {excerpt(expected)}",
            _KINDS,
        )
    for key in ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type", "class_embeddings_concat"):
        if config.get(key):
            raise AtomtuneError(f"the UNet of {name} has class or image embeddings ({key})", _KINDS)
    added = config.get("addition_embed_type")
    if added != ("text_time" if is_xl else None):
        raise AtomtuneError(f"the UNet of {name} has the conditioning {excerpt(added)}, which does not fit", _KINDS)


def _check_sizes(name: str, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise AtomtuneError where the widths of components do not fit together."""
    unet = configs.get("unet", {})
    latent = configs.get("vae", {}).get("latent_channels")
    if isinstance(latent, int) and unet and unet.get("in_channels", 4) != latent:
        raise AtomtuneError(
            f"the VAE of {name} has {latent} latent channels, its UNet {excerpt(unet.get('in_channels', 4))}",
            "the components are of different models",
        )
    encoders = [config for part, config in configs.items() if part.startswith("text_encoder")]
    widths = [width for config in encoders if isinstance(width := config.get("hidden_size"), int)]
    cross = unet.get("cross_attention_dim")
    if isinstance(cross, int) and encoders and len(widths) == len(encoders) and sum(widths) != cross:
        raise AtomtuneError(
            f"the text of {name} has the width {sum(widths)}, its UNet takes {cross}",
            "the components are of different models",
        )
