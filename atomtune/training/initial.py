"""Beginning a run with what an atoms file holds (`--init`), for another concept, more steps, or other images."""

from collections.abc import Mapping
from typing import Any

from ..errors import AtomtuneError, UsageError, excerpt
from ..files.run_result import result_in
from ..methods import METHODS
from ..methods.textual_inversion import TOKEN_CHANGE
from ..models.architecture import architecture_of
from ..models.components import PARTS
from ..runtime.progress import Events
from ..sampling.changes import LoadedAtoms, read_atoms_file
from .options import TrainOptions
from .tunings import Tunings

KEY = "init"
"""Where run.json keeps the checksum of the file's tensors."""


def read_initial(options: TrainOptions, record: Mapping[str, Any]) -> LoadedAtoms:
    """The file that a run begins with.

    Args:
        record: run.json of a run that was begun and has no checkpoint; empty for a new run.

    Raises AtomtuneError as `read_atoms_file`, UsageError where it was trained by another method or with other options
    of the method, for another token, or is not the file that the run was begun with.
    """
    assert options.init is not None
    path = result_in(options.init) if options.init.is_dir() else options.init
    found = read_atoms_file(path)
    if KEY in record and record[KEY] != found.sha256:
        raise UsageError(
            f"the run was begun with another {path.name}, which has changed since",
            "put it back, or start again with --overwrite",
        )
    inspect = f"atomtune inspect {path} shows what it was trained with"
    if found.info.method != options.method:
        raise UsageError(
            f"{path} was trained by the method {found.info.method}, the run trains {options.method}",
            f"--method {found.info.method}; {inspect}",
        )
    before, now = METHODS[options.method].spec.from_dict(found.info.spec).to_dict(), options.spec.to_dict()
    if others := [name for name in now if before[name] != now[name]]:
        listed = ", ".join(f"{name} {excerpt(before[name], 40)} (here {excerpt(now[name], 40)})" for name in others)
        raise UsageError(f"{path} was trained with {listed}", f"give the same ones; {inspect}")
    in_encoders = {key for key in found.tensors if key.partition(".")[0] in PARTS}
    of_tokens = {key for key in in_encoders if key.endswith(f".{TOKEN_CHANGE}")}
    for keys, is_trained, option in (
        (of_tokens, options.trains_token, "--train-token"),
        (in_encoders - of_tokens, options.train_text_encoder, "--train-text-encoder"),
    ):
        if keys and not is_trained:
            raise UsageError(f"{path} holds {excerpt(min(keys))}, which the run does not train", f"{option} trains it")
    theirs, ours = found.info.tokens, " ".join(concept.token for concept in options.concepts)
    if of_tokens and theirs != ours:
        raise UsageError(
            f"{path} holds the embedding of {excerpt(repr(theirs))}, the run trains {ours!r}",
            f"--token {excerpt(repr(theirs))}",
        )
    return found


def check_initial(initial: LoadedAtoms, pipeline: Any, base: str, events: Events) -> None:
    """Warn of another base model of the same architecture. Raises AtomtuneError for another architecture.

    Args:
        base: fingerprint of the UNet.
    """
    architecture = architecture_of(pipeline.unet)
    if initial.info.architecture != architecture:
        raise AtomtuneError(
            f"{initial.path.name} is for the architecture {excerpt(initial.info.architecture)}, the base model is "
            f"{architecture}",
            f"use {excerpt(initial.info.base)}, or a base model of its architecture",
        )
    if initial.info.base_fingerprint != base:
        events.warn(f"{initial.path.name} was trained on {excerpt(initial.info.base)}; this base has other weights")


def begin_with(initial: LoadedAtoms, tunings: Tunings) -> None:
    """Give fresh tunings what the file holds. Raises AtomtuneError where the file, which is named, does not fit."""
    try:
        tunings.load(initial.tensors)
    except AtomtuneError as problem:
        raise type(problem)(f"the run cannot begin with {initial.path}: {problem.message}", problem.hint) from None
