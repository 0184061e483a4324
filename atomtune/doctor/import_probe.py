"""A script for `doctor`: imports each package that atomtune needs and prints one JSON object a line about it.

It runs in a separate process because a broken package may crash the interpreter: the last line then names it.
"""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

# a name of each that atomtune uses: diffusers and transformers import lazily, so their top level proves little
USED = {
    "torch": "",
    "torchvision": "",
    "safetensors": "safe_open",
    "PIL": "Image",
    "huggingface_hub": "constants",
    "transformers": "CLIPTextModel",
    "accelerate": "Accelerator",
    "diffusers": "StableDiffusionPipeline",
    "open_clip": "",
}
OPTIONAL = frozenset({"torchvision", "open_clip"})  # atomtune itself imports neither to train and sample


def tell(**facts: Any) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def attempt(package: str, look: Callable[[], Any]) -> Any:
    """Call `look`; print before that it begins, and after that whether it worked."""
    tell(package=package, state="begun")
    try:
        value = look()
    except BaseException as problem:  # whatever a broken package raises is what we want to know
        chain = [problem]
        while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
            chain.append(cause)
        tell(package=package, state="failed", errors=[_line(item) for item in chain])
        return None
    tell(package=package, state="works")
    return value


def _line(problem: BaseException) -> str:
    text = (str(problem).strip().splitlines() or [""])[0]
    return f"{type(problem).__name__}: {text}"[:300]


def load(package: str, name: str) -> Any:
    """Import a package and the name in it that is used; returns the package."""
    module = importlib.import_module(package)
    if name:
        getattr(module, name, None) or importlib.import_module(f"{package}.{name}")
    return module


def torch_facts(torch: Any) -> dict[str, Any]:
    """Threads, the CUDA version torch was built for, and the devices it sees."""
    cuda = torch.cuda.is_available()
    return {
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "hip": getattr(torch.version, "hip", None),
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "mps": bool(torch.backends.mps.is_available()),
        "gpus": list(_gpus(torch)) if cuda else [],
    }


def _gpus(torch: Any) -> Iterator[dict[str, Any]]:
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        facts = {
            "name": properties.name,
            "bytes": properties.total_memory,
            "capability": f"{properties.major}.{properties.minor}",
            "error": None,
        }
        try:
            free, _ = torch.cuda.mem_get_info(index)
            ones = torch.ones(8, 8, device=f"cuda:{index}")
            facts["free_bytes"] = free
            if float((ones @ ones).sum()) != 512.0:
                facts["error"] = "a matrix product comes out wrong"
        except RuntimeError as problem:
            facts["error"] = _line(problem)
        yield facts


def main() -> None:
    """Probe every package in turn."""
    for package, name in USED.items():
        module = attempt(package, lambda package=package, name=name: load(package, name))  # type: ignore[misc]
        if package == "torch" and module is not None:
            facts = attempt("torch devices", lambda module=module: torch_facts(module))  # type: ignore[misc]
            if facts is not None:
                tell(torch=facts)
        if package == "huggingface_hub" and module is not None:
            constants = module.constants
            tell(hub={"cache": constants.HF_HUB_CACHE, "endpoint": constants.ENDPOINT})
    tell(done=True)


if __name__ == "__main__":
    main()
