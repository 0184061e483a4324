"""Things to own: a backpack, a sneaker, a clock and a candle."""

import math
from collections.abc import Callable

from .canvas import Canvas, Color, Point, darker, lighter, mix
from .creatures import FLOOR, WHITE, contrast, luma, smooth
from .parts import INK, edge_of, outlined
from .style import Style

CREAM: Color = (244, 241, 232)


def backpack(canvas: Canvas, style: Style) -> None:
    """A backpack from the front, its shoulder straps showing at the sides."""
    art = Canvas()
    main, accent = style.main, style.accent
    half = style.number("width", 0.25, 0.33)
    top = style.number("top", 0.13, 0.24)
    dark = contrast(main, 0.45)
    strap = contrast(accent, 0.25)

    grip = style.number("handle", 0.08, 0.13)
    art.arc(0.5, top + 0.01, grip, 0.11, 180, 360, strap, 0.045)
    for side in (-1, 1):
        x = 0.5 + side * (half - 0.02)
        bulge = style.number("strap", 0.09, 0.13)
        start, end = (90, 270) if side < 0 else (-90, 90)
        art.arc(x, (top + FLOOR) / 2 + 0.02, bulge + 0.02, (FLOOR - top) * 0.40, start, end, strap, 0.055)
    if style.chance("side pockets", 0.6):
        for side in (-1, 1):
            x = 0.5 + side * half
            art.rectangle(x - 0.075, FLOOR - 0.30, x + 0.075, FLOOR - 0.04, dark, radius=0.04)

    body = Canvas()
    arch = style.number("arch", 0.12, 0.24)
    body.rectangle(0.5 - half, top, 0.5 + half, FLOOR - 0.12, main, radius=min(arch, half))
    body.rectangle(0.5 - half, FLOOR - 0.40, 0.5 + half, FLOOR, main, radius=0.07)
    style.paint(art, body)

    pocket_top = FLOOR - style.number("pocket", 0.30, 0.38)
    closing = style.count("closing", 0, 2)
    if closing == 0:  # a flap with two buckled belts
        low = pocket_top - 0.05
        flap = [
            (0.5 - half, top + 0.14),
            (0.5 + half, top + 0.14),
            (0.5 + half, low - 0.05),
            (0.5, low),
            (0.5 - half, low - 0.05),
        ]
        art.polygon(flap, accent)
        art.rectangle(0.5 - half, top, 0.5 + half, top + 0.26, accent, radius=min(arch, 0.13))
    elif closing == 1:  # an arched zip
        art.arc(0.5, top + 0.27, half - 0.06, 0.19, 180, 360, dark, 0.03)
        art.rectangle(0.5 + half - 0.10, top + 0.25, 0.5 + half - 0.05, top + 0.35, WHITE, radius=0.015)
    else:  # a badge
        art.ellipse(0.5, top + 0.17, 0.095, 0.095, dark)
        art.ellipse(0.5, top + 0.17, 0.07, 0.07, accent)

    inset = half - style.number("pocket margin", 0.04, 0.08)
    pocket = accent if closing else main
    pockets = 2 if style.chance("two pockets", 0.3) else 1
    edges = ((0.5 - inset, 0.485), (0.515, 0.5 + inset)) if pockets == 2 else ((0.5 - inset, 0.5 + inset),)
    for x0, x1 in edges:
        art.rectangle(x0 - 0.02, pocket_top - 0.02, x1 + 0.02, FLOOR - 0.03, contrast(pocket, 0.5), radius=0.06)
        art.rectangle(x0, pocket_top, x1, FLOOR - 0.05, pocket, radius=0.05)
        art.rectangle(x0, pocket_top + 0.07, x1, pocket_top + 0.095, contrast(pocket, 0.5))
        art.rectangle((x0 + x1) / 2 - 0.018, pocket_top + 0.075, (x0 + x1) / 2 + 0.018, pocket_top + 0.15, WHITE)
    if closing == 0:
        for x in (0.5 - half * 0.5, 0.5 + half * 0.5):
            art.rectangle(x - 0.028, top + 0.13, x + 0.028, pocket_top + 0.08, contrast(accent, 0.5))
            art.rectangle(x - 0.042, pocket_top - 0.06, x + 0.042, pocket_top + 0.02, (240, 214, 130), radius=0.01)
    outlined(canvas, art, edge_of(main))


def sneaker(canvas: Canvas, style: Style) -> None:
    """A sneaker from the side, its toe to the left."""
    art = Canvas()
    main, accent = style.main, style.accent
    dark = contrast(main, 0.5)
    sole = style.number("sole", 0.09, 0.15)
    base = FLOOR - sole
    high = style.chance("high", 0.45)
    rim = base - (style.number("shaft", 0.46, 0.58) if high else style.number("shaft", 0.28, 0.36))
    throat = style.number("throat", 0.56, 0.62)
    toe = base - style.number("toe", 0.14, 0.19)
    instep = style.number("instep", 0.30, 0.36)

    tongue = [
        (throat - 0.12, rim + 0.14),
        (throat - 0.07, rim - 0.07),
        (throat + 0.05, rim - 0.08),
        (throat + 0.1, rim + 0.1),
    ]
    art.polygon(tongue, contrast(accent, 0.2))
    body = Canvas()
    upper: list[Point] = [
        (0.07, base + 0.03),
        (0.07, (base + toe) / 2),
        (0.15, toe + 0.01),
        (instep, toe - 0.04),
        ((instep + throat) / 2, (toe + rim) / 2 - 0.02),
        (throat, rim),
        (0.74, rim + 0.05 if not high else rim + 0.01),
        (0.90, rim - 0.02),
        (0.90, (rim + base) / 2),
        (0.94, base + 0.03),
    ]
    body.polygon(upper, main)
    style.paint(art, body)
    if style.chance("heel patch", 0.75):
        art.polygon(
            [(0.79, rim + 0.01), (0.90, rim - 0.02), (0.90, (rim + base) / 2), (0.94, base), (0.80, base)], accent
        )

    cap = CREAM if style.chance("white toe", 0.7) else accent
    reach = style.number("cap", 0.22, 0.28)
    art.polygon(
        [
            (0.07, base + 0.03),
            (0.07, (base + toe) / 2),
            (0.15, toe + 0.01),
            (reach - 0.02, toe - 0.02),
            (reach + 0.02, base),
        ],
        cap,
    )
    art.line([(reach - 0.02, toe), (reach + 0.02, base)], dark, 0.014)

    x, y = 0.64, base - style.number("logo height", 0.11, 0.14)
    logo = style.count("logo", 0, 3)
    if logo == 0:  # slanted stripes
        for k in range(style.count("logo stripes", 2, 3)):
            at = x - 0.12 + k * 0.09
            art.polygon([(at, base), (at + 0.045, base), (at + 0.11, y - 0.08), (at + 0.065, y - 0.08)], accent)
    elif logo == 1:  # a star on a disc
        art.ellipse(x + 0.04, y, 0.095, 0.095, CREAM)
        star = [(0.09 if i % 2 else 0.035, math.pi * (0.5 + i / 5)) for i in range(10)]
        art.polygon([(x + 0.04 + r * math.cos(a), y + r * math.sin(a)) for r, a in star], accent)
    elif logo == 2:  # a wave along the side
        art.polygon(smooth([(0.36, y + 0.02), (0.47, y + 0.09), (0.80, y - 0.08), (0.48, y + 0.03)]), accent)
    else:  # a band
        art.polygon([(0.30, base), (0.50, base), (0.78, y - 0.02), (0.78, y - 0.09)], accent)

    lace = CREAM if luma(main) < 0.72 else (60, 60, 70)
    rows = style.count("laces", 3, 4) + high
    for k in range(rows):
        t = (k + 0.35) / rows
        sx, sy = instep + (throat - instep) * t, toe - 0.04 + (rim - toe + 0.04) * t
        art.line([(sx - 0.035, sy - 0.01), (sx + 0.085, sy + 0.045)], lace, 0.032)

    art.rectangle(0.03, base, 0.97, FLOOR, CREAM, radius=min(0.06, sole / 2))
    if style.chance("sole line", 0.6):
        art.rectangle(0.05, base + sole * 0.45, 0.95, base + sole * 0.70, accent)
    tread = INK if style.chance("dark tread") else (176, 150, 112)
    art.rectangle(0.06, FLOOR - 0.022, 0.94, FLOOR, tread)
    outlined(canvas, art, edge_of(main))


def clock(canvas: Canvas, style: Style) -> None:
    """A clock from the front: an alarm clock, a wall clock or a mantel clock, with a round white dial."""
    art = Canvas()
    main, accent = style.main, style.accent
    kind = style.count("kind", 0, 2)
    body = Canvas()
    if kind == 0:  # an alarm clock on feet, with bells
        r = style.number("size", 0.34, 0.38)
        y = FLOOR - 0.05 - r
        splay = style.number("splay", 0.22, 0.30)
        for side in (-1, 1):
            art.line([(0.5 + side * 0.16, y + r * 0.7), (0.5 + side * splay, FLOOR - 0.03)], accent, 0.06)
        bell = style.number("bell", 0.12, 0.16)
        art.line([(0.5, y - r), (0.5, y - r - 0.07)], INK, 0.04)
        art.rectangle(0.44, y - r - 0.11, 0.56, y - r - 0.06, INK, radius=0.02)
        for side in (-1, 1):
            art.ellipse(0.5 + side * 0.25, y - r * 0.88, bell, bell, accent)
        body.ellipse(0.5, y, r, r, main)
    elif kind == 1:  # a wall clock in a case of some shape
        r = style.number("size", 0.40, 0.44)
        sides = (0, 0, 4, 6, 8)[style.count("case", 0, 4)]
        y = FLOOR - (1.06 * r if sides > 4 else r)
        if sides == 0:
            body.ellipse(0.5, y, r, r, main)
        elif sides == 4:
            body.rectangle(0.5 - r, y - r, 0.5 + r, y + r, main, radius=style.number("corner", 0.03, 0.14))
        else:
            turns = [2 * math.pi * (i + 0.5) / sides for i in range(sides)]
            body.polygon([(0.5 + 1.06 * r * math.cos(a), y + 1.06 * r * math.sin(a)) for a in turns], main)
    else:  # a mantel clock: an arched case on a plinth
        r = style.number("size", 0.31, 0.35)
        wide = style.number("plinth", r + 0.04, 0.46)
        y = FLOOR - 0.20 - r * 0.9
        art.rectangle(0.5 - wide, FLOOR - 0.11, 0.5 + wide, FLOOR, accent, radius=0.02)
        body.ellipse(0.5, y, r, r, main)
        body.rectangle(0.5 - r, y, 0.5 + r, FLOOR - 0.10, main)
        if style.chance("finial", 0.6):
            art.ellipse(0.5, y - r - 0.02, 0.05, 0.05, accent)
    style.paint(art, body)

    dial = r * style.number("dial", 0.72, 0.80)
    art.ellipse(0.5, y, dial + 0.028, dial + 0.028, contrast(accent, 0.3))
    art.ellipse(0.5, y, dial, dial, (252, 250, 242))
    ticks = 12 if style.chance("twelve ticks") else 4
    for i in range(ticks):
        a = 2 * math.pi * i / ticks
        inner = 0.78 if ticks == 4 else 0.86
        near, far = dial * inner, dial * 0.92
        art.line(
            [(0.5 + near * math.cos(a), y + near * math.sin(a)), (0.5 + far * math.cos(a), y + far * math.sin(a))],
            INK,
            0.038 if ticks == 4 else 0.024,
        )
    hour = style.number("hour", 0, 12)
    hand = accent if luma(accent) < 0.5 else INK
    for turn, length, width in ((hour / 12, 0.48, 0.05), (hour % 1, 0.72, 0.036)):
        a = 2 * math.pi * turn - math.pi / 2
        art.line([(0.5, y), (0.5 + dial * length * math.cos(a), y + dial * length * math.sin(a))], hand, width)
    art.ellipse(0.5, y, 0.035, 0.035, hand)
    outlined(canvas, art, edge_of(main))


def candle(canvas: Canvas, style: Style) -> None:
    """A burning candle on a holder."""
    art = Canvas()
    main, accent = style.main, style.accent
    half = style.number("width", 0.085, 0.16)
    holder = style.count("holder", 0, 2)
    dark = contrast(accent, 0.35)
    wide = style.number("holder width", 0.26, 0.34)

    if holder == 0:  # a saucer with a finger ring
        foot = FLOOR - 0.09
        art.arc(0.5 + wide + 0.03, foot - 0.03, 0.09, 0.09, 0, 360, accent, 0.04)
        art.polygon(
            [
                (0.5 - wide, foot - 0.05),
                (0.5 + wide, foot - 0.05),
                (0.5 + wide * 0.7, FLOOR),
                (0.5 - wide * 0.7, FLOOR),
            ],
            accent,
        )
        art.rectangle(0.5 - wide, foot - 0.07, 0.5 + wide, foot - 0.02, dark, radius=0.02)
        art.rectangle(0.5 - half - 0.04, foot - 0.15, 0.5 + half + 0.04, foot - 0.05, accent, radius=0.02)
        seat = foot - 0.12
    elif holder == 1:  # a candlestick
        tall = style.number("stick", 0.24, 0.32)
        seat = FLOOR - tall
        art.polygon(
            [(0.5 - wide * 0.8, FLOOR), (0.5 + wide * 0.8, FLOOR), (0.56, FLOOR - 0.10), (0.44, FLOOR - 0.10)], accent
        )
        art.rectangle(0.46, seat, 0.54, FLOOR - 0.05, accent)
        art.ellipse(0.5, seat + tall * 0.45, 0.075, 0.045, dark)
        cup = half + 0.07
        art.polygon(
            [
                (0.5 - cup, seat - 0.03),
                (0.5 + cup, seat - 0.03),
                (0.5 + cup * 0.5, seat + 0.07),
                (0.5 - cup * 0.5, seat + 0.07),
            ],
            accent,
        )
    else:  # a block on feet
        art.rectangle(0.5 - wide, FLOOR - 0.14, 0.5 + wide, FLOOR - 0.03, accent, radius=0.02)
        for side in (-1, 1):
            x = 0.5 + side * (wide - 0.06)
            art.rectangle(x - 0.05, FLOOR - 0.06, x + 0.05, FLOOR, dark)
        seat = FLOOR - 0.13
        half += 0.03

    flame = style.number("flame", 0.20, 0.25)
    fat = flame * style.number("flame width", 0.34, 0.42)
    top = 0.04 + flame + style.number("shortness", 0.06, 0.18 if holder != 1 else 0.08)
    body = Canvas()
    body.rectangle(0.5 - half, top, 0.5 + half, seat, main, radius=0.02)
    style.paint(art, body)
    if style.chance("drips", 0.65):
        wax = lighter(main, 0.45) if luma(main) < 0.8 else darker(main, 0.15)
        art.rectangle(0.5 - half - 0.015, top - 0.01, 0.5 + half + 0.015, top + 0.06, wax, radius=0.03)
        for k in range(style.count("runs", 1, 3)):
            x = 0.5 + half * style.number(f"run {k}", -0.8, 0.8)
            art.rectangle(x - 0.03, top, x + 0.03, top + style.number(f"run length {k}", 0.10, 0.24), wax, radius=0.03)
    else:
        art.ellipse(0.5, top + 0.005, half, 0.03, contrast(main, 0.25))
    outlined(canvas, art, edge_of(mix(main, accent, 0.3)))

    # The flame has an outline of its own: it glows whatever the colour of the wax.
    tip = top - 0.03 - flame
    canvas.line([(0.5, top), (0.5, top - 0.06)], INK, 0.03)
    for scale, color in ((1.22, (196, 70, 20)), (1.0, (255, 160, 30)), (0.55, (255, 240, 130))):
        low = top - 0.035 + (scale - 1) * 0.1
        w, h = fat * scale, flame * scale
        lean = 0.5 + style.number("lean", -0.03, 0.03)
        drop = [(0.5, low), (0.5 - w, low - h * 0.30), (0.5 - w * 0.45, low - h * 0.66), (lean, max(0.01, low - h))]
        drop += [(0.5 + w * 0.45, low - h * 0.66), (0.5 + w, low - h * 0.30)]
        canvas.polygon(smooth(drop), color)
    canvas.line([(0.5, tip + flame + 0.02), (0.5, tip + flame - 0.03)], INK, 0.025)


GOODS: dict[str, Callable[[Canvas, Style], None]] = {
    "backpack": backpack,
    "sneaker": sneaker,
    "clock": clock,
    "candle": candle,
}
