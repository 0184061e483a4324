"""A concept as others get it: model card, images, atoms file and LoRA, in a folder or in a repository of the hub.

Images are written anew from their pixels: what their files carry beside these stays here.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from ..errors import AtomtuneError, UsageError, excerpt
from ..evaluation.folder import prompt_of
from ..export.export import export
from ..export.licences import licence_of
from ..export.options import ExportOptions
from ..files.atomic import write_atomically, write_text
from ..files.atoms_file import load_atoms
from ..files.output_folder import check_replaceable, claim
from ..files.png import save_png
from ..files.untrusted_json import read_json
from ..runtime.progress import Events
from .card import card_text
from .options import PublishOptions

CARD, THUMBNAIL = "README.md", "thumbnail.png"
SHOWN = 4
"""Images of the newest samples."""
_SIDE = 512  # pixels of the thumbnail, both sides


@dataclass(frozen=True)
class PublishResult:
    """What was published.

    Attributes:
        place: the folder, or the repository's address.
        revision: the commit on the hub; empty for a folder.
        files: name and bytes of each.
    """

    place: str
    revision: str
    files: dict[str, int]
    licence: str
    trigger: str


def publish(
    run: Path,
    atoms: Path,
    output: Path,
    options: PublishOptions,
    *,
    overwrite: bool = False,
    confirm: Callable[[str, dict[str, int]], bool] | None = None,
    events: Events | None = None,
) -> PublishResult | None:
    """Publish the concept of a run; None where `confirm` says no.

    Args:
        run: its folder, for samples and scores. atoms: the file to publish.
        output: the folder to write; not used for the hub.
        overwrite: replace a folder's files that this function wrote, or the repository's.
        confirm: asked before anything leaves this machine, with the place and the files.

    Raises:
        UsageError: what is there would be replaced, or no licence is known.
        AtomtuneError: a file cannot be read or written, or the hub refuses.
    """
    events = events or Events()
    _, info, _ = load_atoms(atoms)
    licence = options.licence or licence_of(info.base)
    if not licence:
        raise UsageError(
            f"the licence of {excerpt(info.base)} is not known here, and it holds for what is made of it",
            "--licence names it, as in --licence creativeml-openrail-m",
        )
    with tempfile.TemporaryDirectory(prefix="atomtune-") as temporary:
        made = Path(temporary)
        (made / "images").mkdir()
        names = _write(made, run, atoms, options, licence, events)
        sizes = {name: (made / name).stat().st_size for name in names}
        if options.to == "hub":
            assert options.repository is not None
            return _upload(made, options, sizes, licence, info.trigger, overwrite, confirm)
        if overwrite:
            check_replaceable(output, names)
        elif output.exists() and any(output.iterdir() if output.is_dir() else [output]):
            raise UsageError(f"{output} is there already", "--overwrite replaces what atomtune wrote there")
        claim(output, names)
        for name in names:
            _copy(made / name, output / name)
    return PublishResult(str(output), "", sizes, licence, info.trigger)


def _write(folder: Path, run: Path, atoms: Path, options: PublishOptions, licence: str, events: Events) -> list[str]:
    """Write all files into an empty folder; returns their names, the card first."""
    _, info, _ = load_atoms(atoms)
    stem = info.concept
    names = [f"{stem}.safetensors"]
    _copy(atoms, folder / names[0])
    shown = []
    for number, (image, prompt) in enumerate(_images(run, options, events), 1):
        name = f"images/{number}.png"
        save_png(folder / name, image)
        if number == 1:
            save_png(folder / THUMBNAIL, ImageOps.fit(image, (_SIDE, _SIDE)))
            names.append(THUMBNAIL)
        shown.append((name, prompt))
        names.append(name)
    lora, error = None, None
    if options.lora:
        # not beside the atoms file, which is the only one that a reader of the repository finds there
        lora = f"lora/{stem}-lora.safetensors"
        plain = ExportOptions(rank=32, weighted=False, preview=False, model=options.model, device=options.device)
        made = export([(atoms, 1.0)], folder / lora, plain, events=events)
        for path in made.beside:
            path.unlink()  # the card says it
        error = made.relative_error
        names.append(lora)
    text = card_text(info, licence, shown, _scores(run), names[0], lora, error)
    if options.repository is not None:
        text = text.replace("ORG/NAME", options.repository)
    write_text(folder / CARD, text)
    return [CARD, *names]


def _images(run: Path, options: PublishOptions, events: Events) -> list[tuple[Image.Image, str]]:
    files = [Path(image) for image in options.images]
    if not files:
        samples = [file for file in (run / "samples").glob("*.png") if _shows_concept(file)]
        newest = sorted(samples, key=lambda file: (-file.stat().st_mtime_ns, file.name))
        files = [file for file in newest if prompt_of(file)][:SHOWN]
        if not files:
            events.warn(f"there are no samples in {run}, so no images are shown: atomtune sample makes some")
    found = []
    for file in files:
        prompt = prompt_of(file) if file.is_file() else None
        if prompt is None:
            raise AtomtuneError(
                f"{file} {'has no prompt' if file.is_file() else 'is not there'}",
                "images of sample have theirs; for others it stands in a text file beside them (01.txt)",
            )
        with Image.open(file) as opened:
            found.append((opened.convert("RGB"), prompt))
    return found


def _shows_concept(file: Path) -> bool:
    return not file.name.startswith(("grid-", ".")) and not file.stem.endswith("-base") and file.is_file()


def _scores(run: Path) -> dict[str, Any] | None:
    file = run / "evaluation" / "scores.json"
    if not file.is_file():
        return None
    try:
        scores = read_json(file)
        return scores if isinstance(scores, dict) and isinstance(scores.get("n"), int) else None
    except (OSError, ValueError) as problem:
        raise AtomtuneError(f"{file} is damaged ({excerpt(problem)})", "atomtune evaluate writes it again") from None


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, lambda temporary: temporary.write_bytes(source.read_bytes()))


def _upload(
    folder: Path,
    options: PublishOptions,
    sizes: dict[str, int],
    licence: str,
    trigger: str,
    overwrite: bool,
    confirm: Callable[[str, dict[str, int]], bool] | None,
) -> PublishResult | None:
    from huggingface_hub import HfApi, ModelCard, constants
    from huggingface_hub.errors import HfHubHTTPError

    repository = options.repository or ""
    place = f"{constants.ENDPOINT}/{repository}"
    if confirm is not None and not confirm(place, sizes):
        return None
    hub = HfApi()
    try:
        ModelCard((folder / CARD).read_text(encoding="utf-8")).validate()
        hub.create_repo(repository, private=options.private or None, exist_ok=True)
        there = set(hub.list_repo_files(repository)) & set(sizes)
        if there and not overwrite:
            raise UsageError(
                f"{repository} holds {', '.join(sorted(there))} already", "--overwrite replaces them, as a new commit"
            )
        commit = hub.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=f"{trigger}, by atomtune", allow_patterns=list(sizes)
        )
    except AtomtuneError:
        raise
    except ValueError as problem:
        raise AtomtuneError(
            f"the hub finds the model card wrong: {excerpt(problem, 300)}", "--licence names another"
        ) from None
    except Exception as problem:  # the hub's client raises what its HTTP library raises
        hint = "try again when the hub can be reached; --to folder writes what would be published"
        if isinstance(problem, HfHubHTTPError):
            hint = "hf auth login, with a token that may write there"
        raise AtomtuneError(f"cannot publish to {place}: {excerpt(problem, 300)}", hint) from problem
    return PublishResult(place, commit.oid, sizes, licence, trigger)
