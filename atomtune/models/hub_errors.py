"""Exceptions of diffusers, transformers and the hub while a model is loaded, as one line and a hint."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import AtomtuneError, excerpt

NO_DOWNLOAD = "--model pocket needs no download; --model also takes a diffusers folder or a .safetensors checkpoint"


@contextmanager
def as_load_error(name: str) -> Iterator[None]:
    """A context that turns any exception while the model of this name is loaded into an AtomtuneError."""
    try:
        yield
    except AtomtuneError:
        raise
    except Exception as problem:  # the libraries raise nearly anything for damaged files
        raise AtomtuneError(f"cannot load the model in {name}: {_first_line(problem)}", NO_DOWNLOAD) from problem


def unreachable(name: str, problem: BaseException, hint: str = NO_DOWNLOAD) -> AtomtuneError:
    """The error for a repository that is not in the cache and could not be downloaded; `problem` is what was raised."""
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    reasons = _causes(problem)
    if any(isinstance(reason, GatedRepoError) for reason in reasons):
        return AtomtuneError(f"{name} is gated on the hub", "accept its licence there, then run: hf auth login")
    if any(isinstance(reason, RepositoryNotFoundError) for reason in reasons):
        return AtomtuneError(f"the hub has no model {name} that you may read", hint)
    tried = f"not in the cache {constants.HF_HUB_CACHE}, and the hub {constants.ENDPOINT} "
    if constants.HF_HUB_OFFLINE:
        tried += "was not asked (HF_HUB_OFFLINE is set)"
    else:
        tried += f"could not be reached ({_first_line(reasons[-1])})"
    return AtomtuneError(f"cannot load {name}: {tried}", hint)


def _causes(problem: BaseException) -> list[BaseException]:
    chain = [problem]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return chain


def _first_line(problem: BaseException) -> str:
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return excerpt(lines[0] if lines else type(problem).__name__, 200)
