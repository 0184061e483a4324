"""What a run would train, from shapes alone (`train --dry-run`)."""

from dataclasses import replace

from ..methods import METHODS
from ..methods.base import LayerPlan
from ..methods.textual_inversion import TOKEN_CHANGE, token_table
from ..models.architecture import text_encoders_on_meta, unet_on_meta
from ..models.base_model import resolve
from ..models.components import encoder_spec, name_in_file
from .options import TrainOptions


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
            trained = options.concept.token_vectors * width
            layers.append(LayerPlan(name_in_file(part, TOKEN_CHANGE), part, "other", trained))
    return layers
