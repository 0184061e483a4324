"""What atomtune costs on real sizes. Outside the package: run from the repository, `python -m benchmarks.full_size`."""
