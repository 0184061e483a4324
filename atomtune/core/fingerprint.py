"""A name for a set of weights that does not depend on where or in which precision they are stored."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def fingerprint(model: nn.Module) -> str:
    """The fingerprint of a model's own parameters. Take it before deltas are attached."""
    return fingerprint_of(dict(model.named_parameters()))


@torch.no_grad()
def fingerprint_of(parameters: Mapping[str, Tensor]) -> str:
    """SHA-256 (64 hex digits) over the names, shapes and float16 values of parameters.

    float32 and float16 copies of one model have the same fingerprint.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(parameters.items()):
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        # reshape first: a tensor without dimensions has no byte view
        half = parameter.detach().to("cpu", torch.float16).reshape(-1).contiguous()
        digest.update(half.view(torch.uint8).numpy().data)
    return digest.hexdigest()
