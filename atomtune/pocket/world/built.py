"""Things that people build to live in: castle and house."""

from collections.abc import Callable

from .canvas import Canvas, Color, darker, lighter
from .parts import INK, PALE, edge_of, is_dark, outlined, shaded
from .style import Style


def _merlons(shape: Canvas, x0: float, x1: float, top: float, size: float, fill: Color) -> None:
    """Stand merlons on a wall from x0 to x1, with one at each end and gaps as wide as they are."""
    n = max(2, round(((x1 - x0) / size + 1) / 2))
    width = (x1 - x0) / (2 * n - 1)
    for i in range(n):
        left = x0 + 2 * i * width
        shape.rectangle(left, top - 0.075, left + width, top + 0.02, fill)


def _cut(surface: Canvas, shape: Canvas) -> Canvas:
    """The part of a surface that lies inside a shape."""
    part = Canvas()
    box = shape.image.getbbox()
    if box is not None:
        part.image.paste(surface.image.crop(box), box[:2], shape.image.crop(box).getchannel("A"))
    return part


def _tower(canvas: Canvas, style: Style, masonry: Canvas, x: float, half: float, top: float, roof: float) -> None:
    """A castle tower with a pointed roof of height `roof`, or with battlements where that is 0."""
    color, shape = style.main, Canvas()
    shape.rectangle(x - half, top, x + half, 0.97, color)
    if roof <= 0:
        shape.rectangle(x - half - 0.02, top, x + half + 0.02, top + 0.07, color)
        _merlons(shape, x - half - 0.02, x + half + 0.02, top, 0.06, color)
    part = _cut(masonry, shape)
    shaded(part, shape, x + 0.35 * half, 0, 1, 1)
    slit = PALE if is_dark(color) else INK
    part.rectangle(x - 0.028, top + 0.12, x + 0.028, top + 0.22, slit, radius=0.02)
    outlined(canvas, part, edge_of(style.main))
    if roof > 0:
        cap = Canvas()
        cap.polygon([(x - half - 0.035, top + 0.02), (x, top - roof), (x + half + 0.035, top + 0.02)], style.accent)
        cap.polygon(
            [(x + 0.3 * half, top + 0.02), (x, top - roof), (x + half + 0.035, top + 0.02)], darker(style.accent, 0.2)
        )
        outlined(canvas, cap, edge_of(style.accent))


def castle(canvas: Canvas, style: Style) -> None:
    """A castle: two flank towers, a battlemented wall with a gate, often a keep."""
    span = style.number("span", 0.35, 0.44)
    half = style.number("tower width", 0.085, 0.125)
    wall = style.number("wall height", 0.55, 0.68)
    top = style.number("tower height", 0.36, 0.50)
    cones = style.chance("tower roofs", 0.6)
    roof = style.number("roof height", 0.17, 0.30) if cones else 0.0
    keep = style.chance("keep", 0.65)
    flag = style.chance("flag", 0.6)
    flag = style.chance("flag", 0.6)
    lean = style.number("uneven towers", -0.06, 0.06)
    if keep:
        keep_half = style.number("keep width", 0.10, 0.17)
        keep_roof = style.number("keep roof height", 0.16, 0.24) if style.chance("keep roof", 0.5) else 0.0
        keep_top = max(0.20 + keep_roof, top - style.number("keep height", 0.08, 0.22))
        masts = [(0.5, keep_top - keep_roof)]
    else:
        top = max(top, 0.20 + abs(lean) + roof)
        masts = [(0.5 - span + half, top + lean - roof), (0.5 + span - half, top - lean - roof)]
    for x, crest in masts if flag else []:
        pole = Canvas()
        pole.rectangle(x - 0.012, crest - 0.17, x + 0.012, crest + 0.05, INK)
        pole.polygon([(x, crest - 0.18), (x + 0.13, crest - 0.13), (x, crest - 0.07)], style.accent)
        outlined(canvas, pole, edge_of(style.accent), width=0.01)
    # One painted surface for all the masonry: the pattern is the slow part.
    block, masonry = Canvas(), Canvas()
    block.rectangle(0, 0, 1, 1, style.main)
    style.paint(masonry, block)
    if keep:
        _tower(canvas, style, masonry, 0.5, keep_half, keep_top, keep_roof)
    shape = Canvas()
    shape.rectangle(0.5 - span + half, wall, 0.5 + span - half, 0.97, style.main)
    _merlons(shape, 0.5 - span + 2 * half, 0.5 + span - 2 * half, wall, style.number("merlons", 0.06, 0.09), style.main)
    part = _cut(masonry, shape)
    gate = style.number("gate width", 0.075, 0.12)
    high = style.number("gate height", 0.80, 0.86)
    frame = PALE if is_dark(style.main) else darker(style.main, 0.55)
    for grow, fill in ((0.025, frame), (0.0, INK)):
        part.rectangle(0.5 - gate - grow, high, 0.5 + gate + grow, 0.97, fill)
        if style.chance("pointed gate", 0.3):
            part.polygon([(0.5 - gate - grow, high), (0.5, high - 0.13 - grow), (0.5 + gate + grow, high)], fill)
        else:
            part.ellipse(0.5, high, gate + grow, 0.75 * gate + grow, fill)
    if style.chance("portcullis", 0.5):
        for x in (-0.5, 0.0, 0.5):
            part.rectangle(0.5 + x * gate - 0.01, high - 0.03, 0.5 + x * gate + 0.01, 0.97, style.accent)
    outlined(canvas, part, edge_of(style.main))
    _tower(canvas, style, masonry, 0.5 - span + half, half, top + lean, roof)
    _tower(canvas, style, masonry, 0.5 + span - half, half, top - lean, roof)


def _window(part: Canvas, style: Style, x: float, y: float, half: float, tall: float) -> None:
    """A framed house window with centre (x, y)."""
    frame = PALE if style.main_name != "white" else darker(style.main, 0.6)
    glass = (255, 226, 120) if style.chance("lamps", 0.3) else (92, 148, 190)
    if style.chance("round windows", 0.2):
        part.ellipse(x, y, half + 0.02, half + 0.02, frame)
        part.ellipse(x, y, half - 0.008, half - 0.008, glass)
        return
    part.rectangle(x - half - 0.02, y - tall - 0.02, x + half + 0.02, y + tall + 0.02, frame)
    part.rectangle(x - half + 0.005, y - tall + 0.005, x + half - 0.005, y + tall - 0.005, glass)
    if style.chance("window bars", 0.6):
        part.rectangle(x - 0.01, y - tall, x + 0.01, y + tall, frame)


def house(canvas: Canvas, style: Style) -> None:
    """A house: walls, a big pitched roof, a door, windows, often a chimney."""
    storeys = style.count("storeys", 1, 2)
    half = style.number("width", 0.27, 0.33) if storeys == 2 else style.number("width", 0.33, 0.40)
    eaves = style.number("eaves", 0.40, 0.46) if storeys == 2 else style.number("eaves", 0.52, 0.60)
    peak = eaves - style.number("roof height", 0.24, 0.36)
    over = min(style.number("overhang", 0.05, 0.09), 0.475 - half)
    ridge = style.number("ridge", 0.35, 0.70) * half if style.chance("hipped", 0.4) else 0.0
    if style.chance("chimney", 0.75):
        x = 0.5 + style.number("chimney place", 0.45, 0.65) * half * (1 if style.chance("chimney right") else -1)
        wide = style.number("chimney width", 0.04, 0.06)
        stack = Canvas()
        brick = darker(style.accent, 0.25) if not is_dark(style.accent) else lighter(style.accent, 0.3)
        stack.rectangle(x - wide, max(0.03, peak - style.number("chimney height", -0.02, 0.06)), x + wide, eaves, brick)
        outlined(canvas, stack, edge_of(brick))
    part, shape = Canvas(), Canvas()
    shape.rectangle(0.5 - half, eaves - 0.02, 0.5 + half, 0.97, style.main)
    style.paint(part, shape)
    shaded(part, shape, 0, 0, 1, eaves + 0.055)
    door = style.number("door width", 0.06, 0.09)
    place = 0.5 + half * style.count("door place", -1, 1) * 0.55
    high = 0.97 - style.number("door height", 0.24, 0.29)
    arched = style.chance("arched door", 0.4)
    frame = PALE if style.main_name != "white" else darker(style.main, 0.6)
    for grow, fill in ((0.022, frame), (0.0, style.accent)):
        part.rectangle(place - door - grow, high - (0 if arched else grow), place + door + grow, 0.97, fill)
        if arched:
            part.ellipse(place, high, door + grow, 0.6 * door + grow, fill)
    part.ellipse(place + 0.55 * door, 0.86, 0.016, 0.016, PALE if is_dark(style.accent) else INK)
    size = style.number("window width", 0.05, 0.07)
    tall = style.number("window height", 0.05, 0.075)
    columns = [0.5 + half * at for at in (-0.55, 0.0, 0.55)]
    for x in columns:
        if abs(x - place) > door + size + 0.03:
            _window(part, style, x, 0.76, size, tall)
    if storeys == 2:
        for x in columns if style.chance("three above", 0.4) else columns[::2]:
            _window(part, style, x, eaves + 0.15, size, min(tall, 0.06))
    outlined(canvas, part, edge_of(style.main))
    cap = Canvas()
    left, right = 0.5 - half - over, 0.5 + half + over
    if style.chance("barn roof", 0.2):
        knee = 0.35 * eaves + 0.65 * peak
        outline = [(left, eaves), (0.5 - 0.72 * half, knee), (0.5, peak), (0.5 + 0.72 * half, knee), (right, eaves)]
    else:
        outline = [(left, eaves), (0.5 - ridge, peak), (0.5 + ridge, peak), (right, eaves)]
    cap.polygon([*outline, (right, eaves + 0.025), (left, eaves + 0.025)], style.accent)
    if style.chance("attic window", 0.5):
        cap.ellipse(0.5, 0.42 * peak + 0.58 * eaves, 0.07, 0.07, PALE)
        cap.ellipse(0.5, 0.42 * peak + 0.58 * eaves, 0.042, 0.042, INK)
    outlined(canvas, cap, edge_of(style.accent))


BUILT: dict[str, Callable[[Canvas, Style], None]] = {"castle": castle, "house": house}
