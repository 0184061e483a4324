"""torch.compile for the model, and the check that what it makes computes the same."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .data import Inputs
from .step import Stepper

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 2e-2}
"""How far a compiled step's gradients may be from the eager ones, relative to their norm, by the type computed in."""


def compiled(stepper: Stepper, inputs: Inputs, kind: torch.dtype, warn: Callable[[str], None], **how: Any) -> bool:
    """Compile a stepper's model, and keep that only if a first step has the same loss and gradients.

    Not every version of torch compiles these models rightly: 2.13's for the CPU returned wrong gradients where the
    weights are frozen. So a mismatch, or a failure to compile, is a warning, and the model goes on uncompiled.

    Args:
        stepper: before its first step.
        inputs: of any step.
        kind: the type that is computed in.
        warn: is told why the compiled model is not used.
        how: arguments of torch.compile.
    """
    expected = _step(stepper, inputs)
    model = stepper.forward
    try:
        stepper.forward = torch.compile(model, **how)
        found = _step(stepper, inputs)
    except Exception as problem:  # whatever a compiler's chain raises, training can go on
        stepper.forward = model
        warn(f"torch.compile failed ({_first_line(problem)}); training goes on without it")
        return False
    distance = max(_distance(*pair) for pair in zip(found, expected, strict=True))
    if distance <= TOLERANCE[kind]:
        return True
    stepper.forward = model
    warn(
        f"torch.compile's first step is not the eager one (its gradients differ by {distance:.2g} of their norm); "
        "training goes on without it"
    )
    return False


def _step(stepper: Stepper, inputs: Inputs) -> list[Tensor]:
    """The loss of a step and all its gradients, as if it had not been taken."""
    loss = stepper.backward(inputs, True)
    gradients = [_gradient(parameter) for parameter in stepper.parameters]
    stepper.optimizer.zero_grad(set_to_none=True)
    return [loss, torch.cat([gradient.flatten() for gradient in gradients])]


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _distance(found: Tensor, expected: Tensor) -> float:
    norm = float(expected.double().norm())
    difference = float((found.double() - expected.double()).norm())
    return difference / norm if norm > 0.0 else difference


def _first_line(problem: Exception) -> str:
    problem = getattr(problem, "inner_exception", problem)  # what a compiler raised, in torch's own wrapping
    text = str(problem).strip().partition("\n")[0]
    return f"{type(problem).__name__}: {text[:200]}" if text else type(problem).__name__
