"""Things that look alive: a dog, a fish and a robot, each facing left or towards the viewer."""

from collections.abc import Callable, Sequence

from .canvas import Canvas, Color, Point, darker, lighter, mix
from .parts import INK, edge_of, outlined
from .style import Style

WHITE: Color = (250, 250, 250)
FLOOR = 0.97
"""The height that every thing stands on."""


def luma(color: Color) -> float:
    """Perceived brightness of a colour, 0 to 1."""
    return (0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]) / 255


def contrast(color: Color, t: float = 0.45) -> Color:
    """A shade of the colour that stands out on it: darker, or lighter where the colour is nearly black."""
    return darker(color, t) if luma(color) > 0.3 else lighter(color, t)


def smooth(points: Sequence[Point], steps: int = 8) -> list[Point]:
    """The closed Catmull-Rom curve through the points, as a polygon."""
    n = len(points)
    curve = []
    for i in range(n):
        p0, p1, p2, p3 = (points[(i + k) % n] for k in (-1, 0, 1, 2))
        for step in range(steps):
            t = step / steps
            weights = (
                -0.5 * t + t * t - 0.5 * t**3,
                1 - 2.5 * t * t + 1.5 * t**3,
                0.5 * t + 2 * t * t - 1.5 * t**3,
                -0.5 * t * t + 0.5 * t**3,
            )
            x = sum(w * p[0] for w, p in zip(weights, (p0, p1, p2, p3), strict=True))
            y = sum(w * p[1] for w, p in zip(weights, (p0, p1, p2, p3), strict=True))
            curve.append((x, y))
    return curve


def dog(canvas: Canvas, style: Style) -> None:
    """A dog from the side, facing left."""
    art = Canvas()
    main, accent = style.main, style.accent
    shade = contrast(main, 0.3)
    leg = style.number("leg", 0.17, 0.32)
    thick = style.number("thick", 0.22, 0.32)
    limb = style.number("limb", 0.08, 0.12)
    r = style.number("head", 0.14, 0.185)
    snout = style.number("snout", 0.10, 0.17)
    rump = style.number("rump", 0.78, 0.86)
    belly, back = FLOOR - leg, FLOOR - leg - thick
    hx, hy = 0.04 + snout + r, max(back - style.number("neck", 0.05, 0.12), 0.11 + r)
    chest = hx - 0.02
    socks = style.chance("socks")

    def legs(xs: Sequence[float], fill: Color) -> None:
        for x in xs:
            art.rectangle(x, belly - 0.10, x + limb, FLOOR - 0.02, fill, radius=0.03)
            art.ellipse(x + limb * 0.35, FLOOR - 0.05, limb * 0.75, 0.032, accent if socks else fill)
            if socks:
                art.rectangle(x, FLOOR - 0.11, x + limb, FLOOR - 0.03, accent)

    legs((chest + 0.13, rump - limb - 0.11), shade)
    tail = style.count("tail", 0, 3)
    ty = back + 0.06
    if tail == 0:  # raised
        art.line([(rump - 0.05, ty), (rump + 0.04, ty - 0.10), (rump + 0.06, ty - 0.25)], main, 0.055)
    elif tail == 1:  # curled over the back
        art.arc(rump - 0.01, ty - 0.09, 0.11, 0.13, 180, 80, main, 0.055)
    elif tail == 2:  # bushy
        plume = [(rump - 0.05, ty + 0.05), (rump + 0.03, ty - 0.10), (rump + 0.08, ty - 0.26), (0.96, ty - 0.06)]
        art.polygon(smooth(plume), accent)
    else:  # hanging
        art.line([(rump - 0.05, ty), (rump + 0.06, ty + 0.05), (rump + 0.09, ty + 0.24)], main, 0.05)
    legs((chest + 0.015, rump - limb), main)

    body = Canvas()
    trunk = [
        (chest, back + 0.02),
        (chest + 0.20, back),
        (rump - 0.13, back + 0.005),
        (rump, back + thick * 0.4),
        (rump - 0.03, belly + 0.01),
        (rump - 0.20, belly - style.number("tuck", 0.0, 0.07)),
        (chest + 0.16, belly + 0.015),
        (chest, belly - 0.02),
        (chest - 0.03, back + thick * 0.5),
    ]
    body.polygon(smooth(trunk), main)
    body.polygon([(hx - 0.55 * r, hy), (hx + r, hy), (chest + 0.26, back + 0.06), (chest + 0.02, belly - 0.08)], main)
    style.paint(art, body)
    art.line([(hx - 0.35 * r, hy + r * 1.05), (hx + r * 1.05, hy + r * 0.55)], accent, 0.05)

    pale = lighter(main, 0.5) if luma(main) < 0.8 else darker(main, 0.14)
    ear_fill = accent if style.chance("coloured ears", 0.7) else contrast(main, 0.4)
    ears = style.count("ears", 0, 2)
    ear = style.number("ear", 0.8, 1.25)
    peak = max(0.04, hy - (0.9 + 0.7 * ear) * r)
    if ears == 0:  # the far one of two pointed ears
        art.polygon([(hx - 0.75 * r, hy - 0.5 * r), (hx - 0.4 * r, peak), (hx, hy - 0.7 * r)], shade)
    art.ellipse(hx, hy, r, r * 0.95, main)
    drop = hy + 0.28 * r
    art.rectangle(0.04, drop - 0.42 * r, hx, drop + 0.55 * r, pale, radius=0.4 * r)
    art.ellipse(0.075, drop - 0.25 * r, 0.045, 0.04, INK)
    if style.chance("tongue", 0.35):
        art.rectangle(0.12, drop + 0.35 * r, 0.18, drop + 0.95 * r, (236, 92, 110), radius=0.025)
    art.line([(0.08, drop + 0.3 * r), (hx - 0.5 * r, drop + 0.32 * r)], INK, 0.016)
    ex, ey = hx - 0.36 * r, hy - 0.38 * r
    art.ellipse(ex, ey, 0.042, 0.046, WHITE)
    art.ellipse(ex - 0.008, ey + 0.004, 0.028, 0.032, INK)
    if ears == 0:
        art.polygon([(hx - 0.05 * r, hy - 0.75 * r), (hx + 0.75 * r, peak), (hx + 0.95 * r, hy - 0.1 * r)], ear_fill)
    elif ears == 1:  # hanging
        flap = [(0.2, -0.85), (0.75, -0.95), (1.15, -0.2), (1.15, 0.75 * ear), (0.75, 1.0 * ear), (0.4, 0.4)]
        art.polygon(smooth([(hx + x * r, hy + y * r) for x, y in flap]), ear_fill)
    else:  # pricked and folded forward
        fold = [(0.0, -0.8), (0.75, -1.35), (1.0, -0.5), (0.5, -0.55), (-0.1, -0.25 * ear)]
        art.polygon([(hx + x * r, hy + y * r) for x, y in fold], ear_fill)
    outlined(canvas, art, edge_of(main))


def fish(canvas: Canvas, style: Style) -> None:
    """A fish from the side, facing left."""
    art = Canvas()
    main, accent = style.main, style.accent
    half = style.number("height", 0.17, 0.31)
    length = style.number("length", 0.60, 0.70)
    nose, end = 0.03, 0.03 + length
    fin = style.number("fin", 0.09, 0.16)
    under = style.number("under fin", 0.07, 0.12)
    spread = style.number("spread", 0.17, 0.28)
    y = FLOOR - max(half + under, spread + 0.01)
    mid = nose + length * style.number("girth at", 0.40, 0.50)
    dark = contrast(accent, 0.35)

    root = 0.055
    tails: tuple[list[Point], ...] = (
        [(end - 0.08, y - root), (0.97, y - spread), (0.88, y), (0.97, y + spread), (end - 0.08, y + root)],
        [(end - 0.08, y - root), (0.94, y - spread), (0.95, y + spread), (end - 0.08, y + root)],
        smooth(
            [(end - 0.1, y), (0.85, y - spread), (0.94, y - spread * 0.5), (0.94, y + spread * 0.5), (0.85, y + spread)]
        ),
    )
    art.polygon(tails[style.count("tail", 0, 2)], accent)
    for k in (-0.5, 0, 0.5):
        art.line([(end, y + k * 0.06), (0.89, y + k * spread)], dark, 0.014)

    top = y - half
    back = style.count("back fin", 0, 2)
    if back == 0:  # one triangle
        art.polygon([(mid - 0.16, top + 0.08), (mid + 0.10, top - fin), (mid + 0.17, top + 0.10)], accent)
    elif back == 1:  # a long sail
        sail = [
            (mid - 0.20, top + 0.10),
            (mid - 0.10, top - fin),
            (mid + 0.10, top - fin * 0.8),
            (mid + 0.24, top + 0.12),
        ]
        art.polygon(sail, accent)
    else:  # a row of spikes
        for i in range(4):
            x = mid - 0.19 + i * 0.10
            art.polygon([(x, top + 0.12), (x + 0.08, top - fin * (0.9 - 0.12 * i)), (x + 0.13, top + 0.12)], accent)
    art.polygon([(mid - 0.06, y + half - 0.06), (mid + 0.13, y + half + under), (mid + 0.14, y + half - 0.10)], accent)

    body = Canvas()
    outline = [
        (nose, y),
        (nose + (mid - nose) * 0.38, y - half * 0.74),
        (mid, y - half),
        (mid + (end - mid) * 0.6, y - half * 0.62),
        (end, y - 0.05),
        (end, y + 0.05),
        (mid + (end - mid) * 0.6, y + half * 0.62),
        (mid, y + half),
        (nose + (mid - nose) * 0.38, y + half * 0.74),
    ]
    body.polygon(smooth(outline), main)
    style.paint(art, body)
    # The head is plain so that the eye stands out of every pattern.
    gill = nose + length * 0.34
    head = Canvas()
    head.ellipse(nose - 0.02, y, gill - nose + 0.02, 0.6, main)
    art.overlay(head, clip=body)
    art.arc(nose - 0.02, y, gill - nose + 0.02, half * 1.1, -52, 52, contrast(main, 0.5), 0.022)
    ex, ey = nose + length * 0.19, y - half * 0.25
    eye = style.number("eye", 0.055, 0.075)
    art.ellipse(ex, ey, eye, eye, WHITE)
    art.ellipse(ex - 0.006, ey, eye * 0.55, eye * 0.55, INK)
    art.line([(nose + 0.015, y + half * 0.22), (nose + 0.10, y + half * 0.30)], contrast(main, 0.65), 0.022)
    wing = style.number("side fin", 0.09, 0.14)
    art.polygon([(gill + 0.05, y + 0.02), (gill + 0.07 + wing, y - 0.01), (gill + 0.04 + wing, y + wing)], dark)
    outlined(canvas, art, edge_of(main))


def robot(canvas: Canvas, style: Style) -> None:
    """A robot from the front."""
    art = Canvas()
    main, accent = style.main, style.accent
    steel = mix(darker(main, 0.2), (150, 156, 165), 0.7)
    head_w, head_h = style.number("head width", 0.17, 0.27), style.number("head height", 0.20, 0.27)
    waist = style.number("waist", 0.17, 0.26)
    body_h = style.number("body", 0.26, 0.34)
    leg = style.number("leg", 0.14, 0.20)
    hips = FLOOR - leg
    chest = hips - body_h
    chin = chest - 0.03
    crown = chin - head_h
    dark = contrast(main, 0.4)

    feelers = style.count("antennas", 0, 2)
    for side in ((0,), (-1, 1), (-1, 1))[feelers]:
        x, tip = 0.5 + side * head_w * 0.6, max(0.075, crown - 0.14)
        lean = side * 0.06 if feelers == 1 else 0.0
        art.line([(x, crown + 0.02), (x + lean, tip)], steel, 0.03)
        art.ellipse(x + lean, tip, 0.042, 0.042, accent)
    art.rectangle(0.44, chin - 0.03, 0.56, chest + 0.03, dark)

    stand = style.count("stand", 0, 2)
    if stand == 0:  # two legs
        for side in (-1, 1):
            x = 0.5 + side * waist * 0.55
            art.rectangle(x - 0.05, hips - 0.02, x + 0.05, FLOOR - 0.03, steel)
            art.rectangle(x - 0.09, FLOOR - 0.075, x + 0.09, FLOOR, accent, radius=0.03)
    elif stand == 1:  # a track
        art.rectangle(0.5 - waist - 0.05, hips, 0.5 + waist + 0.05, FLOOR, INK, radius=leg * 0.5)
        for k in (-1, 0, 1):
            art.ellipse(0.5 + k * waist * 0.75, (hips + FLOOR) / 2, 0.05, 0.05, accent)
    else:  # one wheel
        art.rectangle(0.45, hips - 0.02, 0.55, FLOOR - 0.08, steel)
        r = leg * 0.62
        art.ellipse(0.5, FLOOR - r, r, r, INK)
        art.ellipse(0.5, FLOOR - r, r * 0.5, r * 0.5, accent)

    reach = style.number("reach", 0.09, 0.13)
    lift = style.number("lift", -0.12, 0.22)
    for side in (-1, 1):
        shoulder = (0.5 + side * (waist + 0.01), chest + 0.07)
        elbow = (0.5 + side * (waist + reach), chest + 0.12)
        up = lift if side > 0 or not style.chance("waving", 0.4) else -0.14
        hand = (elbow[0] + side * 0.02, elbow[1] + up)
        art.line([shoulder, elbow, hand], steel, 0.06)
        art.ellipse(*hand, 0.06, 0.06, accent)
        art.ellipse(*hand, 0.035, 0.035, steel)

    body = Canvas()
    shape = style.count("body shape", 0, 2)
    if shape == 0:
        body.rectangle(0.5 - waist, chest, 0.5 + waist, hips, main, radius=0.03)
    elif shape == 1:
        body.rectangle(0.5 - waist, chest, 0.5 + waist, hips, main, radius=0.12)
    else:
        slope = waist * 0.7
        body.polygon([(0.5 - waist, chest), (0.5 + waist, chest), (0.5 + slope, hips), (0.5 - slope, hips)], main)
    style.paint(art, body)
    panel = style.count("panel", 0, 2)
    cy = chest + body_h * 0.5
    if panel == 0:  # buttons
        art.rectangle(0.5 - waist * 0.5, cy - 0.07, 0.5 + waist * 0.5, cy + 0.07, dark, radius=0.02)
        for k, lamp in ((-1, (235, 60, 55)), (0, (250, 205, 60)), (1, (80, 205, 95))):
            art.ellipse(0.5 + k * waist * 0.3, cy, 0.03, 0.03, lamp)
    elif panel == 1:  # a dial
        art.ellipse(0.5, cy, 0.09, 0.09, dark)
        art.ellipse(0.5, cy, 0.065, 0.065, accent)
    else:  # a grille
        art.rectangle(0.5 - waist * 0.5, cy - 0.075, 0.5 + waist * 0.5, cy + 0.075, accent, radius=0.02)
        for k in (-1, 0, 1):
            art.rectangle(0.5 - waist * 0.38, cy + k * 0.042 - 0.01, 0.5 + waist * 0.38, cy + k * 0.042 + 0.01, INK)

    if style.chance("bolts", 0.6):
        art.rectangle(
            0.5 - head_w - 0.05, crown + head_h * 0.35, 0.5 + head_w + 0.05, crown + head_h * 0.7, accent, 0.02
        )
    corner = (0.025, 0.07)[style.count("head shape", 0, 1)]
    art.rectangle(0.5 - head_w, crown, 0.5 + head_w, chin, main, radius=corner)
    ey = crown + head_h * 0.40
    glow = ((120, 240, 255), (255, 240, 120), (255, 120, 100))[style.count("glow", 0, 2)]
    eyes = style.count("eyes", 0, 2)
    if eyes == 0:  # a visor
        art.rectangle(0.5 - head_w * 0.8, ey - 0.055, 0.5 + head_w * 0.8, ey + 0.055, INK, radius=0.03)
        for side in (-1, 1):
            art.ellipse(0.5 + side * head_w * 0.4, ey, 0.035, 0.035, glow)
    else:
        for side in (-1, 1):
            x = 0.5 + side * head_w * 0.45
            if eyes == 1:
                art.ellipse(x, ey, 0.062, 0.062, INK)
                art.ellipse(x, ey, 0.04, 0.04, glow)
            else:
                art.rectangle(x - 0.058, ey - 0.058, x + 0.058, ey + 0.058, INK)
                art.rectangle(x - 0.036, ey - 0.036, x + 0.036, ey + 0.036, glow)
    my = crown + head_h * 0.80
    art.rectangle(0.5 - head_w * 0.55, my - 0.022, 0.5 + head_w * 0.55, my + 0.022, INK)
    for k in (-1, 0, 1):
        x = 0.5 + k * head_w * 0.3
        art.rectangle(x - 0.012, my - 0.022, x + 0.012, my + 0.022, WHITE)
    outlined(canvas, art, edge_of(main))


CREATURES: dict[str, Callable[[Canvas, Style], None]] = {"dog": dog, "fish": fish, "robot": robot}
