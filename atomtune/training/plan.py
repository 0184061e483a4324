"""What a run trains, from shapes alone: for its first line, and for `train --dry-run`."""

from collections.abc import Sequence
from dataclasses import replace

from ..methods import METHODS
from ..methods.base import LayerPlan
from ..methods.textual_inversion import TOKEN_CHANGE, token_table
from ..models.architecture import text_encoders_on_meta, unet_on_meta
from ..models.base_model import resolve
from ..models.components import encoder_spec, name_in_file
from ..runtime.units import counted, size
from .options import TrainOptions
from .validation_options import held_out_of

_METADATA = 1_500  # bytes of the file's header
_NAMES = 130  # bytes for each layer there: its tensors' names, shapes and places


def plan(options: TrainOptions) -> list[LayerPlan]:
    """Every layer that would be trained; each text encoder is a group of its own.

    Raises AtomtuneError where the model's configuration cannot be had.
    """
    source, method = resolve(options.model), METHODS[options.method]
    layers = method.plan(unet_on_meta(source), options.spec)
    encoders = text_encoders_on_meta(source) if options.train_text_encoder or options.trains_token else {}
    for part, encoder in encoders.items():
        if options.train_text_encoder:
            own = method.plan(encoder, encoder_spec(options.spec, encoders, part))
            layers += [replace(layer, name=name_in_file(part, layer.name), group=part) for layer in own]
        if options.trains_token:
            width = token_table(encoder)[1].weight.shape[1]
            trained = options.token_vectors * width
            layers.append(LayerPlan(name_in_file(part, TOKEN_CHANGE), part, "other", trained))
    return layers


def file_bytes(layers: Sequence[LayerPlan]) -> int:
    """Bytes of the file that a run would write, about: its numbers in float16, and their names."""
    return 2 * sum(layer.in_file for layer in layers) + _METADATA + _NAMES * len(layers)


def in_words(options: TrainOptions, model: str, layers: Sequence[LayerPlan], images: Sequence[int]) -> str:
    """What a run does, as its first line says it: what is taught to which model, from how much, at what size.

    Args:
        images: how many there are of each concept.
    """
    held_out = sum(held_out_of(options.validate, count) for count in images)
    parts = [
        counted(sum(images), "image") + (f" ({held_out} kept out)" if held_out else ""),
        counted(options.steps, "step"),
        counted(sum(layer.parameters for layer in layers), "parameter"),
        f"about {size(file_bytes(layers))}",
    ]
    taught = " and ".join(f'<{concept.name}> as "{concept.words}"' for concept in options.concepts)
    return f"teaching {taught} on {model}: {', '.join(parts)}"
