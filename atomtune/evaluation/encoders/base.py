"""The contract of the encoders that scores rest on, and which ones a base model is scored with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...errors import AtomtuneError, UsageError, excerpt

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

    from .inception import Inception

NAMES = ("dinov2", "clip", "dino", "inception")
"""What `--encoder-path` knows encoders by."""


class ImageEncoder(Protocol):
    """Makes embeddings of images.

    Attributes:
        name: for the report, with where its weights came from.
        preprocessing: what is done to an image first, in words, for the report.
        width: numbers of an embedding.
    """

    name: str
    preprocessing: str
    width: int

    def encode_images(self, images: "Sequence[Image.Image]", batch: int = 32) -> "Tensor":
        """Embeddings of images of any size and mode: (n, width), float32, on the CPU, rows of norm one.

        An image's row is the same to 1e-5 whatever `batch` is and whatever images are beside it.
        """
        ...


class TextImageEncoder(ImageEncoder, Protocol):
    """Makes embeddings of images and of texts in one space."""

    def encode_texts(self, texts: Sequence[str]) -> "Tensor":
        """Embeddings of texts: (n, width), float32, on the CPU, rows of norm one."""
        ...


@dataclass(frozen=True)
class Encoders:
    """What a base model's images are scored with.

    Attributes:
        fidelity: for fidelity; embeds the thing shown.
        alignment: for alignment and CLIP-I; the same object as `fidelity` where one model does both.
        diversity: for diversity, drift, KID and FID; embeds the whole image. With Stable Diffusion, as fidelity.
        dino: for DreamBooth's DINO; None where that is not scored.
        inception: for FID; None where that is not scored.
    """

    fidelity: ImageEncoder
    alignment: TextImageEncoder
    diversity: ImageEncoder
    dino: ImageEncoder | None = None
    inception: "Inception | None" = None


_TAKEN = f"{', '.join(f'{name}=DIR' for name in NAMES[:-1])} or {NAMES[-1]}=DIR"


def public_name(name: str) -> str:
    """The name of an encoder for reports, which say nothing of the machine: of an absolute path its last part."""
    kind, bracket, place = name.removesuffix(")").partition(" (")
    return f"{kind} ({Path(place).name})" if bracket and Path(place).is_absolute() else name


def parse_encoder_paths(values: Sequence[str]) -> dict[str, str]:
    """`--encoder-path` as given, each "NAME=DIR", as folders by name.

    UsageError for a name that is not in NAMES or comes twice, and for a folder that is not there.
    """
    hint = "as in --encoder-path dinov2=DIR --encoder-path clip=DIR --encoder-path dino=DIR"
    found: dict[str, str] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not equals or name not in NAMES:
            raise UsageError(f"--encoder-path takes {_TAKEN}, not {excerpt(value)!r}", hint)
        if name in found:
            raise UsageError(f"--encoder-path {name}=DIR is given twice", hint)
        if not (folder := _folder(path)):
            raise UsageError(f"--encoder-path {name}: there is no folder {excerpt(path)!r}", hint)
        found[name] = folder
    return found


def encoders_for(
    model_name: str, *, paths: Mapping[str, str] | None = None, device: "torch.device | str | None" = None
) -> Encoders:
    """Load the encoders that images of a base model are scored with, on one device.

    DINOv2-base for fidelity and diversity, CLIP ViT-L/14 for alignment, and DINO ViT-S/16. For `pocket` its own grader,
    trained on its small images, and for fidelity the grader's identity encoder; no DINO. The identity encoder was
    trained to ignore the scene and finds images of one thing alike everywhere, so diversity is the grader's.
    Inception for FID where torch-fidelity is installed and the base model is not `pocket`.
    A name in `paths` is loaded from there in any case. Where `paths` names some but not "dino" or "inception", these
    are left out rather than downloaded: they are one more figure each, nothing rests on them.

    Args:
        model_name: as in `resolve(model).name`.
        paths: folders by name, see NAMES.
        device: the first of CUDA, MPS and CPU by default.

    Raises:
        AtomtuneError: where weights are not there, are not safetensors, are damaged, or the hub cannot be reached.
    """
    from ...models.base_model import POCKET, pick_device
    from .clip import load_clip
    from .dino import load_dino, load_dinov2
    from .grader import load_identity
    from .inception import Inception, is_installed

    paths = paths or {}
    if unknown := set(paths) - set(NAMES):
        raise ValueError(f"there is no encoder called {sorted(unknown)[0]!r}")
    place = pick_device(None if device is None else str(device))
    own = load_identity(device=place) if model_name == POCKET else None
    fidelity: ImageEncoder = own if own and "dinov2" not in paths else load_dinov2(paths.get("dinov2"), place)
    alignment: TextImageEncoder = own.grader if own and "clip" not in paths else load_clip(paths.get("clip"), place)
    diversity: ImageEncoder = own.grader if own and "dinov2" not in paths else fidelity
    more = not paths and own is None
    dino = load_dino(paths.get("dino"), place) if more or "dino" in paths else None
    inception = None
    if "inception" in paths and not is_installed():
        raise AtomtuneError("FID needs torch-fidelity, which is not installed", "pip install 'atomtune[fid]'")
    if "inception" in paths or (more and is_installed()):
        inception = Inception(Path(paths["inception"]) if "inception" in paths else None, place)
    return Encoders(fidelity, alignment, diversity, dino, inception)


def _folder(path: str) -> str | None:
    try:
        folder = Path(path).expanduser()
        return str(folder) if path and folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long for a path, the home of nobody, or a NUL in it
        return None
