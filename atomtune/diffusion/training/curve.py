"""The loss curve as a small SVG picture."""

from collections.abc import Sequence

_WIDTH, _HEIGHT, _MARGIN = 640, 240, 40


def smoothed(values: Sequence[float], weight: float = 0.95) -> list[float]:
    """Exponential moving average, corrected for its start, so that it begins at the first value."""
    result, average = [], 0.0
    for i, value in enumerate(values, start=1):
        average = weight * average + (1.0 - weight) * value
        result.append(average / (1.0 - weight**i))
    return result


def loss_curve(losses: Sequence[float]) -> str:
    """An SVG of the loss over steps: every step pale, the moving average on top. Readable on light and dark."""
    top = max(losses, default=1.0) or 1.0

    def points(values: Sequence[float]) -> str:
        span = max(1, len(values) - 1)
        wide, high = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN
        return " ".join(
            f"{_MARGIN + wide * i / span:.1f},{_HEIGHT - _MARGIN - high * v / top:.1f}" for i, v in enumerate(values)
        )

    bottom = _HEIGHT - _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="loss" '
        'font-family="sans-serif" font-size="12" fill="#808080">'
        f'<polyline points="{_MARGIN},{_MARGIN} {_MARGIN},{bottom} {_WIDTH - _MARGIN},{bottom}" fill="none" '
        'stroke="#808080"/>'
        f'<polyline points="{points(losses)}" fill="none" stroke="#8ab4f8" stroke-opacity="0.5"/>'
        f'<polyline points="{points(smoothed(losses))}" fill="none" stroke="#3b78e7" stroke-width="2"/>'
        f'<text x="{_MARGIN}" y="{_MARGIN - 8}">loss (at most {top:.4f})</text>'
        f'<text x="{_WIDTH - _MARGIN}" y="{bottom + 18}" text-anchor="end">step {len(losses)}</text>'
        "</svg>\n"
    )
