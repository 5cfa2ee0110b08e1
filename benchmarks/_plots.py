"""Plots of results: curves over requests or time, and all values of a comparison."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, EDGE = 900, 180, 60
"""Size of a row in pixels."""
FINE = 2
"""Factor of oversampling, for smooth lines."""
INK, PALE, BLUE, RED = "#222", "#999", "#1f5fbf", "#c0392b"


@dataclass(frozen=True)
class Curve:
    """A row with a curve, whose x axis starts at 0.

    Attributes:
        title: text above the row; minimum and maximum are added.
        points: x and y.
        axis: label of the x axis.
    """

    title: str
    points: Sequence[tuple[float, float]]
    axis: str


@dataclass(frozen=True)
class Strip:
    """A row with all values of a series as dots, their median and a goal.

    Attributes:
        title: text above the row; the median is added.
        values: values in any order.
        unit: unit of the values.
        goal: value that is drawn in red; None for no goal.
        span: ends of the axis; None for the 5th and 95th percentile.
        log: whether the axis is logarithmic.
    """

    title: str
    values: Sequence[float]
    unit: str = ""
    goal: float | None = None
    span: tuple[float, float] | None = None
    log: bool = False


def curves(rows: Sequence[Curve], path: Path) -> None:
    """Write rows of curves as PNG."""
    image, pen, font = _paper(len(rows), HEIGHT)
    for row, curve in enumerate(rows):
        values, last = [y for _, y in curve.points], max(x for x, _ in curve.points)
        low, high = min(values), max(max(values), min(values) + 1)
        top, bottom = row * HEIGHT + 30, (row + 1) * HEIGHT - 25
        _text(pen, font, (EDGE, top - 22), f"{curve.title}: {low:g} to {max(values):g}")
        _box(pen, top, bottom)
        across, up = (WIDTH - 20 - EDGE) / last, (bottom - top) / (high - low)
        line = [(EDGE + across * x, bottom - up * (y - low)) for x, y in curve.points]
        pen.line([(FINE * x, FINE * y) for x, y in line], fill=BLUE, width=2 * FINE)
        _text(pen, font, (EDGE, bottom + 4), f"0 to {last:g} {curve.axis}")
    _save(image, path)


def strips(rows: Sequence[Strip], path: Path) -> None:
    """Write rows of strips as PNG; the height of a dot is random."""
    height = 110
    image, pen, font = _paper(len(rows), height)
    dice = random.Random(0)
    for row, strip in enumerate(rows):
        top, bottom = row * height + 30, (row + 1) * height - 25
        middle = statistics.median(strip.values)
        goal = f", goal {strip.goal:.3g}{strip.unit}" if strip.goal is not None else ""
        _text(pen, font, (EDGE, top - 22), f"{strip.title}: median {middle:.3g}{strip.unit}{goal}")
        _box(pen, top, bottom)
        low, high = strip.span or _span(strip.values, strip.goal)
        for value in strip.values:
            x = _position(value, low, high, strip.log)
            y = dice.uniform(top + 8, bottom - 8)
            if x is not None:
                box = [FINE * side for side in (x - 2, y - 2, x + 2, y + 2)]
                pen.ellipse(box, fill=BLUE)
        for value, colour in ((middle, INK), (strip.goal, RED)):
            x = None if value is None else _position(value, low, high, strip.log)
            if x is not None:
                pen.line(
                    [FINE * x, FINE * top, FINE * x, FINE * bottom], fill=colour, width=2 * FINE
                )
        _text(pen, font, (EDGE, bottom + 4), f"{low:.3g}{strip.unit}")
        _text(pen, font, (WIDTH - 70, bottom + 4), f"{high:.3g}{strip.unit}")
    _save(image, path)


def _span(values: Sequence[float], goal: float | None) -> tuple[float, float]:
    marks = statistics.quantiles(values, n=20)
    low, high = marks[0], marks[-1]
    if goal is not None:
        low, high = min(low, goal), max(high, goal)
    room = 0.05 * (high - low or 1)
    return low - room, high + room


def _position(value: float, low: float, high: float, log: bool) -> float | None:
    """Return the x position of a value in pixels; None outside the axis."""
    if not low <= value <= high:
        return None
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return EDGE + (WIDTH - 20 - EDGE) * (value - low) / (high - low)


def _paper(rows: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw, Any]:
    image = Image.new("RGB", (FINE * WIDTH, FINE * height * rows), "white")
    return image, ImageDraw.Draw(image), ImageFont.load_default(13 * FINE)  # pyright: ignore


def _text(pen: ImageDraw.ImageDraw, font: Any, at: tuple[float, float], text: str) -> None:
    pen.text((FINE * at[0], FINE * at[1]), text, fill=INK, font=font)


def _box(pen: ImageDraw.ImageDraw, top: float, bottom: float) -> None:
    pen.rectangle([FINE * side for side in (EDGE, top, WIDTH - 20, bottom)], outline=PALE)


def _save(image: Image.Image, path: Path) -> None:
    image.reduce(FINE).save(path, optimize=True)
