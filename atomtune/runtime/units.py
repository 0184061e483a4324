"""Numbers of bytes as text."""


def size(count: float) -> str:
    """Format a number of bytes, in powers of 1000: 312 B, 24.9 kB, 1.1 MB, 5.5 GB."""
    if round(count) < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB"):
        count /= 1000
        if round(count, 1) < 1000:  # not 1000.0 kB
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} GB"
