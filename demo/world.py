"""The small world of scenes on which the small models are trained.

A picture has one subject in one colour, at one of three places, on a background, in one of two
styles: a product poster (podium, spotlight) or an ink-wash landscape (outline, mountains, seal).
All pictures are rendered, so the scene of each picture is known.

Coordinates of outlines are in subject radii: x to the right, y down, (0, 0) is the subject's
centre. Colours are sRGB triples in 0..255.
"""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import astuple, dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SUBJECTS = ("ball", "star", "heart", "gift", "umbrella", "vase")
COLOURS = {
    "red": (218, 38, 40),
    "orange": (242, 128, 24),
    "yellow": (248, 212, 32),
    "green": (44, 162, 72),
    "cyan": (22, 178, 186),
    "blue": (36, 88, 214),
    "purple": (126, 52, 172),
    "pink": (244, 112, 172),
}
BACKGROUNDS = {
    "white": (244, 243, 240),
    "grey": (158, 160, 164),
    "yellow": (250, 232, 156),
    "green": (164, 214, 172),
    "blue": (158, 204, 244),
    "purple": (204, 180, 238),
    "pink": (250, 194, 206),
    "navy": (54, 66, 116),
}
PLACES = {"left": 0.29, "centre": 0.5, "right": 0.71}
STYLES = ("poster", "ink")
SIZES = ((128, 128), (112, 144), (144, 112))  # width, height
INK = (28, 28, 34)
OVERSAMPLING = 2


@dataclass(frozen=True)
class Scene:
    """The content of a picture; every field is a key of the tables above."""

    subject: str
    colour: str
    background: str
    place: str
    style: str


def all_scenes() -> list[Scene]:
    """Return every combination: 6 x 8 x 8 x 3 x 2 = 2304 scenes, in a fixed order."""
    return [
        Scene(*values)
        for values in itertools.product(SUBJECTS, COLOURS, BACKGROUNDS, PLACES, STYLES)
    ]


def is_held_out(scene: Scene) -> bool:
    """Return whether a scene is excluded from training (one in six, selected by a fixed seed)."""
    return scene in _HELD_OUT


def _circle(x: float, y: float, radius: float, start: float = 0, end: float = 360) -> list:
    steps = 48
    angles = (math.radians(start + (end - start) * i / steps) for i in range(steps + 1))
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]


def _star() -> list:
    radii = (1.08, 0.46)
    return [
        (radii[i % 2] * math.sin(i * math.pi / 5), 0.06 - radii[i % 2] * math.cos(i * math.pi / 5))
        for i in range(10)
    ]


def _heart() -> list:
    points = []
    for i in range(64):
        t = 2 * math.pi * i / 64
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 16.5, -(y + 2.5) / 16.5))
    return points


def _umbrella() -> list:
    canopy = _circle(0, 0.12, 1.08, 180, 360)
    hem = [_circle(0.72 - 0.72 * i, 0.12, 0.36, 0, -180) for i in range(3)]
    return canopy + [point for arc in hem for point in arc]


def _vase() -> list:
    right = [
        (0.34, -1.0),
        (0.26, -0.85),
        (0.24, -0.62),
        (0.42, -0.36),
        (0.68, -0.05),
        (0.76, 0.25),
        (0.68, 0.58),
        (0.46, 0.86),
        (0.42, 1.0),
    ]
    return right + [(-x, y) for x, y in reversed(right)]


BODIES = {
    "ball": [_circle(0, 0, 0.92)],
    "star": [_star()],
    "heart": [_heart()],
    "gift": [
        [(-0.78, -0.3), (0.78, -0.3), (0.78, 0.9), (-0.78, 0.9)],
        [(-0.92, -0.55), (0.92, -0.55), (0.92, -0.2), (-0.92, -0.2)],
    ],
    "umbrella": [_umbrella()],
    "vase": [_vase()],
}
# Parts of another colour than the subject: outline, and whether the part is cream (else dark).
ACCENTS = {
    "gift": [
        ([(-0.14, -0.55), (0.14, -0.55), (0.14, 0.9), (-0.14, 0.9)], True),
        (_circle(-0.3, -0.74, 0.24), True),
        (_circle(0.3, -0.74, 0.24), True),
    ],
    "umbrella": [
        ([(-0.05, 0.1), (0.05, 0.1), (0.05, 0.86), (-0.05, 0.86)], False),
        ([(-0.3, 0.78), (0.05, 0.78), (0.05, 0.9), (-0.3, 0.9)], False),
    ],
    "vase": [([(-0.3, -0.66), (0.3, -0.66), (0.3, -0.54), (-0.3, -0.54)], True)],
}
CREAM = (255, 246, 222)
DARK = (84, 58, 44)


def render(
    scene: Scene, size: tuple[int, int] = (128, 128), seed: int = 0, like: Scene | None = None
) -> Image.Image:
    """Draw a scene.

    Args:
        scene: what to draw.
        size: width and height in pixels, each at least 64.
        seed: seed of small variations of position, size, mountains and light.
        like: scene whose variations are used, so that two scenes differ only in their fields.
    """
    rng = random.Random(f"{astuple(like or scene)}{size}{seed}")
    width, height = (side * OVERSAMPLING for side in size)
    radius = 0.245 * min(width, height) * rng.uniform(0.94, 1.06)
    x = (PLACES[scene.place] + rng.uniform(-0.015, 0.015)) * width
    y = (0.49 + rng.uniform(-0.015, 0.015)) * height
    paint = _poster if scene.style == "poster" else _ink
    picture = paint(scene, (width, height), (x, y, radius), rng)
    return picture.resize(size, Image.Resampling.BOX)


def body_mask(subject: str, side: int = 64) -> np.ndarray:
    """Return the area of a subject in its colour, (side, side) bool; a side is 2.4 radii."""
    image = Image.new("L", (side * 4, side * 4))
    draw = ImageDraw.Draw(image)
    for outline in BODIES[subject]:
        draw.polygon(_to_pixels(outline, side * 2, side * 2, side * 4 / 2.4), fill=255)
    for outline, _ in ACCENTS.get(subject, []):
        draw.polygon(_to_pixels(outline, side * 2, side * 2, side * 4 / 2.4), fill=0)
    return np.asarray(image.resize((side, side), Image.Resampling.BOX)) > 127


def _to_pixels(outline: list, x: float, y: float, radius: float) -> list:
    """Convert an outline from radii to pixels around a centre."""
    return [(x + radius * px, y + radius * py) for px, py in outline]


def _mix(a: tuple, b: tuple, share: float) -> tuple:
    return tuple(round(p * (1 - share) + q * share) for p, q in zip(a, b, strict=True))


def _vertical(size: tuple[int, int], top: tuple, bottom: tuple) -> Image.Image:
    ramp = np.linspace(0, 1, size[1])[:, None, None]
    rows = np.array(top) * (1 - ramp) + np.array(bottom) * ramp
    return Image.fromarray(np.broadcast_to(rows, (size[1], size[0], 3)).round().astype(np.uint8))


def _body(scene: Scene, canvas: tuple[int, int], where: tuple, lit: float) -> tuple:
    """Return the subject's shaded colours (light from the upper left) and its mask."""
    x, y, radius = where
    mask = Image.new("L", canvas)
    draw = ImageDraw.Draw(mask)
    for outline in BODIES[scene.subject]:
        draw.polygon(_to_pixels(outline, x, y, radius), fill=255)
    gy, gx = np.mgrid[0 : canvas[1], 0 : canvas[0]]
    shade = np.clip(((gx - x) + (gy - y)) / (2 * radius), -1, 1)[..., None]
    colour = np.array(COLOURS[scene.colour], dtype=float)
    light = colour + (255 - colour) * 0.24 * lit
    dark = colour * (1 - 0.2 * lit)
    field = colour + np.where(shade < 0, colour - light, dark - colour) * shade
    return Image.fromarray(field.round().astype(np.uint8)), mask


def _accents(draw: ImageDraw.ImageDraw, scene: Scene, where: tuple) -> None:
    for outline, cream in ACCENTS.get(scene.subject, []):
        draw.polygon(_to_pixels(outline, *where), fill=CREAM if cream else DARK)


def _poster(scene: Scene, canvas: tuple[int, int], where: tuple, rng: random.Random) -> Image.Image:
    width, height = canvas
    x, y, radius = where
    base = BACKGROUNDS[scene.background]
    picture = _vertical(canvas, _mix(base, (255, 255, 255), 0.08), base)
    glow = Image.new("L", canvas)
    ImageDraw.Draw(glow).ellipse(_box(x, y, 1.5 * radius, 1.5 * radius), fill=90)
    glow = glow.filter(ImageFilter.GaussianBlur(radius * 0.12))
    picture.paste(_mix(base, (255, 255, 255), 0.7), mask=glow)
    draw = ImageDraw.Draw(picture)
    floor = 0.84 * height
    draw.rectangle((0, floor, width, height), fill=_mix(base, (0, 0, 0), 0.07))
    foot = y + 1.02 * radius
    side, top = _mix(base, (0, 0, 0), 0.16), _mix(base, (255, 255, 255), 0.45)
    draw.rectangle((x - 1.12 * radius, foot, x + 1.12 * radius, 0.95 * height), fill=side)
    draw.ellipse(_box(x, 0.95 * height, 1.12 * radius, 0.16 * radius), fill=side)
    draw.ellipse(_box(x, foot, 1.12 * radius, 0.18 * radius), fill=top)
    draw.ellipse(_box(x, foot, 0.7 * radius, 0.1 * radius), fill=_mix(base, (0, 0, 0), 0.22))
    if scene.subject == "umbrella":
        _accents(draw, scene, where)
    field, mask = _body(scene, canvas, where, rng.uniform(0.9, 1.1))
    picture.paste(field, mask=mask)
    if scene.subject != "umbrella":
        _accents(draw, scene, where)
    return picture


def _ink(scene: Scene, canvas: tuple[int, int], where: tuple, rng: random.Random) -> Image.Image:
    width, height = canvas
    x, y, radius = where
    base = BACKGROUNDS[scene.background]
    picture = _vertical(canvas, _mix(base, (255, 252, 240), 0.06), base)
    draw = ImageDraw.Draw(picture)
    for level, share in ((0.66, 0.2), (0.78, 0.36), (0.9, 0.54)):
        phase, waves = rng.uniform(0, math.tau), rng.uniform(1.1, 1.5)
        ridge = [
            (
                px,
                height
                * (
                    level
                    + 0.05 * math.sin(phase + waves * math.tau * px / width)
                    + 0.018 * math.sin(2.7 * phase + 3.1 * math.tau * px / width)
                ),
            )
            for px in range(0, width + 4, 4)
        ]
        draw.polygon([*ridge, (width, height), (0, height)], fill=_mix(base, INK, share))
    outline = 0.07 * radius
    for body in BODIES[scene.subject]:
        points = _to_pixels(body, x, y, radius)
        closed = [*points, points[0], points[1]]
        draw.line(closed, fill=INK, width=round(2 * outline), joint="curve")
    if scene.subject == "umbrella":
        _accents(draw, scene, where)
    field, mask = _body(scene, canvas, where, rng.uniform(0.45, 0.6))
    picture.paste(field, mask=mask)
    if scene.subject != "umbrella":
        _accents(draw, scene, where)
    seal = 0.05 * min(width, height)
    draw.rectangle(_box(width - 2 * seal, height - 2 * seal, seal, seal), fill=(176, 42, 34))
    draw.rectangle(_box(width - 2 * seal, height - 2 * seal, seal * 0.4, seal * 0.4), fill=CREAM)
    return picture


def _box(x: float, y: float, rx: float, ry: float) -> tuple[float, float, float, float]:
    return (x - rx, y - ry, x + rx, y + ry)


_HELD_OUT = frozenset(random.Random("held out").sample(all_scenes(), k=384))
