"""What a pipeline folder may hold: model_index.json and the components' configurations, checked before they are loaded.

A model is data. Nothing in it may name code: the library and class of every component must be on the list below, and
folders with Python files, remote code or pickles are refused. The components are loaded by the classes of this list.
"""

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import AtomtuneError, excerpt
from ..files.untrusted_json import read_json

INDEX = "model_index.json"
CODE = "atomtune runs no code from a model; take a version without it"

_CLIP, _CLIP_PROJECTION = ("transformers", "CLIPTextModel"), ("transformers", "CLIPTextModelWithProjection")
_TOKENIZERS = frozenset({("transformers", "CLIPTokenizer"), ("transformers", "CLIPTokenizerFast")})
_SCHEDULERS = frozenset(
    ("diffusers", f"{name}Scheduler")
    for name in (
        *("DDIM", "DDPM", "PNDM", "LMSDiscrete", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete"),
        *("DPMSolverMultistep", "DPMSolverSinglestep", "DPMSolverSDE", "KDPM2Discrete", "KDPM2AncestralDiscrete"),
        *("DEISMultistep", "UniPCMultistep", "SASolver", "LCM", "TCD"),
    )
)
_UNUSED_LIBRARIES = frozenset({"diffusers", "transformers", "stable_diffusion"})
_UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Components that are never loaded."""

_COMMON = {
    "unet": frozenset({("diffusers", "UNet2DConditionModel")}),
    "vae": frozenset({("diffusers", "AutoencoderKL")}),
    "scheduler": _SCHEDULERS,
    "text_encoder": frozenset({_CLIP}),
    "tokenizer": _TOKENIZERS,
}
PIPELINES: dict[str, dict[str, frozenset[tuple[str, str]]]] = {
    "StableDiffusionPipeline": _COMMON,
    "StableDiffusionXLPipeline": {
        **_COMMON,
        "text_encoder_2": frozenset({_CLIP_PROJECTION}),
        "tokenizer_2": _TOKENIZERS,
    },
}
"""The pipelines that can be loaded, and the libraries and classes that each of their components may have."""

CONFIGS = {
    "scheduler": "scheduler_config.json",
    "tokenizer": "tokenizer_config.json",
    "tokenizer_2": "tokenizer_config.json",
}
"""The names of components' configurations that are not config.json."""

_LARGEST = 1_000_000  # numbers in a configuration; a vocabulary has 49,408 words
_MOST_LAYERS = 100  # in a block or an encoder
_LONGEST = 10_000  # items of a list, of which `trained_betas` has the most

TOKENIZER_FILES = ("vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json", "tokenizer.json")


class Missing(AtomtuneError):
    """A file of a model is not there."""

    def __init__(self, name: str, file: str) -> None:
        super().__init__(f"{name} lacks the file {excerpt(file)}", "fetch the model again")


@dataclass(frozen=True)
class PipelineIndex:
    """A checked model_index.json.

    Attributes:
        kind: the class of the pipeline.
        components: the class of each component that is loaded.
        options: the pipeline's own settings that are used.
    """

    kind: str
    components: dict[str, str]
    options: dict[str, Any] = field(default_factory=dict)


def read_index(name: str, path: Path) -> PipelineIndex:
    """Read and check a model_index.json. Raises AtomtuneError where it is damaged or names what is not allowed.

    Args:
        name: of the model, for messages.
    """
    index = _read_object(name, path)
    kind = index.get("_class_name")
    if not isinstance(kind, str) or kind not in PIPELINES:
        raise AtomtuneError(f"{name} is a {excerpt(kind)}, which is not supported", f"{' and '.join(PIPELINES)} are")
    allowed = PIPELINES[kind]
    components = {}
    for part, value in index.items():
        if not isinstance(value, list) or part.startswith("_"):
            continue  # a setting
        if value == [None, None]:
            continue
        if len(value) != 2 or not all(isinstance(item, str) for item in value):
            raise AtomtuneError(f"{INDEX} of {name} is damaged at {excerpt(part)}", "fetch the model again")
        library, class_name = value
        if part in _UNUSED and library in _UNUSED_LIBRARIES:
            continue
        if (library, class_name) not in allowed.get(part, ()):
            raise _not_allowed(name, part, library, class_name)
        components[part] = class_name
    if missing := [part for part in allowed if part not in components]:
        raise AtomtuneError(f"{INDEX} of {name} names no {missing[0]}", "fetch the model again")
    zeros = index.get("force_zeros_for_empty_prompt", True) if "tokenizer_2" in allowed else None
    return PipelineIndex(kind, components, {} if zeros is None else {"force_zeros_for_empty_prompt": bool(zeros)})


def read_config(name: str, folder: Path, part: str) -> dict[str, Any]:
    """Read and check the configuration of a component in a pipeline folder.

    Raises AtomtuneError where it is missing or damaged, or asks for code or for quantised weights.
    """
    file = CONFIGS.get(part, "config.json")
    config = _read_object(name, folder / part / file, f"{part}/{file}")
    if "auto_map" in config or config.get("trust_remote_code"):
        raise AtomtuneError(f"{part}/{file} of {name} asks for code of its own (auto_map)", CODE)
    if config.get("quantization_config"):
        raise AtomtuneError(f"the {part} of {name} is quantised", "take a version with float16 or float32 weights")
    if not part.startswith("tokenizer"):
        for key, value in config.items():
            if not _is_plausible(key, value):
                raise AtomtuneError(f"{part}/{file} of {name} is damaged at {excerpt(key)}", "fetch the model again")
    return config


def _is_plausible(key: str, value: Any) -> bool:
    """False for numbers with which a model would take all memory or for ever."""
    if isinstance(value, list):
        return len(value) <= _LONGEST and all(_is_plausible(key, item) for item in value)
    if isinstance(value, int | float):
        return abs(value) <= (_MOST_LAYERS if "layers" in key else _LARGEST)
    return True


def refuse_code(name: str, files: list[str], parts: tuple[str, ...]) -> None:
    """Raise AtomtuneError where a component's folder has a Python file among these of the repository."""
    for file in files:
        if PurePosixPath(file).suffix.lower() in (".py", ".pyc", ".pyd", ".so") and file.split("/")[0] in parts:
            raise AtomtuneError(f"{name} holds code ({excerpt(file)})", CODE)


def _not_allowed(name: str, part: str, library: str, class_name: str) -> AtomtuneError:
    what = excerpt(f"{library}.{class_name}")
    if part == "scheduler" and library == "diffusers":
        hint = "models that predict noise or v are, with a DDIM, DDPM, PNDM, Euler or DPM-Solver scheduler"
        return AtomtuneError(f"the scheduler of {name} is a {excerpt(class_name)}, which is not supported", hint)
    return AtomtuneError(f"the {excerpt(part)} of {name} is a {what}, which is not allowed", CODE)


def _read_object(name: str, path: Path, shown: str = INDEX) -> dict[str, Any]:
    try:
        value = read_json(path)
    except FileNotFoundError:
        raise Missing(name, shown) from None
    except (OSError, ValueError) as problem:
        raise AtomtuneError(f"{shown} of {name} cannot be read ({excerpt(problem)})", "fetch the model again") from None
    if not isinstance(value, dict):
        raise AtomtuneError(f"{shown} of {name} is damaged", "fetch the model again")
    return value
