"""What describes an image: image-to-text models of transformers, and the grader of `pocket`."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..core.precision import DTYPES
from ..errors import AtomtuneError, UsageError, excerpt
from ..evaluation.encoders.grader import load_grader
from ..models.base_model import pick_device, pick_precision
from ..models.hub_errors import unreachable
from ..pocket.world import SCENES
from .captions import Describe
from .options import MODELS, POCKET, CaptionOptions

TASK = "<CAPTION>"
"""What Florence-2 is told by default."""

QUESTION = "Describe this image in one sentence, beginning with its main subject."
"""What a model is asked that is talked to."""

_PLAIN = 0.1
"""How much nearer, in cosines, the words without a scene must be: they fit an image in a scene nearly as well."""

_HINT = f"--with takes {', '.join(MODELS)}, pocket, or a hub id or folder of such a model"


def describer(options: CaptionOptions) -> Describe:
    """Load what describes. Raises AtomtuneError where it is not there, UsageError where it describes no images."""
    if options.model == POCKET:
        return of_pocket(options.of.class_noun)
    return of_transformers(options)


def of_pocket(noun: str) -> Describe:
    """By pocket's grader: the scene of its world in which a thing of this noun is, of all that there are."""
    grader = load_grader()
    plain, captions = f"a {noun}", [f"a {noun} {scene}" for scene in SCENES if scene]
    texts = grader.encode_texts([plain, *captions])

    def describe(image: Image.Image) -> str:
        near = (grader.encode_images([image]) @ texts.T)[0]
        best = int(near[1:].argmax())
        return plain if float(near[0] - near[1 + best]) > _PLAIN else captions[best]

    return describe


def of_transformers(options: CaptionOptions) -> Describe:
    """By a model of transformers, in safetensors and without code of its own. Raises as `describer`."""
    name = MODELS.get(options.model, options.model)
    device = pick_device(options.device)
    processor, model = _load(name, device, pick_precision(options.precision, device))
    kind = str(model.config.model_type)
    is_talked_to = bool(getattr(processor, "chat_template", None))

    def inputs(image: Image.Image) -> Any:
        if is_talked_to:
            content = [{"type": "image", "image": image}, {"type": "text", "text": options.question or QUESTION}]
            said = [{"role": "user", "content": content}]
            return processor.apply_chat_template(
                said, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            )
        text = options.question or (TASK if kind == "florence2" else None)
        return processor(images=image, return_tensors="pt", **({} if text is None else {"text": text}))

    @torch.no_grad()
    def describe(image: Image.Image) -> str:
        given = inputs(image).to(device)
        for key, value in given.items():
            if torch.is_tensor(value) and value.is_floating_point():
                given[key] = value.to(model.dtype)
        ids = model.generate(**given, max_new_tokens=options.max_tokens, num_beams=3, do_sample=False)
        if is_talked_to:  # what was asked comes first
            ids = ids[:, given["input_ids"].shape[1] :]
        (text,) = processor.batch_decode(ids, skip_special_tokens=True)
        return str(text).strip()

    return describe


def _load(name: str, device: torch.device, precision: str) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(name, trust_remote_code=False)
        model = AutoModelForImageTextToText.from_pretrained(
            name, dtype=DTYPES[precision], use_safetensors=True, trust_remote_code=False
        )
    except ImportError as problem:
        raise AtomtuneError(f"{excerpt(name)} needs a package: {excerpt(problem)}", "pip install it") from problem
    except (ValueError, KeyError, TypeError) as problem:
        raise UsageError(f"{excerpt(name)} is no model that describes images: {excerpt(problem)}", _HINT) from problem
    except OSError as problem:
        if Path(name).is_dir():
            raise AtomtuneError(f"cannot load the model in {name}: {excerpt(problem, 200)}", _HINT) from problem
        raise unreachable(name, problem, _HINT) from problem
    return processor, model.to(device).eval()
