"""Conditioning of the UNet: prompt embeddings of one text encoder (SD v1, v2), or of two with the image size (SDXL)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of n prompts.

    Attributes:
        states: one vector for every token, (n, tokens, width).
        pooled: one vector for every prompt, (n, width of the last encoder), for SDXL; None for SD v1 and v2.
    """

    states: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, chosen: slice | Tensor) -> Self:
        """Some of the prompts; `chosen` may repeat indices, on any device."""
        if isinstance(chosen, Tensor):
            chosen = chosen.to(self.states.device)
        return self._each(lambda tensor: tensor[chosen])

    def __add__(self, other: Self) -> Self:
        """Concatenation along the prompts."""
        pooled = None if self.pooled is None or other.pooled is None else torch.cat([self.pooled, other.pooled])
        return type(self)(torch.cat([self.states, other.states]), pooled)

    def expand(self, count: int) -> Self:
        """One prompt, repeated `count` times."""
        return self._each(lambda tensor: tensor.expand(count, *tensor.shape[1:]))

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """On another device and in another dtype."""
        return self._each(lambda tensor: tensor.to(device, dtype))

    def for_unet(self, side: int, sizes: Tensor | None = None) -> dict[str, Any]:
        """The keyword arguments of the UNet for images of `side` × `side` pixels.

        Args:
            sizes: SDXL's size conditioning, (n, 6): height and width of each whole image, top and left of what was cut
                out, height and width of that (Podell et al. 2023, arXiv 2307.01952, section 2.2). By default that of
                uncropped images of this size, as in its pipeline.
        """
        if self.pooled is None:
            return {"encoder_hidden_states": self.states}
        if sizes is None:
            sizes = self.states.new_zeros(len(self), 6)  # filled on the device: CUDA graphs hold no copy from the CPU
            sizes[:, :2] = sizes[:, 4:] = side
        added = {"text_embeds": self.pooled, "time_ids": sizes.to(self.states.dtype)}
        return {"encoder_hidden_states": self.states, "added_cond_kwargs": added}

    def tensors(self) -> list[Tensor]:
        """All tensors."""
        return [self.states] if self.pooled is None else [self.states, self.pooled]

    def clone(self) -> Self:
        """A copy that shares no memory."""
        return self._each(torch.clone)

    def _each(self, change: Any) -> Self:
        return type(self)(change(self.states), None if self.pooled is None else change(self.pooled))


@dataclass(frozen=True)
class Tokens:
    """Token ids of n prompts, (n, tokens) for each text encoder."""

    ids: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.ids[0])

    def __getitem__(self, chosen: slice | Tensor) -> Self:
        if isinstance(chosen, Tensor):
            chosen = chosen.to(self.ids[0].device)
        return type(self)(tuple(ids[chosen] for ids in self.ids))

    def __add__(self, other: Self) -> Self:
        return type(self)(tuple(torch.cat(pair) for pair in zip(self.ids, other.ids, strict=True)))

    def expand(self, count: int) -> Self:
        """One prompt, repeated `count` times."""
        return type(self)(tuple(ids.expand(count, -1) for ids in self.ids))

    def tensors(self) -> list[Tensor]:
        """All tensors."""
        return list(self.ids)

    def clone(self) -> Self:
        """A copy that shares no memory."""
        return type(self)(tuple(ids.clone() for ids in self.ids))


def text_encoders(pipeline: Any) -> dict[str, nn.Module]:
    """The text encoders of a pipeline by the names of its components."""
    names = ("text_encoder", "text_encoder_2")
    return {name: encoder for name in names if (encoder := getattr(pipeline, name, None)) is not None}


def tokenizer_of(pipeline: Any, encoder: str) -> Any:
    """The tokenizer of a text encoder, by the name of the encoder's component."""
    return getattr(pipeline, encoder.replace("text_encoder", "tokenizer"))


def tokenize(pipeline: Any, prompts: Sequence[str], device: torch.device) -> Tokens:
    """The prompts' tokens, padded and cut to the encoders' length."""
    tokenizers = [pipeline.tokenizer, *([pipeline.tokenizer_2] if hasattr(pipeline, "tokenizer_2") else [])]
    return Tokens(
        tuple(
            tokenizer(
                list(prompts),
                padding="max_length",
                max_length=tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            ).input_ids.to(device)
            for tokenizer in tokenizers
        )
    )


def encode(encoders: Sequence[Any], tokens: Tokens) -> Embeddings:
    """Embeddings with gradients: those of `embed`, from tokens, for text encoders that are being trained.

    One encoder: its last states. Two: the last but one states of both side by side, and the second's projection.
    """
    if len(encoders) == 1:
        return Embeddings(encoders[0](tokens.ids[0])[0])
    answers = [encoder(ids, output_hidden_states=True) for encoder, ids in zip(encoders, tokens.ids, strict=True)]
    return Embeddings(torch.cat([answer.hidden_states[-2] for answer in answers], dim=-1), answers[-1][0])


@torch.no_grad()
def embed(pipeline: Any, prompts: Sequence[str]) -> Embeddings:
    """Embeddings of prompts, as the pipeline itself computes them."""
    device = pipeline.text_encoder.device
    states, _, *pooled = pipeline.encode_prompt(
        prompt=list(prompts), device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    return Embeddings(states, pooled[0] if pooled else None)


def embed_negative(pipeline: Any, prompt: str) -> Embeddings:
    """A negative prompt's embedding. For an empty one SDXL takes zeros."""
    embedded = embed(pipeline, [prompt])
    if prompt or not pipeline.config.get("force_zeros_for_empty_prompt", False):
        return embedded
    zeros = torch.zeros_like(embedded.states)
    return Embeddings(zeros, None if embedded.pooled is None else torch.zeros_like(embedded.pooled))
