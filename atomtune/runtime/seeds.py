"""Random numbers derived from a seed and a purpose, independent of any that were drawn before."""

import hashlib

import torch


def derived_seed(seed: int, *purpose: object) -> int:
    """A 63-bit seed from the run's seed and words or numbers, the same on every machine."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def derived_generator(seed: int, *purpose: object) -> torch.Generator:
    """A CPU generator seeded by `derived_seed`; random numbers from the CPU are equal for every device."""
    return torch.Generator().manual_seed(derived_seed(seed, *purpose))
