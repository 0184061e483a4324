"""The files of a pipeline: those of a folder, or of a repository on the hub, from the cache where they are complete.

Of a repository only the files that are used are downloaded, after its index was checked.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import AtomtuneError
from .hub_errors import NO_DOWNLOAD, unreachable
from .pipeline_index import CONFIGS, INDEX, TOKENIZER_FILES, Missing, PipelineIndex, read_index, refuse_code
from .weight_files import weight_files

_WEIGHTLESS = ("scheduler", "tokenizer", "tokenizer_2")
_SECONDS = 10  # for the hub's answer; asked once


@dataclass(frozen=True)
class PipelineFiles:
    """Checked files of a pipeline.

    Attributes:
        weights: the files of each component's weights, relative to `folder`.
    """

    name: str
    folder: Path
    index: PipelineIndex
    weights: dict[str, list[str]]


def pipeline_files(
    name: str, location: str, parts: Collection[str] | None = None, weights: bool = True
) -> PipelineFiles:
    """Check a pipeline and find its files.

    Args:
        name: of the model, for messages.
        location: its folder, or its id on the hub.
        parts: the components wanted; all that are loaded by default.
        weights: False for the configurations alone.

    Raises AtomtuneError where the pipeline is not allowed (see `pipeline_index`), lacks a file, holds pickles only, or
    is neither in the cache nor to be had from the hub.
    """
    folder = Path(location)
    if folder.is_dir():
        return _in_folder(name, folder, parts, weights)
    cached = _cached(location)
    if cached is not None:
        try:
            return _in_folder(name, cached, parts, weights)
        except Missing:
            pass  # only some of its files were ever needed
    return _download(name, location, parts, weights)


def _in_folder(name: str, folder: Path, parts: Collection[str] | None, weights: bool) -> PipelineFiles:
    index = read_index(name, folder / INDEX)
    chosen = [part for part in index.components if parts is None or part in parts]
    files = [f"{part}/{path.name}" for part in index.components for path in _listed(folder / part)]
    refuse_code(name, files, tuple(index.components))
    for part in chosen:
        file = f"{part}/{CONFIGS.get(part, 'config.json')}"
        if file not in files:
            raise Missing(name, file)
    return PipelineFiles(name, folder, index, _weights(name, files, chosen) if weights else {})


def _weights(name: str, files: Iterable[str], parts: Iterable[str]) -> dict[str, list[str]]:
    files = list(files)
    return {part: weight_files(name, files, part) for part in parts if part not in _WEIGHTLESS}


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _cached(repository: str) -> Path | None:
    """The newest snapshot in the hub's cache, which may lack files; the hub is not asked."""
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(repository, INDEX)
    return Path(index).parent if isinstance(index, str) else None


def _download(name: str, repository: str, parts: Collection[str] | None, weights: bool) -> PipelineFiles:
    from huggingface_hub import snapshot_download

    try:
        files = files_on_hub(repository)
        if INDEX not in files:
            raise AtomtuneError(f"{name} is not a diffusers pipeline: it has no {INDEX}", NO_DOWNLOAD)
        configs = [INDEX, *(file for file in files if file.count("/") == 1 and file.endswith("config.json"))]
        folder = Path(snapshot_download(repository, allow_patterns=configs))
        index = read_index(name, folder / INDEX)
        refuse_code(name, files, tuple(index.components))
        chosen = [part for part in index.components if parts is None or part in parts]
        found = _weights(name, files, chosen) if weights else {}
        wanted = [file for group in found.values() for file in group]
        wanted += [f"{part}/{file}" for part in chosen if part.startswith("tokenizer") for file in TOKENIZER_FILES]
        if weights:
            snapshot_download(repository, allow_patterns=wanted)
    except AtomtuneError:
        raise
    except Exception as problem:  # of the hub's client, which are of many kinds
        raise unreachable(name, problem) from problem
    return _in_folder(name, folder, parts, weights)


def files_on_hub(repository: str, revision: str | None = None) -> list[str]:
    """The names of a repository's files. Asked once: fails at once, where downloads try for half a minute.

    Raises what the hub's client raises.
    """
    from huggingface_hub import HfApi

    listed = HfApi().model_info(repository, revision=revision, timeout=_SECONDS).siblings or []
    return [sibling.rfilename for sibling in listed]
