"""Another autoencoder than the base model's own, as fine-tuned ones are published: a folder, or a hub id."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import AtomtuneError, excerpt
from .hub_errors import as_load_error, unreachable
from .hub_files import files_on_hub
from .load_component import load_component
from .weight_files import weight_files

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_CONFIG = "config.json"
_HINT = "--vae takes a hub id, as stabilityai/sd-vae-ft-mse, or a folder that holds an autoencoder or a pipeline"


def with_other_vae(pipeline: Any, name: str) -> None:
    """Put another autoencoder into a pipeline, on the CPU in float32.

    Args:
        name: a folder of an autoencoder (config.json and its weights, safetensors) or of a pipeline, whose own is taken
            then; or a repository on the hub that holds either.

    Raises AtomtuneError where it is not there, is damaged, or has latents of another kind than the pipeline's own.
    """
    with as_load_error(name):
        folder = _folder(name)
        inside = folder / "vae" if (folder / "vae" / _CONFIG).is_file() else folder
        if not (inside / _CONFIG).is_file():
            raise AtomtuneError(f"{excerpt(name)} holds no autoencoder: it has no {_CONFIG}", _HINT)
        with TemporaryDirectory(prefix="atomtune-") as temporary:
            # as the part of a pipeline, which is what is checked and loaded
            (Path(temporary) / "vae").symlink_to(inside.resolve(), target_is_directory=True)
            files = weight_files(name, [f"vae/{path.name}" for path in inside.iterdir()], "vae")
            vae = load_component(name, Path(temporary), "vae", "AutoencoderKL", files)
    for what in ("latent_channels", "block_out_channels"):
        own, other = (getattr(part.config, what) for part in (pipeline.vae, vae))
        if what == "block_out_channels":  # of which there are as many as sides are halved, and one
            what, own, other = "levels", len(own), len(other)
        if own != other:
            raise AtomtuneError(
                f"the autoencoder {excerpt(name)} has {other} {what.replace('_', ' ')}, the model's own {own}",
                "take one that was made for this model",
            )
    pipeline.register_modules(vae=vae)


def _folder(name: str) -> Path:
    """The folder of an autoencoder; of one on the hub, that of its files in the cache."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if not _HUB_ID.fullmatch(name) or path.parent.is_dir():
        raise AtomtuneError(f"there is no autoencoder {excerpt(name)}", _HINT)
    from huggingface_hub import snapshot_download, try_to_load_from_cache

    for config in (f"vae/{_CONFIG}", _CONFIG):
        found = try_to_load_from_cache(name, config)
        if isinstance(found, str) and list(Path(found).parent.glob("*.safetensors")):
            return Path(found).parent
    try:
        listed = files_on_hub(name)
        part = "vae/" if f"vae/{_CONFIG}" in listed else ""
        inside = [f"vae/{file.removeprefix(part)}" for file in listed if file.startswith(part)]
        wanted = [part + file.removeprefix("vae/") for file in weight_files(name, inside, "vae")]
        return Path(snapshot_download(name, allow_patterns=[part + _CONFIG, *wanted]))
    except AtomtuneError:
        raise
    except Exception as problem:  # of the hub's client, which are of many kinds; offline it has one too
        raise unreachable(name, problem, _HINT) from problem
