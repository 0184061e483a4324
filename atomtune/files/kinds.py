"""Files of other kinds, recognised by how they begin, so that a reader of atoms files can say what they are."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..errors import AtomtuneError
from .run_result import result_in

_SHOWS = "atoms files are safetensors that atomtune train writes, as runs/NAME/NAME.safetensors"

_IMAGE = "images of atomtune sample hold their prompt and settings as PNG text, as A1111's do"
_PICKLE = f"{_SHOWS}; a pickle can run code when it is read"
_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "a PNG image", _IMAGE),
    (b"\xff\xd8\xff", "a JPEG image", _SHOWS),
    (b"GIF8", "a GIF image", _SHOWS),
    (b"RIFF", "a WebP image or another RIFF file", _SHOWS),
    (b"PK\x03\x04", "a zip archive, as PyTorch's pickles are", _PICKLE),
    (b"\x80", "a pickle", _PICKLE),
    (b"GGUF", "a GGUF model", _SHOWS),
    (b"%PDF", "a PDF", _SHOWS),
    (b"{", "text, perhaps JSON", _SHOWS),
)
"""How files of other kinds begin, what they are, and a hint."""

_MAX_HEADER = 32_000_000  # bytes that are parsed; that of a checkpoint of SDXL has less than one

_TENSORS = (
    (("lora_unet_", "lora_te"), "a LoRA file", "--atoms takes atoms files; A1111, ComfyUI and diffusers load this one"),
    (("unet.", "text_encoder."), "an adapter file of another program", "--atoms takes atoms files"),
    (("model.diffusion_model.",), "a Stable Diffusion checkpoint", "--model takes it"),
    (
        ("conv_in.", "down_blocks.", "text_model.", "encoder."),
        "a part of a diffusers model",
        "--model takes its folder",
    ),
)
"""How names of tensors in safetensors files of other programs begin, what they are, and a hint."""


def refuse_other_kinds(path: Path) -> None:
    """Raise AtomtuneError that says what a file is, where it is none of atomtune's and that can be told."""
    if path.is_dir():
        inside = result_in(path)
        if inside.is_file():
            raise AtomtuneError(f"{path} is the folder of a run", f"atomtune inspect {inside}")
        is_model = (path / "model_index.json").is_file()
        raise AtomtuneError(f"{path} is {'a diffusers model' if is_model else 'a folder'}, not a file", _SHOWS)
    if not path.is_file():
        return
    try:
        with path.open("rb") as stream:
            start = stream.read(16)
    except OSError as problem:
        raise AtomtuneError(f"cannot read {path}: {problem.strerror or problem}", "check its permissions") from None
    if not start:
        raise AtomtuneError(f"{path} is empty, or was truncated", "fetch or train it again")
    for begin, what, hint in _STARTS:
        if start.startswith(begin) and start[8:9] != b"{":  # after the length of its header comes that of safetensors
            raise AtomtuneError(f"{path} is {what}, not an atoms file", hint)
    if start[8:9] == b"{":
        _refuse_foreign_tensors(path)


def _refuse_foreign_tensors(path: Path) -> None:
    with path.open("rb") as stream:
        if int.from_bytes(stream.read(8), "little") > _MAX_HEADER:
            return
    try:
        with safe_open(path, "pt") as stream:
            metadata, names = stream.metadata() or {}, list(stream.keys())
    except (OSError, ValueError, SafetensorError):
        return  # damaged, which the reader says
    if metadata.get("format", "").startswith("atomtune."):
        return
    for begins, what, hint in _TENSORS:
        if any(name.startswith(begins) for name in names):
            raise AtomtuneError(f"{path} is {what} and was not written by atomtune", hint)
