"""The texts that a generated PNG carries: its settings as other tools read them, and as JSON."""

import json
from collections.abc import Sequence
from typing import Any

from PIL.PngImagePlugin import PngInfo

from .. import __version__
from ..models.base_model import ModelSource
from .changes import LoadedAtoms
from .options import Settings


def image_texts(
    prompt: str,
    seed: int,
    size: tuple[int, int],
    settings: Settings,
    scheduler: str | None,
    source: ModelSource,
    atoms: Sequence[LoadedAtoms],
) -> PngInfo:
    """The text chunks "parameters" and "atomtune" of one image.

    Args:
        size: of the image, width and height in pixels.
        atoms: what was applied; none for the base model's answer.
    """
    facts = {
        "prompt": prompt,
        "negative_prompt": settings.negative_prompt,
        "seed": seed,
        "steps": settings.steps,
        "guidance_scale": settings.guidance_scale,
        "scheduler": scheduler or "model",
        "size": list(size),
        "base": source.public_name,
        **({} if source.public_vae is None else {"vae": source.public_vae}),
        "atoms": [
            {"file": item.path.name, "sha256": item.sha256, "scale": item.scale, "concept": " + ".join(item.info.names)}
            for item in atoms
        ],
        "atomtune": __version__,
    }
    info = PngInfo()
    info.add_text("parameters", _parameters(facts))
    info.add_text("atomtune", json.dumps(facts))
    return info


def _parameters(facts: dict[str, Any]) -> str:
    lines = [facts["prompt"]]
    if facts["negative_prompt"]:
        lines.append(f"Negative prompt: {facts['negative_prompt']}")
    atoms = ", ".join(f"{item['concept']} {item['sha256'][:12]}:{item['scale']:g}" for item in facts["atoms"])
    lines.append(
        f"Steps: {facts['steps']}, Sampler: {facts['scheduler']}, CFG scale: {facts['guidance_scale']:g}, "
        f"Seed: {facts['seed']}, Size: {facts['size'][0]}x{facts['size'][1]}, Model: {facts['base']}"
        + (f", Atoms: {atoms}" if atoms else "")
        + f", Version: atomtune {facts['atomtune']}"
    )
    return "\n".join(lines)
