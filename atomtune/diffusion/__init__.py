"""Stable Diffusion pipelines: load, decompose, train, sample (floor 2)."""
