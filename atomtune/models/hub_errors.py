"""Exceptions of diffusers and the hub while a model is loaded, as one line and a hint."""

from pathlib import Path
from types import TracebackType

from ..errors import AtomtuneError

NO_DOWNLOAD = "--model pocket needs no download; --model also takes a diffusers folder or a .safetensors checkpoint"
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
"""Endings of weights that are pickles, which can run code when they are read."""


class as_load_error:
    """A context that turns exceptions about the model of this name into AtomtuneError."""

    def __init__(self, name: str, is_local: bool) -> None:
        self.name = name
        self.is_local = is_local

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, _kind: type[BaseException] | None, problem: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if problem is None or isinstance(problem, AtomtuneError) or not isinstance(problem, Exception):
            return
        raise self._as_error(problem) from problem

    def _as_error(self, problem: Exception) -> AtomtuneError:
        if self.is_local:
            return AtomtuneError(f"cannot load the model in {self.name}: {_first_line(problem)}", NO_DOWNLOAD)
        if "safetensors" in str(problem) and not _is_refused(problem):
            return only_pickles(self.name, _first_line(problem))
        return unreachable(self.name, problem)


def unreachable(name: str, problem: BaseException, hint: str = NO_DOWNLOAD) -> AtomtuneError:
    """The error for a repository that is not in the cache and could not be downloaded; `problem` is what was raised."""
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError

    reasons = _causes(problem)
    if any(isinstance(reason, GatedRepoError) for reason in reasons):
        return AtomtuneError(f"{name} is gated on the hub", "accept its licence there, then run: hf auth login")
    if _is_refused(problem):
        return AtomtuneError(f"the hub has no model {name} that you may read", hint)
    tried = f"not in the cache {constants.HF_HUB_CACHE}, and the hub {constants.ENDPOINT} "
    if constants.HF_HUB_OFFLINE:
        tried += "was not asked (HF_HUB_OFFLINE is set)"
    else:
        tried += f"could not be reached ({_first_line(reasons[-1])})"
    return AtomtuneError(f"cannot load {name}: {tried}", hint)


def _is_refused(problem: BaseException) -> bool:
    from huggingface_hub.errors import RepositoryNotFoundError  # GatedRepoError is one too

    return any(isinstance(reason, RepositoryNotFoundError) for reason in _causes(problem))


def refuse_pickles(name: str, folder: Path) -> None:
    """Raise AtomtuneError where a part of a diffusers folder holds its weights as pickles only."""
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        pickles = sorted(path.name for path in part.iterdir() if path.suffix in PICKLES)
        # parts that are not loaded do not matter
        unused = part.name in ("safety_checker", "image_encoder", "feature_extractor")
        if pickles and not unused and not any(part.glob("*.safetensors")):
            raise only_pickles(name, f"{part.name}/{pickles[0]}")


def only_pickles(name: str, which: str) -> AtomtuneError:
    """The refusal of a model that has no safetensors."""
    return AtomtuneError(
        f"{name} holds weights as pickles only ({which}), and reading a pickle can run code",
        "take a version with .safetensors files, or convert it to safetensors on a machine that holds nothing of value",
    )


def _causes(problem: BaseException) -> list[BaseException]:
    chain = [problem]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return chain


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0][:200]
