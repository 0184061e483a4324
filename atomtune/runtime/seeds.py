"""Random numbers that depend on the seed and on what they are for, never on what was drawn before."""

import hashlib

import torch


def derived_seed(seed: int, *purpose: object) -> int:
    """A 63-bit seed from the run's seed and any words and numbers, the same on every machine."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def derived_generator(seed: int, *purpose: object) -> torch.Generator:
    """A generator on the CPU, seeded by `derived_seed`; drawing there makes numbers equal on every device."""
    return torch.Generator().manual_seed(derived_seed(seed, *purpose))
