"""Small models of several libraries, with random weights, and inputs for them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from atomtune.models.base_model import load_unet, resolve
from tiny import WIDTH


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    Attributes:
        make: a model, the same each time.
        run: its output, (n, …), for `inputs`.
        inputs: of one batch.
    """

    make: Callable[[], nn.Module]
    run: Callable[[Any, Any], Tensor]
    inputs: Any


def noise(*shape: int, seed: int = 1) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """What `make` makes with the same random numbers each time, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return make().eval()


def unet(folder: Path) -> Kind:
    """diffusers' UNet as `from_pretrained` gives it: all parameters require gradients."""

    def make() -> nn.Module:
        model = load_unet(resolve(str(folder)))
        return model.requires_grad_(True)

    def run(model: Any, inputs: tuple[Tensor, Tensor]) -> Tensor:
        return model(inputs[0], torch.tensor([3, 500]), encoder_hidden_states=inputs[1], return_dict=False)[0]

    return Kind(make, run, (noise(2, 4, 16, 16), noise(2, 7, WIDTH)))


def text_encoder() -> Kind:
    """CLIP's text encoder."""
    from transformers import CLIPTextConfig, CLIPTextModel

    def make() -> nn.Module:
        config = CLIPTextConfig(
            vocab_size=99,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=16,
            eos_token_id=98,
            bos_token_id=97,
        )
        return CLIPTextModel(config)

    ids = torch.arange(2 * 9).view(2, 9)
    return Kind(lambda: seeded(make), lambda model, ids: model(ids)[0], ids)


def resnet18() -> Kind:
    """torchvision's ResNet-18."""
    from torchvision import models

    return Kind(lambda: seeded(lambda: models.resnet18(num_classes=5)), lambda model, x: model(x), noise(2, 3, 32, 32))


def small_resnet() -> Kind:
    """timm's smallest ResNet."""
    import timm

    def make() -> nn.Module:
        return timm.create_model("test_resnet", pretrained=False, num_classes=5)

    return Kind(lambda: seeded(make), lambda model, x: model(x), noise(2, 3, 32, 32))


def bert() -> Kind:
    """transformers' BERT."""
    from transformers import BertConfig, BertModel

    def make() -> nn.Module:
        config = BertConfig(
            vocab_size=99,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=16,
        )
        return BertModel(config)

    ids = torch.arange(2 * 9).view(2, 9)
    return Kind(lambda: seeded(make), lambda model, ids: model(ids)[0], ids)
