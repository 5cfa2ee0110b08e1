"""Pictures of results: curves over requests or time, and every single value of a comparison."""

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
"""Of a row, pixels."""
FINE = 2
"""Drawn so many times as large, for smooth lines."""
INK, PALE, BLUE, RED = "#222", "#999", "#1f5fbf", "#c0392b"


@dataclass(frozen=True)
class Curve:
    """One row: values over something that counts up from 0.

    Attributes:
        title: above it; the least and the greatest value are added.
        points: x and y.
        axis: what x counts.
    """

    title: str
    points: Sequence[tuple[float, float]]
    axis: str


@dataclass(frozen=True)
class Strip:
    """One row: every value of a series as a dot, with its median and a goal.

    Attributes:
        title: above it; the median is added.
        values: in no order.
        unit: of the values.
        goal: drawn in red; None without one.
        span: ends of the axis; None for the values' own, without the outermost twentieths.
        log: whether the axis is logarithmic.
    """

    title: str
    values: Sequence[float]
    unit: str = ""
    goal: float | None = None
    span: tuple[float, float] | None = None
    log: bool = False


def curves(rows: Sequence[Curve], path: Path) -> None:
    """Write curves, one below the other, as PNG."""
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
    """Write strips, one below the other, as PNG; the dots' height means nothing."""
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
            x = _place(value, low, high, strip.log)
            y = dice.uniform(top + 8, bottom - 8)
            if x is not None:
                box = [FINE * one for one in (x - 2, y - 2, x + 2, y + 2)]
                pen.ellipse(box, fill=BLUE)
        for value, colour in ((middle, INK), (strip.goal, RED)):
            x = None if value is None else _place(value, low, high, strip.log)
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


def _place(value: float, low: float, high: float, log: bool) -> float | None:
    """Where on the axis a value lies; None beside it."""
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
    pen.rectangle([FINE * one for one in (EDGE, top, WIDTH - 20, bottom)], outline=PALE)


def _save(image: Image.Image, path: Path) -> None:
    image.reduce(FINE).save(path, optimize=True)
