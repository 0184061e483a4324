"""Numbers of bytes and of things as text."""


def size(count: float) -> str:
    """Format a number of bytes, in powers of 1000: 312 B, 24.9 kB, 1.1 MB, 5.5 GB."""
    if round(count) < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB"):
        count /= 1000
        if round(count, 1) < 1000:  # not 1000.0 kB
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} GB"


def counted(number: int, noun: str) -> str:
    """Format a number of things: 1 image, 5 images, 1,200 steps, 2 classes, 3 copies."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith(("s", "x", "ch", "sh")):
        plural = f"{noun}es"
    elif noun.endswith("y") and noun[-2:-1] not in "aeiou":
        plural = f"{noun[:-1]}ies"
    else:
        plural = f"{noun}s"
    return f"{number:,} {plural}"
