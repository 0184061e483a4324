"""Progress, seeds, memory, disk space and units: what every command uses."""
