"""Scenes in town and on the road: streets and buildings."""

import random

from .canvas import Canvas, Color, darker, lighter
from .scenery import Scene, below, blades, clouds, person, spread, vary, wave


def _facades(canvas: Canvas, rng: random.Random, foot: float, colors: tuple[Color, ...]) -> None:
    """A row of old houses that share their walls, with shutters at the windows."""
    x = rng.uniform(-0.15, 0.0)
    while x < 1.0:
        wide, top, color = rng.uniform(0.24, 0.32), rng.uniform(0.02, 0.14), vary(rng.choice(colors), rng, 8)
        roof = vary((176, 78, 54), rng, 12)
        canvas.rectangle(x, top + 0.08, x + wide, foot, color)
        canvas.polygon([(x - 0.01, top + 0.11), (x + wide / 2, top - 0.06), (x + wide + 0.01, top + 0.11)], roof)
        for y in (top + 0.16, top + 0.33):
            for left in (x + 0.2 * wide, x + 0.62 * wide):
                canvas.rectangle(left - 0.02, y, left + 0.18 * wide + 0.02, y + 0.1, (72, 104, 92))
                canvas.rectangle(left, y, left + 0.18 * wide, y + 0.1, (52, 62, 84))
        x += wide


def _cobblestone(canvas: Canvas, rng: random.Random) -> None:
    canvas.gradient((176, 208, 230), (226, 232, 232), 0, 0.6)
    top = rng.uniform(0.46, 0.54)
    _facades(canvas, rng, top, ((238, 206, 150), (226, 170, 122), (240, 226, 196), (206, 150, 120)))
    stone = vary((142, 140, 146), rng)
    canvas.rectangle(0, top, 1, 1, darker(stone, 0.55))
    y, row, tall = top + 0.008, 0, 0.045
    while y < 1.0:
        wide = 1.75 * tall
        x = -wide * (0.5 if row % 2 else 0.05) - rng.uniform(0, 0.02)
        while x < 1.0:
            shade = vary(stone, rng, 20)
            canvas.rectangle(x, y, x + wide - 0.014, y + tall - 0.011, shade, 0.3 * tall)
            canvas.rectangle(
                x + 0.2 * wide, y + 0.12 * tall, x + 0.6 * wide, y + 0.36 * tall, lighter(shade, 0.3), 0.1 * tall
            )
            x += wide
        y, row, tall = y + tall, row + 1, tall * 1.16


def _city(canvas: Canvas, rng: random.Random) -> None:
    top, low, tower, light = rng.choice(
        (
            ((96, 120, 190), (250, 196, 160), (66, 70, 112), (255, 220, 120)),
            ((110, 176, 232), (214, 234, 246), (84, 104, 136), (196, 226, 246)),
            ((30, 34, 78), (120, 84, 140), (38, 40, 74), (255, 214, 96)),
        )
    )
    canvas.gradient(top, low, 0, 0.75)
    ground = rng.uniform(0.68, 0.74)
    for x in spread(rng, 7, -0.05, 1.05):
        canvas.rectangle(x - 0.07, rng.uniform(0.2, 0.4), x + 0.07, ground, lighter(tower, 0.35))
    x = rng.uniform(-0.1, 0.0)
    while x < 1.0:
        wide, color = rng.uniform(0.11, 0.17), vary(tower, rng, 12)
        roof = rng.uniform(0.05, 0.3)
        canvas.rectangle(x, roof, x + wide - 0.012, ground, color)
        shape = rng.random()
        if shape < 0.3:
            canvas.line([(x + wide / 2, roof), (x + wide / 2, roof - 0.1)], color, 0.014)
        elif shape < 0.55:
            canvas.polygon([(x, roof), (x + wide - 0.012, roof - 0.07), (x + wide - 0.012, roof)], color)
        y = roof + 0.035
        while y < ground - 0.04:
            for i in range(3):
                if rng.random() < 0.75:
                    left = x + 0.016 + i * (wide - 0.03) / 3
                    canvas.rectangle(left, y, left + 0.02, y + 0.026, light)
            y += 0.058
        x += wide
    canvas.rectangle(0, ground, 1, 1, vary((120, 122, 132), rng))
    canvas.rectangle(0, ground, 1, ground + 0.02, (186, 188, 194))
    canvas.rectangle(0, 0.9, 1, 1, vary((92, 94, 104), rng, 6))
    shift = rng.uniform(0, 0.25)
    for i in range(-1, 5):
        canvas.rectangle(i * 0.25 + shift, 0.945, i * 0.25 + shift + 0.13, 0.965, (244, 240, 226))


def _blue_house(canvas: Canvas, rng: random.Random) -> None:
    sky = vary((196, 228, 244), rng, 6)
    canvas.gradient(sky, lighter(sky, 0.6), 0, 0.8)
    middle = 0.5 + rng.choice((-1, 1)) * rng.uniform(0.03, 0.12)
    half, eaves, foot = rng.uniform(0.41, 0.46), rng.uniform(0.24, 0.29), rng.uniform(0.70, 0.76)
    wall, roof = vary((36, 96, 214), rng, 12), vary(rng.choice(((178, 60, 48), (92, 78, 84), (150, 84, 56))), rng, 8)
    white = (250, 250, 246)
    left, right = middle - half, middle + half
    chimney = middle + rng.choice((-1, 1)) * 0.22
    canvas.rectangle(chimney - 0.04, 0.02, chimney + 0.04, eaves, (150, 80, 64))
    canvas.rectangle(left, eaves, right, foot, wall)
    for i in range(1, 8):
        y = eaves + i * (foot - eaves) / 8
        canvas.rectangle(left, y, right, y + 0.007, darker(wall, 0.2))
    canvas.polygon(
        [(left - 0.06, eaves + 0.02), (middle - 0.24, 0.05), (middle + 0.24, 0.05), (right + 0.06, eaves + 0.02)], roof
    )
    canvas.rectangle(left - 0.06, eaves, right + 0.06, eaves + 0.025, white)
    for x in (left + 0.11, middle - 0.12, middle + 0.12, right - 0.11):
        for y in (eaves + 0.07, eaves + 0.27):
            canvas.rectangle(x - 0.065, y, x + 0.065, y + 0.14, white)
            canvas.rectangle(x - 0.047, y + 0.018, x + 0.047, y + 0.122, (178, 218, 240))
            canvas.rectangle(x - 0.007, y, x + 0.007, y + 0.14, white)
    canvas.polygon([(middle - 0.1, 0.2), (middle, 0.06), (middle + 0.1, 0.2)], wall)
    canvas.ellipse(middle, 0.15, 0.03, 0.03, white)
    lawn = vary((106, 178, 76), rng)
    for x in (*spread(rng, 2, -0.02, 0.22), *spread(rng, 2, 0.78, 1.02)):
        canvas.ellipse(x, foot, 0.09, 0.07, vary((52, 128, 60), rng))
    canvas.rectangle(0, foot, 1, 1, lawn)
    canvas.polygon([(middle - 0.08, foot), (middle + 0.08, foot), (0.72, 1), (0.28, 1)], vary((216, 206, 188), rng, 6))


def _eiffel_tower(canvas: Canvas, rng: random.Random) -> None:
    sky = rng.choice(((150, 200, 240), (246, 196, 180), (190, 196, 236), (250, 220, 170)))
    canvas.gradient(vary(sky, rng, 6), lighter(sky, 0.6), 0, 0.8)
    clouds(canvas, rng, 2, 0.12, 0.34)
    ground = rng.uniform(0.70, 0.75)
    for x in spread(rng, 12):
        canvas.ellipse(x, ground - 0.01, 0.06, rng.uniform(0.05, 0.08), vary((58, 116, 70), rng))
    x = 0.5 + rng.choice((-1, 1)) * rng.uniform(0.29, 0.33)
    iron, top = vary((112, 78, 58), rng, 8), rng.uniform(0.02, 0.05)
    high = ground - top
    widths = (
        (0.0, 0.004),
        (0.07, 0.008),
        (0.10, 0.020),
        (0.3, 0.030),
        (0.5, 0.052),
        (0.66, 0.078),
        (0.8, 0.125),
        (1.0, 0.21),
    )
    right = [(x + half, top + at * high) for at, half in widths]
    left = [(x - half, top + at * high) for at, half in reversed(widths)]
    canvas.polygon([*right, *left], iron)
    gap = lighter(sky, 0.5)
    canvas.pie(x, ground, 0.115, 0.17 * high, 180, 360, gap)
    canvas.polygon([(x, top + 0.53 * high), (x + 0.028, top + 0.66 * high), (x - 0.028, top + 0.66 * high)], gap)
    for at in (0.24, 0.33, 0.42):  # lattice
        canvas.polygon(
            [(x, top + at * high), (x + 0.014, top + (at + 0.05) * high), (x - 0.014, top + (at + 0.05) * high)], gap
        )
    for at, half in ((0.11, 0.032), (0.48, 0.07), (0.70, 0.125)):  # platforms
        canvas.rectangle(x - half, top + at * high, x + half, top + (at + 0.032) * high, darker(iron, 0.25))
    lawn = vary((126, 186, 92), rng)
    canvas.rectangle(0, ground, 1, 1, lawn)
    canvas.rectangle(0, ground, 1, ground + 0.03, (222, 208, 172))
    canvas.polygon([(0.3, ground), (0.7, ground), (0.95, 1), (0.05, 1)], (226, 214, 182))


def _crowded_street(canvas: Canvas, rng: random.Random) -> None:
    top = rng.uniform(0.54, 0.6)
    x = rng.uniform(-0.2, 0.0)
    while x < 1.0:  # shops with striped awnings
        wide, awning = rng.uniform(0.3, 0.4), rng.choice(((210, 60, 56), (44, 130, 96), (50, 96, 180), (236, 150, 40)))
        wall = vary(rng.choice(((206, 176, 148), (182, 132, 112), (190, 192, 200), (222, 208, 178))), rng, 8)
        canvas.rectangle(x, 0, x + wide, top, wall)
        canvas.rectangle(x + 0.03, 0.2, x + wide - 0.03, top, (74, 84, 104))
        canvas.rectangle(x + 0.02, 0.02, x + wide - 0.02, 0.09, darker(awning, 0.35))
        for i in range(6):
            left = x + i * wide / 6
            canvas.polygon(
                [(left, 0.12), (left + wide / 6, 0.12), (left + wide / 6, 0.24), (left, 0.24)],
                awning if i % 2 else (252, 248, 240),
            )
        x += wide
    slab = vary((176, 176, 182), rng, 8)
    canvas.rectangle(0, top, 1, 1, slab)
    seam = darker(slab, 0.35)
    for y in (top + 0.06, top + 0.16, top + 0.3):
        canvas.line([(0, y), (1, y)], seam, 0.01)
    for i in range(-4, 6):
        canvas.line([(0.5 + (i - 0.5) * 0.16, top), (0.5 + (i - 0.5) * 0.3, 1)], seam, 0.01)
    for x in spread(rng, 9, -0.02, 1.02):
        person(canvas, x, top + rng.uniform(0.03, 0.06), rng.uniform(0.34, 0.4), rng)
    for low, high in ((0.0, 0.2), (0.8, 1.0)):
        for i, x in enumerate(spread(rng, 2, low, high)):
            person(canvas, x, top + 0.12 + 0.08 * i + rng.uniform(0, 0.03), rng.uniform(0.44, 0.5), rng)


def _dirt_road(canvas: Canvas, rng: random.Random) -> None:
    sky = vary((150, 204, 232), rng)
    horizon = rng.uniform(0.30, 0.37)
    canvas.gradient(sky, lighter(sky, 0.65), 0, horizon)
    below(canvas, wave(horizon - 0.03, 0.025, 1.2, rng.random()), vary((126, 142, 92), rng, 8))
    grass = vary((164, 168, 82), rng, 8)
    canvas.gradient(darker(grass, 0.1), grass, horizon, 1)
    side = rng.choice((0, 1))
    end, earth = abs(side - rng.uniform(0.12, 0.24)), vary((150, 96, 58), rng, 8)
    canvas.polygon([(end - 0.05, horizon), (end + 0.05, horizon), (1.04, 1), (-0.04, 1)], earth)
    for near in (0.2, 0.8):  # ruts
        far = end + (near - 0.5) * 0.09
        canvas.polygon(
            [(far - 0.003, horizon), (far + 0.003, horizon), (near + 0.07, 1), (near - 0.07, 1)], darker(earth, 0.3)
        )
    for x in spread(rng, 8, 0.05, 0.95):
        r = rng.uniform(0.008, 0.016)
        canvas.ellipse(x, rng.uniform(0.88, 0.98), 1.4 * r, r, lighter(earth, 0.35))
    for beside in (-1, 1):
        for y in (0.46, 0.58, 0.72):  # dry tufts beside the road
            half = 0.05 + (y - horizon) / (1 - horizon) * 0.5
            middle = end + (y - horizon) / (1 - horizon) * (0.5 - end)
            x = middle + (half + 0.05) * beside + rng.uniform(-0.02, 0.02)
            for lean in (-0.05, -0.02, 0.02, 0.05):
                canvas.polygon([(x - 0.02, y), (x + lean, y - 0.1), (x + 0.02, y)], vary((206, 186, 92), rng, 12))
    wood = (104, 80, 60)
    posts = [
        (abs(1 - side - out), y, tall) for out, y, tall in ((0.02, 0.66, 0.2), (0.13, 0.52, 0.14), (0.21, 0.44, 0.10))
    ]
    for rise in (0.8, 0.4):
        canvas.line([(x, y - rise * tall) for x, y, tall in posts], wood, 0.014)
    for x, y, tall in posts:
        canvas.rectangle(x - 0.1 * tall, y - tall, x + 0.1 * tall, y, wood)


def _dirt_road_front(canvas: Canvas, rng: random.Random) -> None:
    for y in (0.99, 1.0):
        blades(canvas, rng, 3, y, 0.05, ((190, 176, 84), (150, 150, 70)))


PLACES = (
    Scene("on a cobblestone street", _cobblestone),
    Scene("with a city in the background", _city, None, (0.80, 0.90)),
    Scene("with a blue house in the background", _blue_house),
    Scene("with the Eiffel Tower in the background", _eiffel_tower),
    Scene("on top of the sidewalk in a crowded street", _crowded_street, None, (0.82, 0.92)),
    Scene("on top of a dirt road", _dirt_road, _dirt_road_front, (0.80, 0.92)),
)
