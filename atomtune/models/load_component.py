"""Loading of one component of a pipeline: from chosen files alone, checked to be complete and finite."""

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from ..core.precision import all_finite
from ..errors import AtomtuneError, excerpt
from .pipeline_index import CONFIGS, TOKENIZER_FILES, Missing, read_config
from .weight_files import STEMS

_AGAIN = "the model is damaged; fetch it again"
_PREFIX, _PROJECTION = "text_model.", "text_projection.weight"
_SHOWN = 3  # names of weights in a message

_TEXT_CONFIG = frozenset(
    {
        *("vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers"),
        *("num_attention_heads", "max_position_embeddings", "hidden_act", "layer_norm_eps", "attention_dropout"),
        *("initializer_range", "initializer_factor", "pad_token_id", "bos_token_id", "eos_token_id", "model_type"),
        *("architectures", "dtype", "torch_dtype", "transformers_version", "dropout"),
    }
)
"""Keys of a text encoder's configuration that are used; some others make transformers fetch kernels from the hub."""


def load_component(name: str, folder: Path, part: str, class_name: str, weights: Sequence[str] = ()) -> Any:
    """Load a component of the pipeline folder of the model `name` on the CPU.

    Args:
        class_name: as `PipelineIndex.components` has it.
        weights: the files of its weights, relative to the folder.

    Raises AtomtuneError where it is damaged: a file cannot be read, or a weight is missing, has another shape than the
    configuration says, or is not finite.
    """
    config = read_config(name, folder, part)
    with quiet(), _staged(name, folder, part, config, weights) as place, _errors_of(name, part, place):
        if part.startswith("tokenizer"):
            return _tokenizer(name, part, class_name, config, place)
        if not weights:
            return _class_of(part, class_name).from_pretrained(place, local_files_only=True)
        options = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
        model, found = _class_of(part, class_name).from_pretrained(place, ignore_mismatched_sizes=True, **options)
        if other := sorted(found["mismatched_keys"], key=str):
            key, *shapes = (other[0],) if isinstance(other[0], str) else other[0]
            sizes = f" ({tuple(shapes[0])} instead of {tuple(shapes[1])})" if len(shapes) == 2 else ""
            raise AtomtuneError(f"the {part} of {name} has {excerpt(key)} in another shape{sizes}", _AGAIN)
        check_complete(name, part, model, found["missing_keys"])
        check_finite(name, part, model)
        forget_path(model)
    return model


def text_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a text encoder's configuration that are used."""
    return {key: value for key, value in config.items() if key in _TEXT_CONFIG}


def check_complete(name: str, part: str, model: nn.Module, missing: Sequence[str] = ()) -> None:
    """Raise AtomtuneError where weights of a component are missing: those named, and those without values (meta)."""
    lost = list(missing) or [key for key, tensor in model.named_parameters() if tensor.is_meta]
    if lost:
        raise lacks_weights(name, part, lost)


def lacks_weights(name: str, part: str, lost: Sequence[str]) -> AtomtuneError:
    """The error for missing weights of a component, with the first of their names."""
    rest = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
    shown = ", ".join(excerpt(key) for key in sorted(lost)[:_SHOWN])
    return AtomtuneError(f"the {part} of {name} lacks weights: {shown}{rest}", _AGAIN)


def check_finite(name: str, part: str, model: nn.Module) -> None:
    """Raise AtomtuneError where a weight or buffer of a component is NaN or infinite."""
    for key, tensor in chain(model.named_parameters(), model.named_buffers()):
        if tensor.is_floating_point() and not all_finite(tensor):
            raise AtomtuneError(f"the {part} of {name} holds NaN or infinite values in {excerpt(key)}", _AGAIN)


def forget_path(model: Any) -> None:
    """Remove the path that a component was loaded from, which would be written into copies of it."""
    if hasattr(model, "register_to_config"):
        model.register_to_config(_name_or_path="")
    else:
        model.config._name_or_path = model.name_or_path = ""


@contextmanager
def quiet() -> Iterator[None]:
    """A context without the libraries' progress bars and warnings: atomtune has its own of both."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    modules: tuple[Any, ...] = (of_diffusers, of_transformers)
    before = [(module, module.is_progress_bar_enabled(), module.get_verbosity()) for module in modules]
    for module in modules:
        module.disable_progress_bar()
        module.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of diffusers, about configurations of its old versions
            yield
    finally:
        for module, had_bar, verbosity in before:
            module.set_verbosity(verbosity)
            if had_bar:
                module.enable_progress_bar()


def _class_of(part: str, class_name: str) -> Any:
    if part.startswith(("text_encoder", "tokenizer")):
        import transformers

        return getattr(transformers, class_name)
    import diffusers

    return getattr(diffusers, class_name)


def _tokenizer(name: str, part: str, class_name: str, config: Mapping[str, Any], place: Path) -> Any:
    length = config.get("model_max_length")
    if type(length) is not int or not 2 < length < 1_000_000:
        raise AtomtuneError(
            f"{part}/{CONFIGS[part]} of {name} has no model_max_length", "it is 77 for Stable Diffusion"
        )
    if not any((place / file).is_file() for file in ("vocab.json", "tokenizer.json")):
        raise Missing(name, f"{part}/vocab.json")
    tokenizer = _class_of(part, class_name).from_pretrained(place, local_files_only=True)
    tokenizer.name_or_path = ""
    return tokenizer


@contextmanager
def _staged(name: str, folder: Path, part: str, config: Mapping[str, Any], weights: Sequence[str]) -> Iterator[Path]:
    """A temporary folder with a component's configuration and links to its files, by the names of the float32 variant.

    The libraries see nothing else of the model: no other variants, no pickles, no code.
    """
    with TemporaryDirectory(prefix="atomtune-") as temporary:
        place = Path(temporary)
        if part.startswith("text_encoder"):
            config = text_config(config)
        (place / CONFIGS.get(part, "config.json")).write_text(json.dumps(config), encoding="utf-8")
        if part.startswith("tokenizer"):
            for file in TOKENIZER_FILES:
                if (folder / part / file).is_file():
                    _link(folder / part / file, place / file)
        stem, keys = STEMS.get(part, "model"), [_keys(name, file, folder / file) for file in weights]
        if part.startswith("text_encoder") and _lacks_prefix(keys):
            _write_with_prefix([folder / file for file in weights], place / f"{stem}.safetensors")
        elif len(weights) == 1:
            _link(folder / weights[0], place / f"{stem}.safetensors")
        elif weights:
            _link_shards([folder / file for file in weights], keys, place, stem)
        yield place


def _lacks_prefix(keys: Sequence[Sequence[str]]) -> bool:
    """Whether a text encoder was written by transformers 5, without a prefix of names that transformers 4 needs."""
    import transformers

    return int(transformers.__version__.split(".")[0]) < 5 and not any(
        key.startswith(_PREFIX) for held in keys for key in held
    )


def _write_with_prefix(files: Sequence[Path], path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = {key: tensor for file in files for key, tensor in load_file(file).items()}
    named = {key if key == _PROJECTION else _PREFIX + key: tensor for key, tensor in tensors.items()}
    save_file(named, path, {"format": "pt"})


def _link_shards(files: Sequence[Path], keys: Sequence[Sequence[str]], place: Path, stem: str) -> None:
    where: dict[str, str] = {}
    for number, (file, held) in enumerate(zip(files, keys, strict=True), 1):
        shard = f"{stem}-{number:05}-of-{len(files):05}.safetensors"
        _link(file, place / shard)
        where |= dict.fromkeys(held, shard)
    size = sum(file.stat().st_size for file in files)
    index = {"metadata": {"total_size": size}, "weight_map": where}
    (place / f"{stem}.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _keys(name: str, file: str, path: Path) -> list[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as stream:
            return list(stream.keys())
    except (OSError, SafetensorError) as problem:
        raise AtomtuneError(f"{file} of {name} cannot be read ({excerpt(problem)})", _AGAIN) from None


@contextmanager
def _errors_of(name: str, part: str, place: Path) -> Iterator[None]:
    """Turn exceptions about a component into an AtomtuneError that names it, and not its temporary folder."""
    try:
        yield
    except AtomtuneError:
        raise
    except Exception as problem:  # the libraries raise nearly anything for damaged files
        text = str(problem).replace(f"{place}/", "").replace(str(place), part)
        lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(problem).__name__]
        raise AtomtuneError(f"cannot load the {part} of {name}: {excerpt(lines[0], 200)}", _AGAIN) from problem


def _link(file: Path, link: Path) -> None:
    try:
        link.symlink_to(file.resolve())
    except OSError:  # Windows, without the right to make links
        shutil.copyfile(file, link)
