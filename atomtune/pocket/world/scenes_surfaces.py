"""Scenes that are told by what the thing lies on: cloth, floors, rugs, glass, water, milk; and the plain studio."""

import colorsys
import math
import random

from .canvas import Canvas, Color, Point, darker, lighter, mix
from .scenery import Scene, below, planks, spread, trunk, vary, wave


def _pink_fabric(canvas: Canvas, rng: random.Random) -> None:
    pink = vary((250, 140, 184), rng, 8)
    canvas.gradient(pink, lighter(pink, 0.12))
    slant, bend = rng.choice((-1, 1)) * rng.uniform(0.25, 0.5), rng.uniform(0.03, 0.06)
    for at in spread(rng, 6, -0.4, 1.4):  # folds: a bright ridge beside a dark valley
        phase, wide = rng.random(), rng.uniform(0.05, 0.085)
        for shift, color, share in ((0.0, darker(pink, 0.2), 1.0), (-0.75 * wide, lighter(pink, 0.5), 0.6)):
            left: list[Point] = []
            right: list[Point] = []
            for i in range(13):
                y = i / 12
                x = at + shift + slant * (y - 0.5) + bend * math.sin(2 * math.pi * (0.8 * y + phase))
                half = 0.5 * wide * share * (0.35 + 0.65 * math.sin(math.pi * (0.1 + 0.8 * y)))
                left.append((x - half, y))
                right.append((x + half, y))
            canvas.polygon(left + right[::-1], color)
    y = rng.uniform(0.93, 0.96)  # the hem with its stitches
    below(canvas, wave(y - 0.03, 0.01, 1.5, phase := rng.random()), darker(pink, 0.3))
    below(canvas, wave(y - 0.02, 0.01, 1.5, phase), lighter(pink, 0.25))
    for i in range(11):
        canvas.rectangle(i * 0.1 + 0.02, y + 0.015, i * 0.1 + 0.07, y + 0.028, (255, 250, 252))


def _wooden_floor(canvas: Canvas, rng: random.Random) -> None:
    wall = vary(rng.choice(((214, 226, 206), (206, 220, 232), (240, 226, 196), (228, 210, 210))), rng, 6)
    floor = rng.uniform(0.48, 0.56)
    canvas.gradient(wall, darker(wall, 0.06), 0, floor)
    side = rng.choice((0, 1))
    x = abs(side - rng.uniform(0.17, 0.24))
    canvas.rectangle(x - 0.15, 0.05, x + 0.15, 0.37, (252, 252, 250))
    canvas.rectangle(x - 0.125, 0.075, x + 0.125, 0.345, (150, 208, 242))
    canvas.rectangle(x - 0.011, 0.05, x + 0.011, 0.37, (252, 252, 250))
    canvas.rectangle(x - 0.15, 0.2, x + 0.15, 0.22, (252, 252, 250))
    planks(canvas, rng, floor, vary((198, 128, 66), rng, 10))
    canvas.rectangle(0, floor - 0.045, 1, floor, (250, 248, 244))
    canvas.rectangle(0, floor, 1, floor + 0.012, (112, 70, 38))


def _rug_in_forest(canvas: Canvas, rng: random.Random) -> None:
    air = vary((176, 210, 130), rng, 8)
    horizon = rng.uniform(0.58, 0.64)
    canvas.gradient(air, lighter(air, 0.35), 0, horizon)
    for x in spread(rng, 9):
        trunk(canvas, x, 0.014, 0, horizon + 0.02, (132, 138, 92))
    canvas.rectangle(0, horizon, 1, 1, vary((84, 120, 52), rng, 8))
    for x in (*spread(rng, 2, -0.03, 0.25), rng.uniform(0.4, 0.6), *spread(rng, 2, 0.75, 1.03)):
        trunk(canvas, x, rng.uniform(0.032, 0.045), 0, horizon + rng.uniform(0.05, 0.12), vary((112, 74, 46), rng, 8))
    for x in spread(rng, 11, -0.05, 1.05):
        canvas.ellipse(x, rng.uniform(-0.02, 0.07), 0.1, 0.09, vary((52, 126, 54), rng, 18))
    purple = vary((134, 56, 176), rng, 10)
    y, rx, ry = 0.86, rng.uniform(0.47, 0.5), rng.uniform(0.125, 0.14)
    for i in range(44):  # fringe
        angle = 2 * math.pi * i / 44
        canvas.line(
            [(0.5, y), (0.5 + 1.06 * rx * math.cos(angle), y + 1.1 * ry * math.sin(angle))], lighter(purple, 0.5), 0.014
        )
    canvas.ellipse(0.5, y, rx, ry, purple)
    canvas.ellipse(0.5, y, 0.87 * rx, 0.83 * ry, lighter(purple, 0.5))
    canvas.ellipse(0.5, y, 0.80 * rx, 0.74 * ry, darker(purple, 0.12))


def _water(canvas: Canvas, rng: random.Random) -> None:
    sky = vary((166, 220, 250), rng, 8)
    horizon = rng.uniform(0.24, 0.34)
    canvas.gradient(sky, lighter(sky, 0.55), 0, horizon)
    deep = vary((20, 98, 190), rng, 10)
    canvas.gradient(deep, mix(deep, (50, 170, 226), 0.75), horizon, 1)
    for y in spread(rng, 8, horizon + 0.03, 0.99):  # short bright crests, larger when nearer
        near = (y - horizon) / (1 - horizon)
        for x in spread(rng, 4, -0.1, 1.1):
            half = 0.03 + 0.06 * near
            canvas.arc(x, y, half, 0.012 + 0.018 * near, 200, 340, (150, 216, 248), 0.010 + 0.006 * near)
    y = 0.82
    light = mix(deep, (120, 206, 246), 0.8)
    for rx, color in ((0.49, light), (0.455, deep), (0.41, light), (0.375, mix(deep, (10, 40, 110), 0.35))):  # rings
        canvas.ellipse(0.5, y, rx, 0.24 * rx, color)


def _water_front(canvas: Canvas, rng: random.Random) -> None:
    phase = rng.random()
    below(canvas, wave(0.795, 0.010, 3, phase), (226, 246, 255))
    below(canvas, wave(0.810, 0.010, 3, phase), vary((40, 142, 214), rng, 6))
    for y in (0.86, 0.93):
        for x in spread(rng, 4, -0.1, 1.1):
            canvas.arc(x, y, 0.09, 0.028, 200, 340, (164, 222, 250), 0.014)


_CREAM = (255, 252, 244)
_CREAM_SHADE = (224, 206, 182)


def _crests(y: float, height: float, waves: float, phase: float) -> list[Point]:
    """Points of a line of waves with pointed crests that lean to the right."""
    points = []
    for i in range(65):
        x = i / 64
        u = (waves * x + phase) % 1.0
        lift = (u / 0.7) ** 2.2 if u < 0.7 else ((1.0 - u) / 0.3) ** 1.6
        points.append((x, y - height * lift))
    return points


def _milk(canvas: Canvas, rng: random.Random) -> None:
    sky = vary(rng.choice(((248, 178, 128), (244, 160, 146), (250, 198, 116))), rng, 6)
    horizon = rng.uniform(0.40, 0.46)
    canvas.gradient(sky, lighter(sky, 0.3), 0, horizon + 0.05)
    canvas.gradient(_CREAM, _CREAM, horizon, 1)
    for side in (0, 1):  # splashes at both sides: tongues of milk and the drops that fly off them
        for out, rise in ((0.03, 0.16), (0.10, 0.26), (0.17, 0.15)):
            foot, tip = abs(side - out), abs(side - out - rng.uniform(-0.02, 0.02))
            top, r = horizon - rise * rng.uniform(0.75, 1.1), rng.uniform(0.018, 0.028)
            canvas.polygon([(foot - 0.05, horizon + 0.04), (tip, top), (foot + 0.05, horizon + 0.04)], _CREAM)
            canvas.ellipse(tip, top, 0.024, 0.028, _CREAM)
            y = top - rng.uniform(0.08, 0.14)
            canvas.ellipse(tip, y, r, 1.2 * r, _CREAM)
    for k, height in enumerate((0.07, 0.09, 0.10)):
        line = _crests(horizon + 0.08 + 0.15 * k, height, (4.4, 3.2, 2.4)[k] + rng.uniform(-0.2, 0.2), rng.random())
        below(canvas, [(x, y - 0.016) for x, y in line], _CREAM_SHADE)
        below(canvas, line, _CREAM)
        below(canvas, [(x, y + 0.05 + 0.01 * k) for x, y in line], (249, 241, 226))


def _milk_front(canvas: Canvas, rng: random.Random) -> None:
    phase = rng.random()
    below(canvas, wave(0.79, 0.014, 2.5, phase), _CREAM_SHADE)
    below(canvas, wave(0.805, 0.014, 2.5, phase), _CREAM)
    below(canvas, _crests(0.92, 0.03, 3.0, rng.random()), (244, 234, 218))
    below(canvas, _crests(0.98, 0.03, 2.4, rng.random()), _CREAM)


def _mirror(canvas: Canvas, rng: random.Random) -> None:
    wall = vary(rng.choice(((112, 54, 74), (48, 84, 82), (84, 68, 104))), rng, 8)
    gold, far = vary((226, 178, 66), rng, 8), rng.uniform(0.44, 0.5)
    canvas.gradient(lighter(wall, 0.15), wall, 0, far)
    canvas.rectangle(0, far - 0.07, 1, 1, darker(wall, 0.45))
    canvas.rectangle(0, far - 0.09, 1, far - 0.07, lighter(wall, 0.4))
    edge, near = rng.uniform(0.15, 0.2), 0.985
    corners = [(edge, far), (1 - edge, far), (0.99, near), (0.01, near)]
    canvas.polygon([(x, y + 0.02) for x, y in corners], darker(gold, 0.5))
    canvas.polygon(corners, gold)
    x0, x1, y0, y1 = edge + 0.035, 0.055, far + 0.035, near - 0.05
    glass = vary((182, 210, 226), rng, 6)
    canvas.polygon([(x0, y0), (1 - x0, y0), (1 - x1, y1), (x1, y1)], glass)

    def at(across: float, down: float) -> Point:
        inset = x0 + (x1 - x0) * down
        return (inset + (1 - 2 * inset) * across, y0 + (y1 - y0) * down)

    def glint(start: float, wide: float, color: Color) -> None:
        canvas.polygon(
            [at(start + 0.12, 0), at(start + 0.12 + wide, 0), at(start - 0.12 + wide, 1), at(start - 0.12, 1)], color
        )

    shift = rng.uniform(-0.02, 0.04)
    for start, wide in ((0.12, 0.09), (0.25, 0.03), (0.45, 0.05), (0.72, 0.04), (0.79, 0.07)):
        glint(start + shift, wide, (246, 252, 255))
    for x, y in ((rng.uniform(0.1, 0.2), 0.62), (rng.uniform(0.84, 0.9), 0.72), (rng.uniform(0.86, 0.92), 0.93)):
        for long, thin in ((0.05, 0.011), (0.011, 0.05)):
            canvas.polygon([(x - long, y), (x, y - thin), (x + long, y), (x, y + thin)], (255, 255, 255))


def _white_rug(canvas: Canvas, rng: random.Random) -> None:
    wall = vary(rng.choice(((58, 66, 84), (70, 60, 66), (54, 74, 74))), rng, 6)
    floor = rng.uniform(0.46, 0.54)
    canvas.gradient(wall, lighter(wall, 0.1), 0, floor)
    planks(canvas, rng, floor, vary((88, 58, 42), rng, 6))
    canvas.rectangle(0, floor - 0.04, 1, floor, darker(wall, 0.45))
    y, rx, ry, n = 0.83, rng.uniform(0.41, 0.44), rng.uniform(0.125, 0.14), 26
    turn = rng.random()
    for dy, color in ((0.02, (198, 196, 200)), (0.0, (252, 251, 248))):  # fluffy rim
        for i in range(n):
            angle = turn + 2 * math.pi * i / n
            canvas.ellipse(0.5 + rx * math.cos(angle), y + dy + ry * math.sin(angle), 0.05, 0.036, color)
        canvas.ellipse(0.5, y + dy, rx, ry, color)
    for _ in range(14):  # tufts
        angle, out = rng.uniform(0, 2 * math.pi), rng.uniform(0.6, 1.0)
        canvas.arc(
            0.5 + out * rx * math.cos(angle),
            y + out * ry * math.sin(angle),
            0.035,
            0.02,
            20,
            160,
            (206, 204, 208),
            0.012,
        )


def _studio(canvas: Canvas, rng: random.Random) -> None:
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.06, 0.34), rng.uniform(0.72, 0.96))
    tone = (round(red * 255), round(green * 255), round(blue * 255))
    floor = rng.uniform(0.62, 0.74)
    canvas.gradient(darker(tone, 0.08), lighter(tone, 0.25), 0, floor)
    canvas.gradient(darker(tone, 0.18), lighter(tone, 0.05), floor, 1)
    canvas.ellipse(0.5, 0.89, 0.34, 0.05, darker(tone, 0.24))


SURFACES = (
    Scene("on top of pink fabric", _pink_fabric),
    Scene("on top of a wooden floor", _wooden_floor),
    Scene("on top of a purple rug in a forest", _rug_in_forest, None, (0.83, 0.91)),
    Scene("floating on top of water", _water, _water_front, (0.82, 0.88)),
    Scene("floating in an ocean of milk", _milk, _milk_front, (0.82, 0.88)),
    Scene("on top of a mirror", _mirror, None, (0.80, 0.89)),
    Scene("on top of a white rug", _white_rug, None, (0.80, 0.88)),
    Scene("", _studio, None, (0.84, 0.92)),
)
