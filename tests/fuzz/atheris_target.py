"""A target for atheris, which looks for inputs that reach new lines of atomtune's own code.

pip install 'atomtune[fuzz]', then: python tests/fuzz/atheris_target.py -runs=100000 CORPUS (see libFuzzer's options).
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

FIELDS = (
    "spec",
    "training",
    "prompts",
    "steps",
    "concept",
    "base",
    "layers",
    "report",
    "order",
    "optimizer_state",
    "step",
)


def targets(folder: Path) -> list[Callable[[bytes], object]]:
    """What bytes can be read as. Each raises for a finding alone."""
    from atomtune.commands.options.config_file import read_config
    from atomtune.training.run_folder import RunFolder
    from fuzz.test_config import OPTIONS
    from fuzz.test_runs import read_run
    from hostile import KINDS, READERS, content, refusal, sealed

    file, record = folder / "file", folder / "run.json"

    def container(kind: str, data: bytes) -> None:
        file.write_bytes(data)
        for read in READERS[kind]:
            refusal(read, file)

    def metadata(kind: str, data: bytes) -> None:
        tensors, header = content(kind)
        field = FIELDS[data[0] % len(FIELDS)] if data else FIELDS[0]
        sealed(file, kind, tensors, {**header, field: data[1:].decode("utf-8", "ignore")})
        for read in READERS[kind]:
            refusal(read, file)

    def config(data: bytes) -> None:
        file.write_bytes(data)
        refusal(read_config, file, OPTIONS["train"])

    def run(data: bytes) -> None:
        record.write_bytes(data)
        refusal(read_run, folder)

    def log(data: bytes) -> None:
        (folder / "log.jsonl").write_bytes(data)
        refusal(RunFolder(folder).log_until, 5)

    def of(kind: str) -> list[Callable[[bytes], object]]:
        return [lambda data: container(kind, data), lambda data: metadata(kind, data)]

    return [target for kind in KINDS for target in of(kind)] + [config, run, log]


def seeds(corpus: Path) -> None:
    """Write an input for each target that it reads to the end."""
    import json

    from fuzz.test_runs import RECORD
    from hostile import KINDS, content, good_bytes

    good: list[bytes] = []
    for kind in KINDS:
        field = next(number for number, name in enumerate(FIELDS) if name in content(kind)[1])
        good += [good_bytes(kind), bytes([field]) + content(kind)[1][FIELDS[field]].encode()]
    good += [b'steps = 5\npreset = "c2"\n', json.dumps(RECORD).encode(), b'{"step": 1, "loss": 0.5}\n']
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(good):
        (corpus / f"seed-{number}").write_bytes(bytes([number]) + data)


def one_input(chosen: list[Callable[[bytes], object]], data: bytes) -> None:
    """Read bytes as what the first of them says."""
    if data:
        chosen[data[0] % len(chosen)](data[1:])


def main() -> None:
    """Fuzz until the options say that it is enough. The folder named last is the corpus."""
    import atheris

    sys.path.insert(0, str(Path(__file__).parents[1]))
    with tempfile.TemporaryDirectory() as folder:
        with atheris.instrument_imports(include=["atomtune"]):
            chosen = targets(Path(folder))
        if not sys.argv[-1].startswith("-"):
            seeds(Path(sys.argv[-1]))
        atheris.Setup(sys.argv, lambda data: one_input(chosen, data))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
