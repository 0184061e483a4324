"""`pocket`: a miniature text-to-image pipeline, trained on drawings of this package, with its grader."""

from pathlib import Path

_WEIGHTS = Path(__file__).parent / "weights"


def pipeline_folder() -> Path:
    """The folder of the diffusers pipeline (`StableDiffusionPipeline`, 64x64 pictures)."""
    return _WEIGHTS / "pipeline"


def grader_folder() -> Path:
    """The folder of the grader, an open_clip model (`local-dir:` schema)."""
    return _WEIGHTS / "grader"
