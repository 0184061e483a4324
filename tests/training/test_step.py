"""The ways of taking a step: from inputs that stay in place, recorded on CUDA, compiled; all give the same run."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor, fx, nn

from atomtune.errors import Interrupted
from atomtune.files.checkpoint import Checkpoint, load_checkpoint
from atomtune.methods.specs import PRESETS, RankSpec
from atomtune.models.conditioning import Embeddings, Tokens
from atomtune.runtime.progress import Events
from atomtune.training import compile as compiling
from atomtune.training import setup
from atomtune.training.cuda_graph import WARM_UP, CudaGraphStepper
from atomtune.training.data import Inputs
from atomtune.training.loop import Loop
from atomtune.training.loss import Objective
from atomtune.training.options import TrainOptions
from atomtune.training.step import Stepper
from atomtune.training.train import train
from tiny import NOISE

Options = Callable[..., TrainOptions]
RUNS: dict[str, dict[str, Any]] = {
    "c2": {},
    "c4": {"spec": PRESETS["c4"]},
    "lora": {"method": "lora", "spec": RankSpec(layers="attention", rank=2)},
    "accumulated, averaged, scheduled": {
        "batch_size": 1,
        "grad_accum": 2,
        "flip": True,
        "ema": True,
        "lr_scheduler": "cosine",
        "warmup": 2,
        "gradient_checkpointing": True,
        "sample_every": 2,
        "sample_steps": 2,
    },
    "prior, unclipped": {
        "prior_preservation": True,
        "prior_images": 2,
        "prior_weight": 0.5,
        "max_grad_norm": 0.0,
        "min_snr_gamma": 5.0,
    },
    "preserved": {"method": "lora", "spec": RankSpec(layers="attention", rank=2), "preserve": 1.0, "lr": 1e-2},
}
each_run = pytest.mark.parametrize("run", RUNS)


def state(folder: Path) -> Checkpoint:
    return load_checkpoint(folder / "checkpoint.safetensors")


def same(one: Checkpoint, other: Checkpoint) -> bool:
    pairs = [(one.parameters, other.parameters), (one.average, other.average)]
    equal = all(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs)
    moments = zip(one.optimizer["state"].values(), other.optimizer["state"].values(), strict=True)
    return (
        equal
        and (one.losses, one.schedule) == (other.losses, other.schedule)
        and all(torch.equal(a["exp_avg_sq"], b["exp_avg_sq"]) for a, b in moments)
    )


@pytest.fixture
def in_place(monkeypatch: pytest.MonkeyPatch) -> list[CudaGraphStepper]:
    """From now on runs take their steps from inputs that stay in place, as they do on CUDA; the steppers made."""
    made: list[CudaGraphStepper] = []

    def choose(loop: Loop, *_: Any) -> None:
        loop.use_cuda_graph(record=False, record_update=True, warn=pytest.fail)
        assert isinstance(loop.stepper, CudaGraphStepper)
        made.append(loop.stepper)

    monkeypatch.setattr("atomtune.training.setup.choose_stepping", choose)
    return made


@each_run
def test_steps_from_inputs_in_place_are_the_plain_ones_to_the_last_bit(
    run: str, options: Options, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    plain = train(options(**RUNS[run]), tmp_path / "plain")
    made = request.getfixturevalue("in_place")
    placed = train(options(**RUNS[run]), tmp_path / "placed")
    assert len(made) == 1
    assert placed.sha256 == plain.sha256
    assert same(state(tmp_path / "plain"), state(tmp_path / "placed"))


@pytest.mark.parametrize("run", ["c2", "accumulated, averaged, scheduled"])
def test_an_interrupted_run_goes_on_bit_equal_in_either_way(
    run: str, options: Options, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(options(**RUNS[run]), tmp_path / "whole")
    made = request.getfixturevalue("in_place")
    any_process = Loop.any_process
    monkeypatch.setattr(Loop, "any_process", lambda self, _flag: self.step == 3)
    with pytest.raises(Interrupted):
        train(options(**RUNS[run]), tmp_path / "parts")
    monkeypatch.setattr(Loop, "any_process", any_process)
    assert train(options(**RUNS[run]), tmp_path / "parts", resume=True).sha256 == whole.sha256
    assert len(made) == 2
    assert same(state(tmp_path / "whole"), state(tmp_path / "parts"))


def test_inputs_and_gradients_stay_where_they_are(
    options: Options, tmp_path: Path, in_place: list[CudaGraphStepper], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    finish = CudaGraphStepper.finish

    def noted(self: CudaGraphStepper) -> None:
        held = self.addresses()
        gradients = held[-len(self.stepper.parameters) :]
        assert any(bool(tensor.any()) for tensor in gradients)
        finish(self)
        assert not any(bool(tensor.any()) for tensor in gradients)
        seen.append([tensor.data_ptr() for tensor in held])

    monkeypatch.setattr(CudaGraphStepper, "finish", noted)
    train(options(steps=3), tmp_path / "run")
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("pooled", [None, torch.ones(2, 4)], ids=["sd", "sdxl"])
def test_inputs_take_over_values_of_their_own_shapes_only(pooled: Tensor | None) -> None:
    def inputs(value: float, count: int = 2) -> Inputs:
        states = torch.full((count, 3, 4), value)
        condition = Embeddings(states, None if pooled is None else value * pooled)
        return Inputs(
            torch.full((count, 1), value), torch.full((count, 1), value), torch.tensor([5] * count), condition
        )

    first = inputs(1.0)
    held = first.held()
    places = [tensor.data_ptr() for tensor in held.tensors()]
    held.take(inputs(2.0))
    assert [tensor.data_ptr() for tensor in held.tensors()] == places
    assert all(torch.equal(a, b) for a, b in zip(held.tensors(), inputs(2.0).tensors(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first.tensors(), inputs(1.0).tensors(), strict=True))
    with pytest.raises(ValueError, match=r"of \(3, 1\) in the place of one of \(2, 1\)"):
        held.take(inputs(1.0, count=3))


def test_a_clone_of_tokens_shares_no_memory() -> None:
    tokens = Tokens((torch.arange(6).view(2, 3), torch.arange(6).view(2, 3)))
    cloned = tokens.clone()
    assert [torch.equal(a, b) for a, b in zip(cloned.tensors(), tokens.tensors(), strict=True)] == [True, True]
    assert cloned.tensors()[0].data_ptr() != tokens.tensors()[0].data_ptr()


def test_what_cannot_be_recorded_is_said(monkeypatch: pytest.MonkeyPatch, options: Options) -> None:
    class Told(Events):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def phase(self, text: str) -> None:
            self.lines.append(text)

    def loop(**changes: Any) -> Any:
        held: list[bool] = []
        accelerator = SimpleNamespace(device=torch.device("cuda"), num_processes=1, scaler=None)
        facts = {
            "accelerator": accelerator,
            "tuned": SimpleNamespace(encoders=[]),
            "optimizer": SimpleNamespace(param_groups=[{"capturable": True}]),
            "use_cuda_graph": lambda record, record_update, warn: held.append(record_update),
            "held": held,
        }
        return SimpleNamespace(**facts | changes)

    plain = loop()
    told = Told()
    setup.choose_stepping(plain, options(), "fp32", told)
    assert (plain.held, told.lines) == ([True], [])
    several = loop(accelerator=SimpleNamespace(device=torch.device("cuda"), num_processes=2, scaler=None))
    setup.choose_stepping(several, options(), "fp32", told)
    learning = loop(tuned=SimpleNamespace(encoders=[nn.Linear(1, 1)]))
    setup.choose_stepping(learning, options(), "fp32", told)
    assert [line.partition(": ")[2] for line in told.lines] == [
        "several processes exchange their gradients",
        "the text encoders are trained",
    ]
    switched_off = loop()
    setup.choose_stepping(switched_off, options(cuda_graph=False), "fp32", told)
    assert several.held == learning.held == switched_off.held == []
    # gradients alone, where the optimiser or the scaling of losses asks the GPU for numbers
    scaled = loop(accelerator=SimpleNamespace(device=torch.device("cuda"), num_processes=1, scaler=object()))
    other = loop(optimizer=SimpleNamespace(param_groups=[{"d": 1.0}]))
    for gradients_only in (scaled, other):
        setup.choose_stepping(gradients_only, options(), "fp32", told)
        assert gradients_only.held == [False]


def test_how_steps_are_taken_may_change_when_a_run_goes_on(options: Options, tmp_path: Path) -> None:
    train(options(steps=2), tmp_path / "run")
    asked = options(steps=4, cuda_graph=False)
    more = train(asked, tmp_path / "run", resume=True, explicit=frozenset({"steps", "cuda_graph"}))
    assert more.sha256 == train(options(steps=4), tmp_path / "whole").sha256


def backend(graph: fx.GraphModule, _inputs: Any) -> Callable[..., Any]:
    """A compiler that changes nothing."""
    return graph.forward


def wrong_backend(graph: fx.GraphModule, _inputs: Any) -> Callable[..., Any]:
    """A compiler whose results are right and whose gradients are not."""

    def run(*arguments: Any) -> Any:
        return [
            0.5 * out + 0.5 * out.detach() if isinstance(out, Tensor) and out.requires_grad else out
            for out in graph(*arguments)
        ]

    return run


def no_backend(_graph: fx.GraphModule, _inputs: Any) -> Callable[..., Any]:
    raise RuntimeError("no compiler here\nand more lines")


class Warned(Events):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, text: str) -> None:
        self.lines.append(text)


class Small(nn.Module):
    """Takes what a UNet takes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, noisy: Tensor, _timesteps: Tensor, _condition: Embeddings, _sizes: Tensor | None) -> Tensor:
        return self.layer(noisy)


@pytest.mark.parametrize(
    ("compiler", "said"),
    [(backend, None), (wrong_backend, "first step is not the eager one"), (no_backend, "no compiler here")],
    ids=["right", "wrong", "none"],
)
def test_a_compiled_model_is_checked_before_it_is_used(compiler: Any, said: str | None) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = Small()
    plain = SimpleNamespace(autocast=nullcontext, no_sync=nullcontext, backward=Tensor.backward)
    objective = Objective(DDIMScheduler(**NOISE))
    stepper = Stepper(plain, model, torch.optim.SGD(model.parameters()), objective, model.parameters(), 1, 0.0, None)
    latents, noise = torch.randn(2, 2, 4, 8, 8)
    inputs = Inputs(latents, noise, torch.tensor([10, 500]), Embeddings(torch.zeros(2, 3, 4), None))
    told: list[str] = []
    assert compiling.compiled(stepper, inputs, torch.float32, told.append, backend=compiler) == (said is None)
    assert (stepper.forward is model) == (said is not None)
    assert len(told) == (said is not None)
    assert all(said is not None and said in line and "torch.compile" in line and "\n" not in line for line in told)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_run_that_is_compiled_takes_the_same_steps(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(options(steps=3), tmp_path / "plain")
    used: list[bool] = []
    compiled = compiling.compiled

    def with_this_compiler(*arguments: Any, **named: Any) -> bool:
        torch._dynamo.reset()
        used.append(compiled(*arguments, **named, backend=backend))
        return used[0]

    monkeypatch.setattr(setup, "compiled", with_this_compiler)
    told = Warned()
    train(options(steps=3, compile=True), tmp_path / "compiled", events=told)
    assert used == [True]
    assert not any("torch.compile" in line for line in told.lines)
    one, other = state(tmp_path / "plain"), state(tmp_path / "compiled")
    assert one.losses == pytest.approx(other.losses, rel=1e-5)


gpu = pytest.mark.gpu


def on_cuda(options: Options, **changes: Any) -> TrainOptions:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return replace(options(**{"precision": "fp32", **changes}), device="cuda")


@gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@each_run
def test_recorded_steps_are_those_run_one_by_one(run: str, precision: str, options: Options, tmp_path: Path) -> None:
    recorded: list[bool] = []
    told = Warned()
    wanted = on_cuda(options, **{"steps": WARM_UP + 5, **RUNS[run], "precision": precision})
    finish = CudaGraphStepper.finish

    def noted(self: CudaGraphStepper) -> None:
        recorded.append(self.is_recorded)
        finish(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CudaGraphStepper, "finish", noted)
        train(wanted, tmp_path / "recorded", events=told)
    assert recorded == [False] * WARM_UP + [True] * 5, told.lines
    train(replace(wanted, cuda_graph=False), tmp_path / "eager")
    one, other = state(tmp_path / "recorded"), state(tmp_path / "eager")
    tolerance = 1e-4 if precision == "fp32" else 2e-2
    assert one.losses == pytest.approx(other.losses, rel=tolerance)
    moved = sum(float(value.norm() ** 2) for value in other.parameters.values()) ** 0.5
    apart = sum(float((value - one.parameters[name]).norm() ** 2) for name, value in other.parameters.items()) ** 0.5
    assert apart <= 10 * tolerance * moved


@gpu
@pytest.mark.parametrize("low_memory", [False, True])
def test_a_run_on_cuda_ends_as_one_on_the_cpu(low_memory: bool, options: Options, tmp_path: Path) -> None:
    train(on_cuda(options, low_memory=low_memory), tmp_path / "cuda")
    train(options(), tmp_path / "cpu")
    one, other = state(tmp_path / "cuda"), state(tmp_path / "cpu")
    assert one.losses == pytest.approx(other.losses, rel=1e-2)
