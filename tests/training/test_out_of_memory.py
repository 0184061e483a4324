"""Out of memory while training or sampling: what is said, and that nothing is lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from atomtune.errors import AtomtuneError
from atomtune.runtime.out_of_memory import (
    DeviceMemory,
    as_out_of_memory_error,
    in_order,
    is_out_of_memory,
    out_of_memory_error,
    sampling_memory_hints,
    training_memory_hints,
)
from atomtune.sampling.options import SampleOptions
from atomtune.sampling.sample import sample
from atomtune.training.loop import Loop
from atomtune.training.options import TrainOptions
from atomtune.training.train import train

Options = Callable[..., TrainOptions]


def exhausted(*_arguments: Any, **_options: Any) -> NoReturn:
    # what torch raises on a GPU, where there is none
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has a total of …")


def test_no_memory_left_while_training(options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(options(), tmp_path / "whole")
    take_step = Loop._take_step
    monkeypatch.setattr(Loop, "_take_step", lambda self, step: exhausted() if step == 3 else take_step(self, step))
    with pytest.raises(AtomtuneError, match=r"^out of memory while training$") as refused:
        train(options(), tmp_path / "run")
    hint = refused.value.hint or ""
    order = [
        "--batch-size 1 --grad-accum 2",
        "--gradient-checkpointing",
        "--precision bf16",
        "--low-memory",
        "--resolution below 32",
    ]
    places = [hint.index(remedy) for remedy in order]
    assert places == sorted(places)
    assert "The state after step 2 is kept" in hint
    assert f"atomtune train --concept castle --output {tmp_path / 'run'} --resume" in hint
    monkeypatch.setattr(Loop, "_take_step", take_step)
    assert train(options(), tmp_path / "run", resume=True).sha256 == whole.sha256


def test_no_memory_left_before_anything_was_saved(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atomtune.training.train.make_loop", exhausted)
    with pytest.raises(AtomtuneError, match="out of memory while training") as refused:
        train(options(batch_size=1, gradient_checkpointing=True), tmp_path / "run")
    assert refused.value.hint == (
        "try, in this order: --precision bf16 or fp16, --low-memory, a --resolution below 32; "
        "with other options the run starts again (--overwrite)"
    )


def test_no_memory_left_while_sampling(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atomtune.sampling.generate.generate", exhausted)
    with pytest.raises(AtomtuneError, match=r"^out of memory while sampling$") as refused:
        sample(SampleOptions(prompts=("a castle",), model=str(tiny_model), device="cpu"), tmp_path / "out")
    assert refused.value.hint == (
        "try, in this order: --batch-size 1 (the same images), --precision bf16 or fp16, a lower --size"
    )


def test_a_shortage_in_figures() -> None:
    memory = DeviceMemory("Some GPU", total=24_000_000_000, peak=23_140_000_000)
    error = out_of_memory_error("training", memory, "try less")
    assert error.message == "out of memory while training: at most 23.1 GB in use, Some GPU has 24.0 GB"
    assert error.hint == "try less"


def test_remedies_leave_out_what_is_done_already() -> None:
    assert training_memory_hints(4, 2, False, False, "fp32", 512) == [
        "--batch-size 1 --grad-accum 8 (the same result)",
        "--gradient-checkpointing",
        "--precision bf16 or fp16",
        "--low-memory",
        "a --resolution below 512",
    ]
    assert training_memory_hints(1, 2, True, False, "fp16", 0) == ["--low-memory", "a lower --resolution"]
    assert training_memory_hints(1, 2, False, True, "fp16", 0) == ["a lower --resolution"]
    assert sampling_memory_hints(1, "bf16", (768, 512)) == ["a --size below 768x512"]
    assert in_order(["this", "that"]) == "try, in this order: this, that"


def test_a_processor_without_memory_is_understood_too() -> None:
    with pytest.raises(AtomtuneError, match=r"^out of memory while training$"), as_out_of_memory_error("training", str):
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="mat1 and mat2"), as_out_of_memory_error("training", str):
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert not is_out_of_memory(ValueError("out of memory"))
