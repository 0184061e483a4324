"""What is trained, as one module: the UNet, and the text encoders where these learn too."""

from collections.abc import Sequence

from torch import Tensor, nn

from ..conditioning import Embeddings, Tokens, encode


class Tuned(nn.Module):
    """UNet and text encoders in one, so that several processes exchange all their gradients together.

    Args:
        unet: with its deltas.
        encoders: the text encoders with theirs; none where captions come embedded.
        side: of the training pictures, in pixels.
    """

    def __init__(self, unet: nn.Module, encoders: Sequence[nn.Module], side: int) -> None:
        super().__init__()
        self.unet = unet
        self.encoders = nn.ModuleList(encoders)
        self.side = side

    def forward(self, noisy: Tensor, timesteps: Tensor, condition: Embeddings | Tokens) -> Tensor:
        """The prediction, (b, c, h, w), for noisy latents of that shape, (b,) timesteps and b captions."""
        if isinstance(condition, Tokens):
            condition = encode(list(self.encoders), condition)
        prediction: Tensor = self.unet(noisy, timesteps, **condition.for_unet(self.side), return_dict=False)[0]
        return prediction
