"""The model card of a published concept, by huggingface_hub's own classes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import AtomtuneError, excerpt
from ..files.atoms_file import AtomsInfo
from ..runtime.units import counted

MEASURES = {
    "fidelity": "Fidelity: cosine to the photos",
    "dino": "Fidelity in the space of DINO",
    "clip_i": "Fidelity in the space of CLIP",
    "diversity": "Diversity: Vendi score",
    "alignment": "Alignment: cosine to the prompt",
    "drift": "Drift: change of images without the concept",
}


def card_text(
    info: AtomsInfo,
    licence: str,
    shown: Sequence[tuple[str, str]],
    scores: Mapping[str, Any] | None,
    atoms: str,
    lora: str | None,
    lora_error: float | None,
) -> str:
    """README.md with its metadata.

    Args:
        licence: as the hub calls it.
        shown: images, each with its prompt.
        scores: those of `evaluate`, or None.
        atoms, lora: names of files.
        lora_error: what the LoRA lacks of the change, relative.
    """
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCardData(
        base_model=info.base if "/" in info.base else None,
        license=licence,
        pipeline_tag="text-to-image",
        library_name="atomtune",
        model_name=" + ".join(info.names),
        tags=["text-to-image", "stable-diffusion", "atomtune", "template:sd-lora"],
        eval_results=_results(scores) or None,
        instance_prompt=info.trigger,
        widget=[{"text": prompt, "output": {"url": name}} for name, prompt in shown] or None,
        thumbnail=shown[0][0] if shown else None,
    )
    text = f"---\n{data.to_yaml()}\n---\n\n{_body(info, bool(shown), scores, atoms, lora, lora_error)}"
    try:
        card = ModelCard(text)
    except ValueError as problem:
        raise AtomtuneError(
            f"the model card would not be valid: {excerpt(problem)}", "--licence names another"
        ) from None
    return str(card)


def _results(scores: Mapping[str, Any] | None) -> list[Any]:
    from huggingface_hub import EvalResult

    found = []
    for key, title in MEASURES.items():
        value = (scores or {}).get(key)
        if isinstance(value, int | float) and math.isfinite(value):
            found.append(
                EvalResult(
                    task_type="text-to-image",
                    dataset_type="prompts",
                    dataset_name=f"{counted(scores['n'], 'image')} of atomtune evaluate" if scores else "",
                    metric_type=key,
                    metric_name=title,
                    metric_value=round(float(value), 4),
                )
            )
    return found


def _body(
    info: AtomsInfo, gallery: bool, scores: Mapping[str, Any] | None, atoms: str, lora: str | None, error: float | None
) -> str:
    method = f"{info.method}, preset {info.preset}" if info.preset else info.method
    parts = [f"# {' and '.join(info.names)}"]
    parts += ["<Gallery />"] if gallery else []
    parts += [
        f"A concept for {info.base}, learned by [atomtune](https://github.com/atomtune/atomtune) "
        f"({method}; {counted(info.parameters, 'parameter')}, {counted(info.steps, 'step')}).",
        "In prompts it is called " + ", ".join(f"**{words}**" for words in info.triggers) + ".",
        "## Use it",
        f"`{atoms}` holds what was learned. In Python, or on the command line:",
        "```python\nimport atomtune\n\n"
        'pipe = atomtune.load_pipeline(BASE)\natomtune.load(pipe, "ORG/NAME")\n```'.replace("BASE", repr(info.base)),
        f'```console\natomtune sample --atoms ORG/NAME --prompt "a photo of a {info.triggers[0]}"\n```',
    ]
    if lora is not None:
        lost = "" if error is None else f" It is an approximation, which lacks {error:.0%} of the change."
        parts += [f"`{lora}` is the same as a LoRA, for ComfyUI, A1111 and diffusers.{lost}"]
    if results := _results(scores):
        rows = "\n".join(f"| {one.metric_name} | {one.metric_value:g} |" for one in results)
        parts += ["## Evaluation", f"| measure | value |\n|---|--:|\n{rows}"]
    return "\n\n".join(parts) + "\n"
