"""Grad-CAM, beside the package grad-cam where it is installed, and the page of `classify explain`."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from atomtune.errors import UsageError
from atomtune.vision.grad_cam import active_share, as_map, default_layer, grad_cam, named_layer, prefix_tokens
from atomtune.vision.network import Network, build

NETWORKS = {"test_resnet": "layer4.0.act3", "test_vit": "blocks.5.norm1", "test_convnext": "norm_pre"}


def network(name: str) -> Network:
    return build(f"timm:{name}", 3, weights="random", size=64)


def image() -> Tensor:
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_map_is_the_one_of_the_package_grad_cam(name: str) -> None:
    pytorch_grad_cam = pytest.importorskip("pytorch_grad_cam", reason="the package grad-cam is not installed")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    made = network(name)
    _, layer = default_layer(made, image())
    prefix = prefix_tokens(made)

    def places(output: Tensor) -> Tensor:
        return as_map(output, prefix)

    reference: Any = pytorch_grad_cam.GradCAM(model=made.model, target_layers=[layer], reshape_transform=places)
    for number in range(3):
        ours = grad_cam(made.model, layer, image(), number, prefix)
        theirs = torch.from_numpy(reference(image(), [ClassifierOutputTarget(number)])[0])
        # theirs is scaled from 0 to 1 before it is enlarged, by another library
        assert (ours - theirs).abs().max() < 2e-2
        assert abs(active_share(ours) - active_share(theirs)) < 2e-2


@pytest.mark.parametrize("name", NETWORKS)
def test_a_layer_with_places_is_found(name: str) -> None:
    made = network(name)
    _, layer = default_layer(made, image())
    found = grad_cam(made.model, layer, image(), 0, prefix_tokens(made))
    assert found.shape == (64, 64)
    assert 0.0 <= float(found.min()) <= float(found.max()) <= 1.0
    assert torch.equal(found, grad_cam(made.model, layer, image(), 0, prefix_tokens(made)))


def test_the_map_is_where_the_class_is() -> None:
    """A network that sums one channel of the image for each class."""

    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.AvgPool2d(8)

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(x).mean(dim=(2, 3))

    shown = torch.zeros(1, 3, 64, 64)
    shown[:, 1, :32, :32] = 1.0
    model = Sums()
    found = grad_cam(model, model.pool, shown, 1)
    assert float(found[:24, :24].min()) == 1.0
    assert float(found[40:, 40:].max()) == 0.0
    assert 0.2 < active_share(found) < 0.3
    assert active_share(grad_cam(model, model.pool, shown, 0)) == 0.0


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="has no layer nowhere"):
        named_layer(network("test_resnet"), "nowhere")
    with pytest.raises(UsageError, match="no square"):
        as_map(torch.zeros(1, 7, 4))
    assert as_map(torch.zeros(1, 2, 2, 5)).shape == (1, 5, 2, 2)


def test_timm_still_calls_its_layers_so() -> None:
    assert timm.create_model("test_vit", num_classes=3).num_prefix_tokens == 1
