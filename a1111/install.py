"""Run by the web UI at its start: atomtune without its dependencies, as PyTorch and safetensors are there."""

import launch

if not launch.is_installed("atomtune"):
    launch.run_pip("install --no-deps atomtune", "atomtune")
