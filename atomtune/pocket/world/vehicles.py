"""Things to travel in: boat, car and rocket."""

import math
from collections.abc import Callable

from .canvas import Canvas, Color, Point, darker, lighter, mix
from .parts import GLASS, INK, PALE, curve, edge_of, is_dark, outlined, shaded
from .style import Style


def _sails(canvas: Canvas, style: Style, deck: float) -> None:
    """One mast with two triangular sails, or one or two masts with a square sail each."""
    top = style.number("mast height", 0.03, 0.12)
    foot = deck - style.number("sail foot", 0.05, 0.09)
    rig = Canvas()
    wood: Color = (112, 74, 44)
    if style.chance("square sails", 0.35):
        masts = [0.36, 0.68] if style.chance("two masts") else [0.52]
        reach = 0.14 if len(masts) == 2 else style.number("sail width", 0.22, 0.30)
        for i, x in enumerate(masts):
            mast_top = top + (0.09 if i else 0.0)
            rig.rectangle(x - 0.018, mast_top, x + 0.018, deck + 0.05, wood)
            sail = Canvas()
            head = mast_top + 0.07
            sail.polygon(
                curve((x - reach, foot), (x - 0.6 * reach, (head + foot) / 2), (x - reach, head))
                + curve((x + 0.9 * reach, head), (x + 1.6 * reach, (head + foot) / 2), (x + 0.9 * reach, foot)),
                style.accent,
            )
            if style.chance("sail badge", 0.5):
                sail.ellipse(x + 0.1 * reach, (head + foot) / 2, 0.5 * reach, 0.5 * reach, lighter(style.main, 0.1))
            outlined(rig, sail, edge_of(style.accent))
        outlined(canvas, rig, edge_of(wood), width=0.01)
        return
    x = style.number("mast place", 0.46, 0.60)
    rig.rectangle(x - 0.018, top, x + 0.018, deck + 0.05, wood)
    sail = Canvas()
    stern = style.number("boom", 0.07, 0.17)
    belly = style.number("sail belly", 0.05, 0.22)
    sail.polygon(
        [*curve((x - 0.03, top + 0.03), (x - belly, 0.62 * foot), (stern, foot)), (x - 0.03, foot)], style.accent
    )
    outlined(rig, sail, edge_of(style.accent))
    if style.chance("jib", 0.75):
        jib = Canvas()
        height = top + style.number("jib height", 0.05, 0.25)
        jib.polygon(
            [*curve((x + 0.045, height), (x + 0.16, 0.65 * foot), (0.92, foot)), (x + 0.045, foot)],
            lighter(style.main, 0.25),
        )
        outlined(rig, jib, edge_of(style.main))
    else:
        rig.polygon([(x, top), (x + 0.17, top + 0.045), (x, top + 0.09)], style.main)
    outlined(canvas, rig, edge_of(wood), width=0.01)


def _cabin(canvas: Canvas, style: Style, deck: float) -> None:
    """A white cabin with portholes and one or two funnels in the accent colour."""
    left, right = style.number("cabin stern", 0.18, 0.26), style.number("cabin bow", 0.66, 0.76)
    roof = deck - style.number("cabin height", 0.18, 0.26)
    funnels = style.count("funnels", 1, 2)
    thick = style.number("funnel width", 0.05, 0.075)
    for i in range(funnels):
        x = 0.46 if funnels == 1 else (0.37, 0.59)[i]
        high = roof - style.number("funnel height", 0.22, 0.32)
        part = Canvas()
        part.rectangle(x - thick, high, x + thick, roof + 0.05, style.accent)
        part.rectangle(x - thick, high, x + thick, high + 0.06, PALE if is_dark(style.accent) else INK)
        outlined(canvas, part, edge_of(style.accent))
    part = Canvas()
    part.rectangle(left, roof, right, deck + 0.08, PALE)
    part.rectangle(left - 0.03, roof - 0.015, right + 0.03, roof + 0.035, style.accent)
    panes = style.count("panes", 2, 4)
    for i in range(panes):
        x = left + (right - left) * (i + 0.5) / panes
        part.rectangle(x - 0.045, roof + 0.07, x + 0.045, deck - 0.03, (70, 120, 165))
    outlined(canvas, part, darker(PALE, 0.7))


def boat(canvas: Canvas, style: Style) -> None:
    """A boat from the side, its bow to the right: under sail or with a cabin and funnels."""
    deck = style.number("deck", 0.66, 0.72)
    rise = style.number("bow rise", 0.0, 0.08)
    if style.chance("steamer", 0.3):
        _cabin(canvas, style, deck)
    else:
        _sails(canvas, style, deck)
    part, shape = Canvas(), Canvas()
    keel = style.number("bow rake", 0.70, 0.82)
    stern = style.number("stern rake", 0.10, 0.24)
    shape.polygon(
        curve((0.04, deck - 0.3 * rise), (0.5, deck + 0.06), (0.97, deck - rise))
        + curve((0.97, deck - rise), (0.92, 0.93), (keel, 0.97))
        + curve((stern, 0.97), (0.08, 0.92), (0.04, deck)),
        style.main,
    )
    style.paint(part, shape)
    shaded(part, shape, 0, 0.89, 1, 1)
    rim = Canvas()
    rim.line(curve((0.04, deck - 0.3 * rise), (0.5, deck + 0.06), (0.97, deck - rise)), style.accent, 0.06)
    part.overlay(rim, clip=shape)
    if style.chance("portholes", 0.5):
        for i in range(style.count("porthole number", 2, 4)):
            part.ellipse(0.28 + 0.15 * i, 0.82, 0.042, 0.042, INK if not is_dark(style.main) else PALE)
            part.ellipse(0.28 + 0.15 * i, 0.82, 0.026, 0.026, GLASS)
    outlined(canvas, part, edge_of(style.main))


def car(canvas: Canvas, style: Style) -> None:
    """A car from the side, its front to the right."""
    wheel = style.number("wheel", 0.095, 0.135)
    roof = style.number("roof", 0.34, 0.46)
    belt = roof + style.number("cabin height", 0.17, 0.22)
    sill = 0.97 - 0.62 * wheel
    back = style.number("boot", 0.06, 0.24)
    front = 0.96 - style.number("bonnet", 0.14, 0.34)
    back_slant = style.number("rear slant", 0.01, 0.13)
    front_slant = style.number("screen slant", 0.06, 0.17)
    nose = belt + style.number("nose", 0.01, 0.08)
    body, glass = Canvas(), Canvas()
    part = Canvas()
    body.rectangle(0.03, belt + 0.01, 0.97, sill, style.main, radius=style.number("corners", 0.03, 0.085))
    body.polygon([(0.10, belt), (front, belt), (0.97, nose + 0.04), (0.9, sill), (0.10, sill)], style.main)
    round_roof = style.chance("round roof", 0.35)
    middle, reach = (back + front) / 2, (front - back) / 2

    def dome(grow: float, base: float) -> list[Point]:
        points = []
        for i in range(25):
            angle = math.pi * i / 24
            x, y = -math.cos(angle), math.sin(angle)
            points.append((middle + (reach + grow) * x, base - (belt - roof + grow) * y**0.8))
        return points

    if round_roof:
        body.polygon(dome(0.0, belt + 0.01), style.main)
        glass.polygon(dome(-0.05, belt), GLASS)
    else:
        body.polygon(
            [(back, belt + 0.02), (back + back_slant, roof), (front - front_slant, roof), (front, belt + 0.02)],
            style.main,
        )
        inner = roof + 0.05
        glass.polygon(
            [
                (back + 0.05, belt),
                (back + back_slant + 0.03, inner),
                (front - front_slant - 0.02, inner),
                (front - 0.05, belt),
            ],
            GLASS,
        )
    style.paint(part, body)
    if style.chance("accent roof", 0.5) and not round_roof:
        part.rectangle(
            back + back_slant - 0.01, roof - 0.02, front - front_slant + 0.01, roof + 0.035, style.accent, radius=0.015
        )
    shaded(part, body, 0, sill - 0.07, 1, 1)
    if style.chance("side stripe", 0.5) or style.pattern == "plain":
        at = (belt + sill) / 2 - 0.03
        part.rectangle(0.03, at, 0.97, at + 0.055, style.accent)
    outlined(part, glass, INK, width=0.012)
    for i in range(pillars := style.count("pillars", 1, 2)):
        x = middle + (0.0 if pillars == 1 else (-0.1, 0.14)[i])
        part.rectangle(x - 0.02, roof + 0.03, x + 0.02, belt + 0.012, edge_of(style.main))
    part.ellipse(0.93, nose + 0.085, 0.03, 0.036, (255, 240, 150))
    part.rectangle(0.03, belt + 0.07, 0.065, belt + 0.13, (226, 40, 40))
    if style.chance("roof rack", 0.25) and not round_roof:
        part.rectangle(back + back_slant + 0.03, roof - 0.075, front - front_slant - 0.03, roof - 0.05, INK)
        for x in (back + back_slant + 0.06, front - front_slant - 0.06):
            part.rectangle(x - 0.015, roof - 0.075, x + 0.015, roof, INK)
    elif style.chance("spoiler", 0.3):
        part.polygon(
            [
                (0.02, belt - 0.10),
                (0.15, belt - 0.07),
                (0.15, belt - 0.03),
                (0.11, belt + 0.03),
                (0.07, belt + 0.03),
                (0.08, belt - 0.04),
                (0.02, belt - 0.06),
            ],
            style.accent,
        )
    outlined(canvas, part, edge_of(style.main))
    tyres = Canvas()
    for x in (style.number("rear axle", 0.20, 0.26), style.number("front axle", 0.74, 0.80)):
        tyres.ellipse(x, 0.97 - wheel, wheel, wheel, (34, 34, 38))
        hub = style.number("hub", 0.45, 0.62) * wheel
        tyres.ellipse(
            x, 0.97 - wheel, hub, hub, style.accent if not is_dark(style.accent) else lighter(style.accent, 0.5)
        )
    outlined(canvas, tyres, (16, 16, 20), width=0.01)


def rocket(canvas: Canvas, style: Style) -> None:
    """A rocket that points upwards: pointed nose, portholes, fins, often a flame."""
    half = style.number("width", 0.12, 0.185)
    waist = style.number("waist", 0.55, 1.0) * half
    top = 0.03
    neck = top + style.number("nose length", 0.18, 0.32)
    flame = style.chance("flame", 0.6)
    tail = style.number("tail", 0.74, 0.79) if flame else style.number("tail", 0.84, 0.89)
    ground = 0.92 if flame else 0.97
    if flame:
        fire = Canvas()
        wide = 0.85 * waist
        long = style.number("flame length", 0.93, 0.97)
        fire.polygon(
            [(0.5 - wide, tail), (0.5 - 1.1 * wide, 0.86), (0.5, long), (0.5 + 1.1 * wide, 0.86), (0.5 + wide, tail)],
            (250, 120, 20),
        )
        fire.polygon([(0.5 - 0.5 * wide, tail), (0.5, 0.90), (0.5 + 0.5 * wide, tail)], (255, 232, 110))
        outlined(canvas, fire, (150, 40, 10), width=0.01)
    spread = style.number("fin spread", 0.14, 0.24)
    root = tail - style.number("fin height", 0.20, 0.36)
    sweep = style.number("fin sweep", 0.0, 0.16)
    fins = Canvas()
    for side in (-1, 1):
        x0, x1 = 0.5 + side * 0.8 * waist, 0.5 + side * (half + spread)
        fins.polygon(
            [
                *curve((x0, root), (x1, root + 0.10), (x1, ground)),
                (x1 - side * 0.07, ground),
                *curve((x1 - side * 0.09, ground - sweep), (x0, tail), (x0, tail)),
            ],
            style.accent,
        )
    outlined(canvas, fins, edge_of(style.accent))
    if style.chance("boosters", 0.3):
        tanks = Canvas()
        for side in (-1, 1):
            x = 0.5 + side * (half + 0.045)
            tanks.rectangle(x - 0.06, neck + 0.20, x + 0.06, tail + 0.03, mix(style.main, (0, 0, 0), 0.15))
            tanks.polygon([(x - 0.06, neck + 0.20), (x, neck + 0.06), (x + 0.06, neck + 0.20)], style.accent)
        outlined(canvas, tanks, edge_of(style.main))
    nozzle = Canvas()
    nozzle.polygon(
        [
            (0.5 - 0.6 * waist, tail - 0.03),
            (0.5 - 0.8 * waist, tail + 0.05),
            (0.5 + 0.8 * waist, tail + 0.05),
            (0.5 + 0.6 * waist, tail - 0.03),
        ],
        (70, 70, 80),
    )
    outlined(canvas, nozzle, INK, width=0.01)
    part, shape = Canvas(), Canvas()
    middle = (neck + tail) / 2
    shoulder = style.number("shoulder", 0.75, 1.0) * half
    bulge = 2 * half - (shoulder + waist) / 2
    right = curve((0.5 + shoulder, neck), (0.5 + bulge, middle), (0.5 + waist, tail))
    shape.polygon(right + [(1 - x, y) for x, y in reversed(right)], style.main)
    style.paint(part, shape)
    cone = curve(
        (0.5, top),
        (0.5 + shoulder, top + style.number("nose bluntness", 0.3, 0.6) * (neck - top)),
        (0.5 + shoulder, neck),
    )
    part.polygon(cone + [(1 - x, y) for x, y in reversed(cone)], style.accent)
    shape.polygon(cone + [(1 - x, y) for x, y in reversed(cone)], style.accent)
    shaded(part, shape, 0.5 + 0.4 * half, 0, 1, 1)
    part.rectangle(0.5 - shoulder, neck - 0.01, 0.5 + shoulder, neck + 0.015, edge_of(style.main))
    ports = style.count("portholes", 1, 3)
    size = style.number("porthole size", 0.055, 0.085) if ports < 3 else 0.055
    for i in range(ports):
        y = neck + 0.12 + i * 0.155
        part.ellipse(0.5, y, size + 0.012, size + 0.012, PALE if is_dark(style.main) else INK)
        part.ellipse(0.5, y, size - 0.014, size - 0.014, GLASS)
    outlined(canvas, part, edge_of(style.main))
    if style.chance("middle fin", 0.4):
        fin = Canvas()
        fin.polygon(
            [(0.5 - 0.025, root + 0.10), (0.5 + 0.025, root + 0.10), (0.53, tail + 0.08), (0.47, tail + 0.08)],
            style.accent,
        )
        outlined(canvas, fin, edge_of(style.accent), width=0.012)


VEHICLES: dict[str, Callable[[Canvas, Style], None]] = {"boat": boat, "car": car, "rocket": rocket}
