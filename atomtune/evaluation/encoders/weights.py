"""Where the files of an encoder are: in a folder of the user's, or from the hub; and what is said if they are not."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...errors import AtomtuneError, excerpt
from ...models.hub_errors import unreachable
from ...models.hub_files import files_on_hub
from ...models.weight_files import PICKLES, only_pickles

HINT = (
    "--encoder-path dinov2=DIR (or clip=DIR, dino=DIR) takes a folder that holds its files; "
    "--model pocket needs no download"
)


def obtain(files: Sequence[str], path: str | None, repository: str, revision: str | None = None) -> tuple[str, Path]:
    """What to call an encoder, and the folder that holds its files.

    Args:
        files: names of the files it needs; no others are downloaded.
        path: a folder of the user's; None for the hub's `repository`.
        revision: of the repository, the main one by default.

    Raises:
        AtomtuneError: where a file is missing, is there as a pickle only, or the hub cannot be reached.
    """
    if path is not None:
        where, folder = path, Path(path)
        if not folder.is_dir():
            raise AtomtuneError(f"there is no folder {excerpt(path)}", HINT)
    else:
        from huggingface_hub import constants, snapshot_download

        where = repository
        try:
            cached = constants.HF_HUB_OFFLINE or _cached(files, repository, revision)
            if not cached:
                files_on_hub(repository, revision)
            wanted = list(files)
            folder = Path(
                snapshot_download(repository, revision=revision, allow_patterns=wanted, local_files_only=cached)
            )
        except Exception as problem:  # the hub's library, the connection and the disk each raise their own
            raise unreachable(where, problem, HINT) from problem
    for file in files:
        if (folder / file).is_file():
            continue
        pickles = sorted(found.name for found in folder.iterdir() if found.suffix in PICKLES)
        if pickles and file.endswith(".safetensors"):
            raise only_pickles(where, pickles[0])
        raise AtomtuneError(f"{excerpt(where)} has no {file}", HINT)
    return where, folder


def _cached(files: Sequence[str], repository: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repository, file, revision=revision) for file in files)
    return all(isinstance(path, str) for path in found)


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Turn what libraries raise about an encoder's files into AtomtuneError."""
    try:
        yield
    except AtomtuneError:
        raise
    except Exception as problem:  # transformers, open_clip, safetensors and json each raise their own
        reason = excerpt(problem) or type(problem).__name__
        raise AtomtuneError(f"cannot load the encoder {excerpt(name)}: {reason}", HINT) from problem
