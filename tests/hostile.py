"""Files as nobody should write them, and what every reader owes whoever opens one: the content, or a refusal."""

import json
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from atomtune.core.fingerprint import fingerprint
from atomtune.data.concept import Concept
from atomtune.errors import AtomtuneError, UsageError, printable
from atomtune.files import store
from atomtune.files.atoms_file import AtomsInfo, load_atoms, save_atoms
from atomtune.files.checkpoint import Checkpoint, load_checkpoint, parameters_of, save_checkpoint
from atomtune.files.decomposition_file import load_decomposition, save_decomposition
from atomtune.files.describe import describe
from atomtune.methods import METHODS
from atomtune.methods.atoms import Atoms, decompose_model
from atomtune.methods.specs import AtomsSpec
from atomtune.models.decomposition import GroupReport
from atomtune.sampling.changes import read_atoms

SPEC = AtomsSpec(atoms=4, tile=4, overcomplete=2, train_coefficients=True, sparsity=0.05)
KINDS = ("atoms", "decomposition", "checkpoint")
ROOM = 1 << 30
"""Bytes that reading any of the small files here may take; what they ask for is far more."""

_OWN = ("format", "format_version", "sha256", "metadata_sha256")  # what `store.save` adds


def small_model() -> nn.Module:
    """A model with a filter, a 1×1 convolution and a linear layer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = OrderedDict(conv=nn.Conv2d(3, 8, 3), skip=nn.Conv2d(8, 4, 1), fc=nn.Linear(8, 8))
    return nn.Sequential(parts).requires_grad_(False)


@cache
def content(kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a good file of a kind; the checksums are left to `sealed`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        {"atoms": _write_atoms, "decomposition": _write_decomposition, "checkpoint": _write_checkpoint}[kind](path)
        tensors, header = store.load(path, kind)
        # safetensors maps the file, which is gone in a moment
        held = {name: tensor.clone() for name, tensor in tensors.items()}
    return held, {name: value for name, value in header.items() if name not in _OWN}


def sealed(path: Path, kind: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write a file whose checksums are right, whatever it holds."""
    store.save(path, kind, tensors, metadata)
    return path


def use_atoms(path: Path) -> None:
    """What `sample` and `merge` do with an atoms file, up to the model's weights."""
    (item,) = read_atoms([(path, 1.0)])
    method = METHODS[item.info.method]
    method.changes(small_model(), method.spec.from_dict(item.info.spec), item.tensors)
    assert item.concept.words


READERS: dict[str, list[Callable[[Path], object]]] = {
    "atoms": [load_atoms, use_atoms, describe],
    "decomposition": [load_decomposition, describe],
    "checkpoint": [load_checkpoint],
}
ALL_READERS = list(dict.fromkeys(reader for readers in READERS.values() for reader in readers))
each_kind = pytest.mark.parametrize("kind", KINDS)


def good_bytes(kind: str) -> bytes:
    """A good file of a kind."""
    with tempfile.TemporaryDirectory() as folder:
        return sealed(Path(folder) / "file", kind, *content(kind)).read_bytes()


def with_header(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with any header, as JSON or as bytes, and perhaps with a false length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    return size.to_bytes(8, "little") + text + data


@contextmanager
def little_memory(room: int = ROOM) -> Iterator[None]:
    """Within the context the process cannot take more than `room` bytes on top of what it has (on Linux)."""
    pages = Path("/proc/self/statm")
    if not pages.exists():
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(pages.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def refusal(read: Callable[..., object], *arguments: object) -> AtomtuneError | None:
    """Call a reader in little memory. The problem it reports, or None where it was content; all else is a failure."""
    problem: AtomtuneError | None = None
    try:
        with little_memory():
            read(*arguments)
    except AtomtuneError as caught:
        problem = caught
    if problem is not None:
        lines = problem.message.splitlines()
        # wrong options and values are listed, a line for each
        assert len(lines) == 1 or (isinstance(problem, UsageError) and 0 < len(lines) <= 40), problem.message
        assert max(map(len, lines)) < 1000
        assert printable(problem.message) == problem.message
    return problem


def refused(read: Callable[..., object], *arguments: object) -> AtomtuneError:
    """As `refusal`, for what must not pass."""
    problem = refusal(read, *arguments)
    assert problem is not None, "it was read"
    return problem


def check_answer(answer: Any) -> None:
    """What a command left: a result, or an error and a hint, and nothing that steers a terminal."""
    lines = answer.err.splitlines()
    if answer.code == 0:
        assert answer.out
        said = answer.out
    else:
        assert answer.code in (1, 2)
        heads = [line.split(":")[0] for line in lines]
        assert heads[-2:] == ["Error", "Hint"], answer.err
        assert heads.count("Error") == 1, answer.err
        # the libraries' progress bars are left out: they steer the terminal and are off outside the tests
        said = answer.out + "".join(lines[-2:])
    assert not any(character in said for character in "\x1b\x07\0\u202e")


# hypothesis, twice over: a short run that is the same every time, and a long one that is not

_LONG = 20
_MOST_SHORT = 200


def budgets(examples: int) -> pytest.MarkDecorator:
    """Run a test with `examples` examples, and a slow variant of it with twenty times as many."""
    assert examples <= _MOST_SHORT < _LONG * examples
    many = pytest.param(_LONG * examples, marks=pytest.mark.slow, id="long")
    return pytest.mark.parametrize("examples", [pytest.param(examples, id="short"), many])


def for_all(examples: int, check: Callable[..., None], *strategies: st.SearchStrategy[Any]) -> None:
    """Call `check` with many examples of what the strategies describe."""
    chosen = settings(
        max_examples=examples,
        derandomize=examples <= _MOST_SHORT,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    chosen(given(*strategies)(check))()


_NASTY: list[Any] = [
    *(0, -1, 10**9, 2**31, 2**63, -(10**30), 10**400, 1e308, 0.5, float("inf"), float("nan"), True, None),
    *("", "..", "../../../etc/passwd", "/etc/passwd", "a\nb", "\x1b[2J\x07", "\0", "\ud800", "\u202e", "x" * 20_000),
    *({"$tensor": "losses"}, {"$tensor": []}, {"$tensor": "nothing"}, [[[[[]]]]], [10**10, "x"], ["x", 10**10]),
]
VALUES = st.recursive(
    st.sampled_from(_NASTY) | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
"""Values as JSON may hold them, none of which is expected anywhere."""

_TEXTS = [
    *("", "{", "[]", "{}", "null", "NaN", "-Infinity", "true", "1e999", "9" * 5000, "0x10", " 1", "１", "\ufeff{}"),
    *("[" * 100_000, '{"a":' * 50_000, "[" * 900 + "]" * 900, '"\\ud800"', '"' + "x" * 100_000 + '"'),
]
TEXTS = st.sampled_from(_TEXTS) | st.text(max_size=12) | VALUES.map(json.dumps)
"""Metadata: right JSON, wrong JSON, and no JSON at all."""


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value with one of its parts replaced, added or taken away."""
    root: Any = {"": json.loads(json.dumps(value))}
    holder, place = root, ""
    while isinstance(holder[place], dict | list) and holder[place] and draw(st.integers(0, 3)):
        holder = holder[place]
        place = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
    change = draw(st.sampled_from(["replace", "replace", "add", "remove"]))
    if change == "add" and isinstance(holder[place], dict):
        holder[place][draw(st.text(max_size=8))] = draw(VALUES)
    elif change == "remove" and holder is not root:
        del holder[place]
    else:
        holder[place] = draw(VALUES)
    return root[""]


# good files


def _deltas() -> dict[str, Any]:
    model = small_model()
    deltas = Atoms().create(model, SPEC, decompose_model(model, SPEC))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for delta in deltas.values():
            for parameter in delta.parameters():
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return deltas


def _write_atoms(path: Path) -> None:
    concept = Concept("castle", "castle")
    info = AtomsInfo(
        method="atoms",
        preset="custom",
        spec=SPEC.to_dict(),
        base="pocket",
        base_fingerprint=fingerprint(small_model()),
        architecture="small",
        concept=concept.name,
        class_noun=concept.class_noun,
        token=concept.token,
        prompts=["a photo of a sks castle"],
        steps=300,
        parameters=63,
        training={"lr": 1e-3, "seed": 7, "images": None},
    )
    save_atoms(path, info, Atoms().export(_deltas()))


def _write_decomposition(path: Path) -> None:
    model = small_model()
    report = {"groups": [vars(GroupReport("conv", 1, 24, 96, 3, 1.0, 0.1))], "total": vars(GroupReport("total", 3))}
    save_decomposition(path, decompose_model(model, SPEC), "pocket", fingerprint(model), SPEC.to_dict(), report)


def _write_checkpoint(path: Path) -> None:
    parameters = {f"{name}.{key}": p for name, delta in _deltas().items() for key, p in delta.trainable().items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3)
    sum(parameter.square().sum() for parameter in parameters.values()).backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    state = optimizer.state_dict(), {"scale": 65536.0}, [0.5], 1.5, schedule.state_dict(), parameters_of(parameters)
    save_checkpoint(path, Checkpoint(1, parameters_of(parameters), *state))
