"""Options that say which base model computes, where, and in which type."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..methods.options import DECOMPOSED, default_spec, make_spec, spec_options
from ..methods.specs import AtomsSpec
from ..runtime.option import Option, option, same_as
from ..runtime.options import Options

AUTO = "auto"
PRECISIONS = (AUTO, "fp32", "fp16", "bf16")


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options, panel="Model"):
    """The base model.

    Attributes:
        model: as for `base_model.resolve`; None for the default.
        vae: as for `other_vae.with_other_vae`; None for the model's own.
        precision: type that is computed in, see `base_model.pick_precision`; what is trained is float32 all the same.
        device: None for the best there is.
    """

    model: str | None = option(
        None,
        "Base model: a hub id, a diffusers folder, or 'pocket', the miniature in this package.",
        shown_default="$ATOMTUNE_MODEL, else CompVis/stable-diffusion-v1-4",
        metavar="MODEL",
        aliases=("pretrained_model_name_or_path",),
        essential=True,
    )
    vae: str | None = option(
        None,
        "Another autoencoder: a hub id, as stabilityai/sd-vae-ft-mse, or a folder.",
        shown_default="the base model's",
        metavar="VAE",
        aliases=("pretrained_vae_model_name_or_path",),
    )
    device: str | None = option(
        None, "Device, as cpu, cuda, cuda:1 or mps.", shown_default="a GPU where there is one", metavar="DEVICE"
    )
    precision: str = option(
        AUTO,
        "Compute dtype; auto is what the device is fast in.",
        choices=PRECISIONS,
        aliases=("mixed_precision",),
        essential=True,
    )


@dataclass(frozen=True, kw_only=True)
class DecomposeOptions(Options, panel="Model"):
    """A decomposition of a base model."""

    model: str | None = same_as(ModelOptions, "model")
    device: str | None = same_as(ModelOptions, "device")
    spec: AtomsSpec = option(None, "", derived=lambda _: default_spec("atoms"))

    @classmethod
    def more_options(cls) -> tuple[Option, ...]:
        """What of atoms' specs decides the decomposition."""
        return spec_options(DecomposeOptions, ["atoms"], DECOMPOSED)

    @classmethod
    def _assembled(cls, name: str, inside: Mapping[str, Any], flat: Mapping[str, Any]) -> Any:
        return make_spec("atoms", inside) if name == "spec" else super()._assembled(name, inside, flat)
