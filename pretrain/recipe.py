"""The numbers of the recipe: sizes, steps, rates. One place, so that the model card can state them."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what the trained weights will be."""

    seed: int = 0
    begins_from: str = ""
    autoencoder_from: str = ""
    denoiser_from: str = ""
    images: int = 48_000
    image_size: int = 64

    latent_channels: int = 16
    autoencoder_channels: tuple[int, ...] = (32, 64, 96)
    autoencoder_steps: int = 7_500
    autoencoder_batch: int = 4
    autoencoder_rate: float = 6e-4
    autoencoder_matrix_rate: float = 0.005
    gradient_weight: float = 1.0
    coarse_weight: float = 0.5
    squared_weight: float = 10.0
    kl_weight: float = 5e-4
    decoder_steps: int = 1_600
    decoder_batch: int = 16
    decoder_rate: float = 4e-4
    decoder_matrix_rate: float = 0.004

    text_width: int = 96
    text_layers: int = 3
    text_heads: int = 3
    unet_channels: tuple[int, ...] = (64, 96, 160)
    unet_attention: tuple[bool, ...] = (False, True, False)
    unet_heads: int = 4
    denoiser_steps: int = 7_500
    denoiser_batch: int = 64
    denoiser_rate: float = 1e-3
    denoiser_matrix_rate: float = 0.005
    average_decay: float = 0.999
    focused_times: float = 0.5
    times_center: float = 0.3
    times_spread: float = 0.8
    dropped_prompts: float = 0.10
    unsaid_scenes: float = 0.12
    said_colors: float = 0.30
    named_views: int = 200
    named_share: float = 0.5
    said_names: float = 0.85
    unbound_words: float = 0.0

    partners: int = 16_000
    identity_temperature: float = 0.1
    grader_steps: int = 1_500
    grader_batch: int = 96
    grader_rate: float = 1e-3
    grader_rare_words: float = 0.15

    samples_per_cell: int = 10
    sampled_names: int = 112
    sampling_steps: int = 25
    guidance_scale: float = 5.0

    def as_dict(self) -> dict[str, object]:
        """The numbers by name, as JSON can hold them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def trial() -> Recipe:
    """A few steps of everything, to check that the recipe runs."""
    return Recipe(
        images=600,
        partners=600,
        named_views=1,
        autoencoder_steps=4,
        decoder_steps=4,
        decoder_batch=2,
        denoiser_steps=4,
        grader_steps=4,
        autoencoder_batch=2,
        denoiser_batch=2,
        grader_batch=8,
        samples_per_cell=1,
        sampled_names=14,
        sampling_steps=2,
    )
