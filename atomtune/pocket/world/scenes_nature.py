"""Scenes out of doors where plants, weather or the land make the place."""

import math
import random

from .canvas import Canvas, darker, lighter, mix
from .scenery import Scene, below, blades, clouds, fir, leaf, spread, sunflower, trunk, vary, wave


def _jungle(canvas: Canvas, rng: random.Random) -> None:
    deep = vary((18, 78, 44), rng)
    canvas.gradient(lighter(deep, 0.22), darker(deep, 0.35))
    for x in spread(rng, 4, -0.05, 1.05):
        trunk(canvas, x, rng.uniform(0.02, 0.035), 0, 0.85, vary((64, 48, 30), rng, 8))
    ground = rng.uniform(0.70, 0.76)
    below(canvas, wave(ground, 0.02, 2, rng.random()), vary((38, 62, 24), rng, 6))
    greens = ((44, 140, 60), (92, 178, 62), (26, 110, 62), (140, 200, 70))
    for x in spread(rng, 3):  # lianas
        low = rng.uniform(0.22, 0.5)
        canvas.arc(x, 0, rng.uniform(0.06, 0.14), low, 0, 180, (84, 120, 40), 0.016)
    for x in spread(rng, 6, -0.05, 1.05):  # leaves hanging from the top
        for turn in (-0.7, 0.0, 0.7):
            leaf(canvas, x, -0.04, math.pi / 2 + turn, rng.uniform(0.2, 0.3), 0.08, rng.choice(greens))
    for side in (0.0, 1.0):  # great fans of leaves at both sides
        for _ in range(2):
            y, color = rng.uniform(0.4, 0.95), rng.choice(greens)
            lean = 0.0 if side == 0.0 else math.pi
            for turn in (-1.2, -0.75, -0.3, 0.15, 0.6):
                bend = turn if side == 0.0 else -turn
                leaf(canvas, side, y, lean + bend, rng.uniform(0.22, 0.3), 0.09, vary(color, rng, 12))
        bloom = rng.choice(((240, 60, 70), (255, 140, 30), (240, 70, 170)))
        x, y = abs(side - rng.uniform(0.05, 0.13)), rng.uniform(0.3, 0.8)
        for i in range(5):
            leaf(canvas, x, y, i * 2 * math.pi / 5, 0.065, 0.05, bloom)
        canvas.ellipse(x, y, 0.018, 0.018, (255, 226, 90))


def _jungle_front(canvas: Canvas, rng: random.Random) -> None:
    for side in (0.0, 1.0):
        for turn in (0.1, 0.45, 0.8, 1.15):
            angle = -turn if side == 0.0 else math.pi + turn
            leaf(canvas, side, 1.02, angle, rng.uniform(0.22, 0.32), 0.085, vary((62, 160, 60), rng, 22))
    blades(canvas, rng, 14, 1.0, 0.07, ((44, 128, 52), (96, 176, 60)))


def _snow(canvas: Canvas, rng: random.Random) -> None:
    sky = vary((132, 172, 214), rng)
    canvas.gradient(sky, lighter(sky, 0.55), 0, 0.75)
    horizon = rng.uniform(0.50, 0.62)
    below(canvas, wave(horizon, 0.04, 1, rng.random()), (222, 234, 248))
    for x in (*spread(rng, 2, -0.05, 0.24), *spread(rng, 2, 0.76, 1.05)):
        fir(canvas, x, horizon + rng.uniform(0.06, 0.16), rng.uniform(0.42, 0.62), vary((38, 92, 84), rng), snow=True)
    below(canvas, wave(horizon + 0.14, 0.025, 1.3, rng.random()), (248, 251, 255))
    below(canvas, wave(0.93, 0.02, 1.2, rng.random()), (226, 236, 250))
    for y in spread(rng, 7, 0.0, 0.75):
        for x in spread(rng, 5):
            r = rng.uniform(0.008, 0.018)
            canvas.ellipse(x, y, r, r, (255, 255, 255))


def _snow_front(canvas: Canvas, rng: random.Random) -> None:
    below(canvas, wave(0.955, 0.015, 1.5, rng.random()), (252, 253, 255))


def _beach(canvas: Canvas, rng: random.Random) -> None:
    sky = vary((76, 176, 240), rng)
    horizon = rng.uniform(0.36, 0.46)
    canvas.gradient(sky, lighter(sky, 0.6), 0, horizon)
    side = rng.choice((0, 1))
    canvas.ellipse(abs(side - rng.uniform(0.74, 0.88)), rng.uniform(0.10, 0.18), 0.07, 0.07, (255, 236, 110))
    shore = horizon + rng.uniform(0.14, 0.2)
    canvas.gradient((24, 132, 190), (60, 208, 206), horizon, 1)
    below(canvas, wave(shore, 0.018, 1.5, phase := rng.random()), (250, 254, 255))
    below(canvas, wave(shore + 0.025, 0.018, 1.5, phase), vary((246, 216, 146), rng, 6))
    below(canvas, wave(0.86, 0.02, 1, rng.random()), vary((236, 200, 124), rng, 6))
    x, foot, crown = abs(side - rng.uniform(0.05, 0.10)), rng.uniform(0.74, 0.82), rng.uniform(0.17, 0.24)
    tip = abs(side - rng.uniform(0.15, 0.20))
    canvas.line([(x, foot), ((x * 2 + tip) / 3 - (0.02 - 0.04 * side), 0.5), (tip, crown)], (150, 104, 58), 0.04)
    for angle in (0.35, 1.05, 1.95, 2.8, -0.35, 3.5, -1.1, 4.2):
        leaf(canvas, tip, crown, angle, rng.uniform(0.2, 0.26), 0.06, vary((40, 146, 70), rng, 16))
    x, foot = abs(side - rng.uniform(0.86, 0.93)), rng.uniform(0.72, 0.8)
    color = rng.choice(((232, 60, 60), (250, 130, 40), (220, 60, 140)))
    canvas.line([(x, foot), (x, foot - 0.34)], (240, 236, 226), 0.016)
    for i in range(6):
        canvas.pie(x, foot - 0.22, 0.17, 0.16, 180 + 30 * i, 210 + 30 * i, color if i % 2 else (255, 250, 240))
    for x in (*spread(rng, 1, 0.02, 0.2), *spread(rng, 1, 0.8, 0.98)):  # starfish
        y, turn = rng.uniform(0.9, 0.95), rng.random()
        for i in range(5):
            leaf(canvas, x, y, turn + i * 2 * math.pi / 5, 0.045, 0.03, (234, 106, 66))


def _mountain(canvas: Canvas, rng: random.Random) -> None:
    sky = vary((120, 188, 240), rng)
    canvas.gradient(sky, lighter(sky, 0.6), 0, 0.75)
    clouds(canvas, rng, 2, 0.1, 0.25)
    side = rng.choice((-1, 1))
    rock = vary((104, 112, 140), rng)
    for x, top, half in (
        (0.5 + side * rng.uniform(0.36, 0.44), rng.uniform(0.24, 0.32), 0.36),
        (0.5 - side * rng.uniform(0.14, 0.26), rng.uniform(0.04, 0.09), 0.55),
    ):
        low = 0.70
        canvas.polygon([(x, top), (x + half, low), (x - half, low)], rock)
        canvas.polygon([(x, top), (x + half, low), (x + 0.08, low), (x + 0.03, top + 0.25)], darker(rock, 0.28))
        cap = 0.36 * (low - top)
        reach = 0.36 * half
        canvas.polygon(
            [(x, top), (x + reach, top + cap), (x + 0.55 * reach, top + 0.8 * cap), (x + 0.2 * reach, top + 1.15 * cap)]
            + [(x - 0.2 * reach, top + 0.75 * cap), (x - 0.55 * reach, top + 1.1 * cap), (x - reach, top + cap)],
            (252, 253, 255),
        )
        canvas.polygon([(x, top), (x + reach, top + cap), (x + 0.55 * reach, top + 0.8 * cap)], (206, 218, 238))
    green = vary((92, 166, 78), rng)
    for x in spread(rng, 11):
        fir(canvas, x, 0.72, rng.uniform(0.1, 0.16), vary((36, 96, 70), rng, 8))
    below(canvas, wave(rng.uniform(0.66, 0.70), 0.02, 1, rng.random()), green)
    below(canvas, wave(0.84, 0.025, 0.8, rng.random()), lighter(green, 0.16))


def _wheat(canvas: Canvas, rng: random.Random) -> None:
    sky = vary((70, 150, 226), rng)
    horizon = rng.uniform(0.36, 0.46)
    canvas.gradient(sky, lighter(sky, 0.6), 0, horizon)
    clouds(canvas, rng, 2, 0.1, 0.24)
    gold = vary((222, 166, 48), rng, 8)
    canvas.gradient(lighter(gold, 0.2), darker(gold, 0.15), horizon, 1)
    for x in spread(rng, 26):  # the far ears, close together
        leaf(canvas, x, horizon + 0.04, -math.pi / 2, rng.uniform(0.08, 0.12), 0.04, vary((240, 196, 84), rng, 10))
    for y in (horizon + 0.14, horizon + 0.26):
        blades(canvas, rng, 22, y, 0.09, (darker(gold, 0.18), lighter(gold, 0.25)))
    below(canvas, wave(0.84, 0.012, 3, rng.random()), mix(gold, (150, 104, 54), 0.6))
    for low, high in ((0.0, 0.25), (0.75, 1.0)):
        for x in spread(rng, 4, low, high):
            _ear(canvas, rng, x, rng.uniform(0.88, 1.0), rng.uniform(0.44, 0.66))


def _ear(canvas: Canvas, rng: random.Random, x: float, foot: float, height: float) -> None:
    stalk, grain = (150, 100, 24), vary((255, 218, 104), rng, 10)
    top, tip = foot - height, x + rng.uniform(-0.03, 0.03)
    canvas.line([(x, foot), (tip, top)], stalk, 0.014)
    for i in range(4):
        y = top + 0.046 * i + 0.03
        leaf(canvas, tip, y, -math.pi / 2 + 0.65, 0.07, 0.036, grain)
        leaf(canvas, tip, y, -math.pi / 2 - 0.65, 0.07, 0.036, darker(grain, 0.2))
    leaf(canvas, tip, top + 0.02, -math.pi / 2, 0.08, 0.036, grain)


def _wheat_front(canvas: Canvas, rng: random.Random) -> None:
    blades(canvas, rng, 26, 1.0, 0.08, ((232, 184, 60), (206, 150, 40), (250, 212, 100)))


_AUTUMN = ((226, 92, 28), (244, 146, 30), (200, 50, 34), (250, 190, 50), (176, 80, 30))


def _autumn(canvas: Canvas, rng: random.Random) -> None:
    sky = vary((238, 226, 200), rng, 6)
    canvas.gradient(mix(sky, (170, 204, 226), 0.7), sky, 0, 0.75)
    horizon = rng.uniform(0.62, 0.7)
    below(canvas, wave(horizon, 0.015, 1, rng.random()), vary((176, 132, 62), rng, 8))
    side = rng.choice((0, 1))
    x = abs(side - rng.uniform(0.12, 0.18))
    bark = (92, 60, 40)
    trunk(canvas, x, 0.045, 0.2, horizon + 0.1, bark)
    canvas.line([(x, 0.45), (abs(side - 0.36), 0.22)], bark, 0.035)
    canvas.line([(x, 0.4), (abs(side + 0.02), 0.24)], bark, 0.03)
    for _ in range(17):
        r = rng.uniform(0.07, 0.12)
        canvas.ellipse(
            x + rng.uniform(-0.26, 0.3 if side == 0 else 0.26), rng.uniform(-0.02, 0.27), r, r, rng.choice(_AUTUMN)
        )
    for y in spread(rng, 6, 0.12, 0.68):  # leaves in the air
        for x in (rng.uniform(0, 0.22), rng.uniform(0.3, 0.7), rng.uniform(0.78, 1.0)):
            leaf(canvas, x, y, rng.uniform(0, 6.3), 0.065, 0.042, rng.choice(_AUTUMN))
    for y in spread(rng, 8, horizon + 0.03, 1.02):  # leaves on the ground
        for x in spread(rng, 9):
            leaf(canvas, x, y, rng.uniform(-0.6, 0.6), 0.075, 0.04, rng.choice(_AUTUMN))


def _sunflowers(canvas: Canvas, rng: random.Random) -> None:
    sky = vary((132, 204, 246), rng)
    horizon = rng.uniform(0.34, 0.44)
    canvas.gradient(sky, lighter(sky, 0.5), 0, horizon)
    green = vary((84, 176, 58), rng)
    canvas.gradient(darker(green, 0.12), lighter(green, 0.1), horizon, 1)
    for y in spread(rng, 5, horizon, 0.95):
        blades(canvas, rng, 16, y, 0.05, (darker(green, 0.25), lighter(green, 0.2)))
    for x in spread(rng, 4, 0.25, 0.75):
        sunflower(canvas, x, horizon - rng.uniform(0.06, 0.16), 0.075, horizon + 0.06, rng)
    for low, high in ((0.0, 0.2), (0.8, 1.0)):
        for y in spread(rng, 3, 0.2, 0.86):
            sunflower(canvas, rng.uniform(low + 0.03, high - 0.03), y, rng.uniform(0.095, 0.13), y + 0.24, rng)


def _sunflowers_front(canvas: Canvas, rng: random.Random) -> None:
    blades(canvas, rng, 26, 1.0, 0.09, ((58, 150, 48), (104, 194, 66), (40, 120, 44)))
    for x in (*spread(rng, 1, 0.04, 0.2), *spread(rng, 1, 0.8, 0.96)):
        sunflower(canvas, x, rng.uniform(0.87, 0.92), 0.085, 1.0, rng)


NATURE = (
    Scene("in the jungle", _jungle, _jungle_front),
    Scene("in the snow", _snow, _snow_front, (0.82, 0.93)),
    Scene("on the beach", _beach),
    Scene("with a mountain in the background", _mountain),
    Scene("with a wheat field in the background", _wheat, _wheat_front, (0.84, 0.93)),
    Scene("with a tree and autumn leaves in the background", _autumn),
    Scene("on top of green grass with sunflowers around it", _sunflowers, _sunflowers_front, (0.82, 0.92)),
)
