"""A name for a set of weights that does not depend on where or in which precision they are stored."""

import hashlib

import torch
from torch import nn


@torch.no_grad()
def fingerprint(model: nn.Module) -> str:
    """SHA-256 (64 hex digits) over the names, shapes and float16 values of a model's own parameters.

    float32 and float16 copies of one model have the same fingerprint. Take it before deltas are attached.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        # reshape first: a tensor without dimensions has no byte view
        half = parameter.detach().to("cpu", torch.float16).reshape(-1).contiguous()
        digest.update(half.view(torch.uint8).numpy().data)
    return digest.hexdigest()
