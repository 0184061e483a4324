"""The measures of a set of images, from the encoders' embeddings of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from . import metrics
from .encoders.base import Encoders

ENOUGH_FOR_FID = 2048
FEWEST_FOR_KID = 50


@dataclass(frozen=True)
class Measures:
    """What a set of images scores; None where it cannot be measured.

    Attributes:
        n: images; references: images of the concept.
        fidelity: mean cosine between each image and each of the concept's (the paper's; DINOv2).
        diversity: Vendi score of all images; between 1 and n.
        diversity_per_prompt: mean Vendi score of the images of one prompt.
        alignment: mean cosine between each image and its prompt, without the token (CLIP-T of DreamBooth).
        dino, clip_i: fidelity in the spaces of DINO ViT-S/16 and CLIP (DreamBooth, section 4.1).
        drift: 1 − mean cosine between the tuned and the base model's images of prompts without the concept.
        kid, fd_dinov2, fid: distances to the references, where there are enough of both: the first two in the space of
            diversity, which is DINOv2's with Stable Diffusion, and FID in Inception's where torch-fidelity is there.
        confusion: share of images that are nearer to another concept of the same run than to this one, by fidelity.
    """

    n: int
    references: int
    fidelity: float | None = None
    diversity: float | None = None
    diversity_per_prompt: float | None = None
    alignment: float | None = None
    dino: float | None = None
    clip_i: float | None = None
    drift: float | None = None
    kid: float | None = None
    fd_dinov2: float | None = None
    fid: float | None = None
    confusion: float | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The way back from `as_dict`, of version 0.1's too, whose `fid` was FD-DINOv2.

        Raises TypeError for other names.
        """
        if "fd_dinov2" not in values:
            values = {**values, "fd_dinov2": values.get("fid"), "fid": None}
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Measured:
    """Measures of a set, and of each of its images.

    Attributes:
        fidelity, alignment: of each image, (n,); alignment is NaN for an image without a prompt.
    """

    measures: Measures
    fidelity: Tensor
    alignment: Tensor


def measure(
    encoders: Encoders,
    images: Sequence[Image.Image],
    texts: Sequence[str | None],
    references: Sequence[Image.Image],
    drift: tuple[Sequence[Image.Image], Sequence[Image.Image]] | None = None,
    others: Sequence[Sequence[Image.Image]] = (),
) -> Measured:
    """Score images.

    Args:
        texts: the prompt of each image, without the token; None where that is not known.
        references: the concept's images.
        drift: images of prompts without the concept, by the tuned and by the base model, pair by pair.
        others: the images of each other concept of the same run.
    """
    embeddings, known = (encoders.fidelity.encode_images(group) for group in (images, references))
    if encoders.diversity is encoders.fidelity:
        whole, known_whole = embeddings, known
    else:
        whole, known_whole = (encoders.diversity.encode_images(group) for group in (images, references))
    by_prompt: dict[str, list[int]] = {}
    for i, text in enumerate(texts):
        if text is not None:
            by_prompt.setdefault(text, []).append(i)
    several = [numbers for numbers in by_prompt.values() if len(numbers) > 1]
    aligned, clip_i = _alignment(encoders, images, texts, references)
    moved = None
    if drift is not None:
        moved = metrics.drift(*(encoders.diversity.encode_images(group) for group in drift))
    kid = fd = fid = None
    if min(len(images), len(references)) >= FEWEST_FOR_KID:
        kid, fd = metrics.kid(whole, known_whole, gamma=1.0)[0], metrics.fid(whole, known_whole)
        if encoders.inception is not None:
            fid = metrics.fid(*(encoders.inception.features(group) for group in (images, references)))
    dino = None
    if encoders.dino is not None:
        dino = metrics.fidelity(encoders.dino.encode_images(images), encoders.dino.encode_images(references))
    near = metrics.fidelity_each(embeddings, known)
    known_alignment = aligned[~aligned.isnan()]
    return Measured(
        Measures(
            n=len(images),
            references=len(references),
            fidelity=metrics.fidelity(embeddings, known),
            diversity=metrics.vendi(whole),
            diversity_per_prompt=_mean([metrics.vendi(whole[numbers]) for numbers in several]),
            alignment=float(known_alignment.double().mean()) if len(known_alignment) else None,
            dino=dino,
            clip_i=clip_i,
            drift=moved,
            kid=kid,
            fd_dinov2=fd,
            fid=fid,
            confusion=confusion(near, [encoders.fidelity.encode_images(group) for group in others], embeddings),
        ),
        near,
        aligned,
    )


def confusion(near: Tensor, others: Sequence[Tensor], embeddings: Tensor) -> float | None:
    """The share of images that are nearer to another concept than to their own; None without others.

    Args:
        near: mean cosine of each image with the images of its own concept, (n,).
        others: embeddings of the images of each other concept; embeddings: of the images, (n, width).
    """
    if not others:
        return None
    nearest = torch.stack([metrics.fidelity_each(embeddings, group) for group in others]).amax(dim=0)
    return float((nearest > near).double().mean())


def real_fidelity(encoders: Encoders, references: Sequence[Image.Image]) -> float | None:
    """Mean cosine between two different images of the concept: what real images of it score."""
    if len(references) < 2:
        return None
    matrix = metrics.cosine_matrix(*(2 * [encoders.fidelity.encode_images(references)]))
    count = len(references)
    return float((matrix.sum() - matrix.diagonal().sum()) / (count * (count - 1)))


def _alignment(
    encoders: Encoders,
    images: Sequence[Image.Image],
    texts: Sequence[str | None],
    references: Sequence[Image.Image],
) -> tuple[Tensor, float | None]:
    """Each image's cosine with its text, and CLIP-I where the space is not that of fidelity already."""
    encoder = encoders.alignment
    aligned = torch.full((len(images),), float("nan"))
    is_another = encoder is not encoders.fidelity
    prompted = [i for i, text in enumerate(texts) if text is not None]
    if not prompted and not is_another:
        return aligned, None
    embeddings = encoder.encode_images(images)
    if prompted:
        unique = list(dict.fromkeys(text for text in texts if text is not None))
        encoded = dict(zip(unique, encoder.encode_texts(unique), strict=True))
        rows = torch.stack([encoded[text] for text in texts if text is not None])
        aligned[prompted] = metrics.alignment_each(embeddings[prompted], rows).float()
    return aligned, metrics.fidelity(embeddings, encoder.encode_images(references)) if is_another else None


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
