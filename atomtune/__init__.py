"""atomtune: personalise Stable Diffusion by training only the filter atoms of its UNet."""

__version__ = "0.1.0"
