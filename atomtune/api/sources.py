"""Where the file of an adapter is: a path, the folder of a run, or a repository of the Hugging Face hub."""

import os
import re
from pathlib import Path

from ..errors import AtomtuneError, UsageError, excerpt
from ..files.run_result import FORMER_NAME, result_in, result_name
from ..models.hub_errors import unreachable
from ..models.hub_files import files_on_hub

_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[^:]+))?(?::(?P<filename>.+))?")
_HINT = "a file, the folder of a run, or a hub id such as org/mug, org/mug@revision or org/mug:file.safetensors"


def find_file(source: str | os.PathLike[str], filename: str | None = None, revision: str | None = None) -> Path:
    """The path of the file that a source means; downloaded to the hub's cache where it is a hub id.

    Args:
        source: a .safetensors file, the folder of a run, or a hub id: "org/mug", "org/mug@revision",
            "org/mug@revision:file.safetensors".
        filename: the file in that folder or repository; by default the result of the run, in a repository
            org/mug mug.safetensors, else the only one there.
        revision: branch, tag or commit of a hub id.

    Raises:
        UsageError: `filename` or `revision` where they mean nothing, or said twice.
        AtomtuneError: no such file, several to choose from, or the hub cannot be reached.
    """
    path = Path(source).expanduser()
    if path.is_file():
        if filename is not None or revision is not None:
            raise UsageError(f"{path} is a file: filename and revision are for folders and hub ids", _HINT)
        return path
    if path.is_dir():
        if revision is not None:
            raise UsageError(f"{path} is a folder: revision is for hub ids", _HINT)
        names = [found.name for found in path.glob("*.safetensors")]
        return path / (filename or _only(names, result_in(path).name, str(path)))
    match = _HUB_ID.fullmatch(str(source))
    if match is None or not is_hub_id(source):
        raise AtomtuneError(f"there is no file or folder {excerpt(source)}", _HINT)
    for name, said in (("revision", revision), ("filename", filename)):
        if said is not None and match[name] is not None and said != match[name]:
            raise UsageError(
                f"{excerpt(source)} names the {name} {match[name]}, and {said} was asked for", "say it once"
            )
    return _from_hub(match["repo"], filename or match["filename"], revision or match["revision"])


def is_hub_id(source: str | os.PathLike[str]) -> bool:
    """Whether a source means a repository on the hub: it looks like one, and nothing here is called so."""
    path = Path(source).expanduser()
    if path.exists() or _HUB_ID.fullmatch(str(source)) is None:
        return False
    # a folder of this name says that a path was meant, and so does a file's ending
    ends_as_file = str(source).endswith(".safetensors") and ":" not in str(source)
    return not ends_as_file and not (path.parent.is_dir() and path.parent != Path())


def _only(names: list[str], usual: str, place: str) -> str:
    """The file to take of those in a place: the one with the usual name, else with the former, else the only one."""
    for name in (usual, FORMER_NAME):
        if name in names:
            return name
    if len(names) != 1:
        found = f"{len(names)}: {', '.join(sorted(names)[:5])}" if names else "none"
        raise AtomtuneError(
            f"{place} holds no {usual}, and of other .safetensors files {excerpt(found)}",
            "filename= says which one to take" if names else _HINT,
        )
    return names[0]


def _from_hub(repo: str, filename: str | None, revision: str | None) -> Path:
    from huggingface_hub import constants, hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RevisionNotFoundError

    name = f"{repo}@{revision}" if revision else repo
    try:
        if constants.HF_HUB_OFFLINE:
            cached = Path(snapshot_download(repo, revision=revision, local_files_only=True))
            listed = [path.name for path in cached.glob("*.safetensors")]
        else:
            listed = files_on_hub(repo, revision)
        if filename is None:
            files = [path for path in listed if path.endswith(".safetensors") and "/" not in path]
            filename = _only(files, result_name(repo.rpartition("/")[2]), f"{name} on the hub")
        return Path(hf_hub_download(repo, filename, revision=revision))
    except AtomtuneError:
        raise
    except RevisionNotFoundError as problem:
        raise AtomtuneError(f"{repo} has no revision {excerpt(revision)}", "a branch, a tag or a commit") from problem
    except EntryNotFoundError as problem:
        if isinstance(problem, LocalEntryNotFoundError):
            raise unreachable(name, problem, _HINT) from problem
        raise AtomtuneError(
            f"{name} has no file {excerpt(filename)}", "look at its list of files on the hub"
        ) from problem
    except Exception as problem:  # the hub's client raises what its HTTP library raises
        raise unreachable(name, problem, _HINT) from problem
