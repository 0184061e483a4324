"""What a run would train, told from shapes alone."""

from dataclasses import replace

from ...methods.atoms import Atoms
from ...methods.base import LayerPlan
from ..models import resolve, text_encoders_on_meta, unet_on_meta
from ..text_atoms import encoder_spec, name_in_file
from .options import TrainOptions


def plan(options: TrainOptions) -> list[LayerPlan]:
    """Every layer that would be trained; each text encoder is a group of its own.

    Raises AtomtuneError where the model's configuration cannot be had.
    """
    source = resolve(options.model)
    layers = Atoms().plan(unet_on_meta(source), options.spec)
    encoders = text_encoders_on_meta(source) if options.train_text_encoder else {}
    for part, encoder in encoders.items():
        own = Atoms().plan(encoder, encoder_spec(options.spec, encoders, part))
        layers += [replace(layer, name=name_in_file(part, layer.name), group=part) for layer in own]
    return layers
