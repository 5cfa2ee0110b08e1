"""Recognise the scene of a picture of the small world by geometry and colour alone.

No part is learned. The background is the median colour of the upper border. The subject's colour is
the most frequent of the eight saturated colours, its place is the centroid of that colour's largest
region, and its shape is the best overlap with the outlines of :mod:`world`. The style follows from
how dark the lower corners (mountains) are compared with the background.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache

import numpy as np
from PIL import Image
from scipy import ndimage

from .world import BACKGROUNDS, BODIES, COLOURS, PLACES, SUBJECTS, Scene, body_mask

SIDE = 64


@dataclass(frozen=True)
class Reading:
    """The recognised scene; fields of the subject are None when no subject is found."""

    subject: str | None
    colour: str | None
    background: str
    place: str | None
    style: str

    def matches(self, scene: Scene) -> dict[str, bool]:
        """Return for each field whether the picture shows the scene's value."""
        return {f.name: getattr(self, f.name) == getattr(scene, f.name) for f in fields(scene)}


def read(picture: Image.Image) -> Reading:
    """Recognise a picture of at least 64 x 64 pixels."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    background = _background(pixels)
    style = _style(pixels)
    colour, mask = _subject(pixels)
    if colour is None:
        return Reading(None, None, background, None, style)
    x = ndimage.center_of_mass(mask)[1] / mask.shape[1]
    place = min(PLACES, key=lambda name: abs(PLACES[name] - x))
    return Reading(_shape(mask), colour, background, place, style)


def _background(pixels: np.ndarray) -> str:
    band = max(2, pixels.shape[0] // 10)
    median = np.median(pixels[:band].reshape(-1, 3), axis=0)
    return min(BACKGROUNDS, key=lambda name: _distance(median, BACKGROUNDS[name]))


def _distance(a: np.ndarray, b: tuple) -> float:
    """Return the Euclidean distance with half the weight for lightness.

    Pale backgrounds differ mainly in hue.
    """
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    light = difference.mean()
    return float(np.hypot(np.linalg.norm(difference - light), 0.5 * light * 3**0.5))


def _style(pixels: np.ndarray) -> str:
    """Return "ink" if the bottom is much darker than the top (mountains), else "poster"."""
    height = pixels.shape[0]
    light = pixels.mean(axis=2)
    # The podium covers up to two thirds of the width and is the darkest part of a poster, so
    # the lighter side of the bottom decides.
    bottom = light[int(0.93 * height) :]
    third = bottom.shape[1] // 3
    sides = (np.median(bottom[:, :third]), np.median(bottom[:, -third:]))
    return "ink" if max(sides) < 0.75 * np.median(light[: height // 10]) else "poster"


def _subject(pixels: np.ndarray) -> tuple[str | None, np.ndarray]:
    """Return the subject's colour and the mask (H, W) of its largest region in that colour."""
    hue, saturation, value = _hsv(pixels)
    vivid = (saturation > 0.42) & (value > 0.3)
    best, best_mask, best_area = None, np.zeros(hue.shape, bool), 0.006 * hue.size
    for name, prototype in COLOURS.items():
        expected_hue, expected_saturation, _ = _hsv(np.array([[prototype]], dtype=np.float32))
        difference = np.abs((hue - expected_hue + 180) % 360 - 180)
        mask = vivid & (difference < _reach(name)) & (saturation > 0.55 * expected_saturation)
        if name == "blue":  # navy has the same hue, but is dark
            mask &= value > 0.58
        regions, count = ndimage.label(ndimage.binary_closing(mask, iterations=1))
        if not count:
            continue
        areas = np.bincount(regions.ravel())[1:]
        if areas.max() > best_area:
            best, best_area = name, areas.max()
            best_mask = mask & _joined(regions, areas)
    return best, best_mask


def _joined(regions: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Return the largest region with its neighbours (a vase's neck), without the corner's seal."""
    largest = 1 + int(areas.argmax())
    candidates = 1 + np.flatnonzero(areas > 0.06 * areas.max())
    centre = np.array(ndimage.center_of_mass(regions == largest))
    near = [
        label
        for label in candidates
        if np.linalg.norm(np.array(ndimage.center_of_mass(regions == label)) - centre)
        < 1.35 * areas.max() ** 0.5
    ]
    return np.isin(regions, near)


@cache
def _reach(name: str) -> float:
    """Return half the distance, in degrees of hue, to the nearest other colour."""
    hues = {key: float(_hsv(np.array([[v]], np.float32))[0][0, 0]) for key, v in COLOURS.items()}
    others = (abs((hues[name] - h + 180) % 360 - 180) for key, h in hues.items() if key != name)
    return min(others) / 2


def _hsv(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Convert RGB in 0..255 to hue in degrees, and saturation and value in 0..1."""
    r, g, b = (pixels[..., i] / 255 for i in range(3))
    high, low = pixels.max(axis=-1) / 255, pixels.min(axis=-1) / 255
    span = np.maximum(high - low, 1e-6)
    sector = np.select(
        [high == r, high == g], [(g - b) / span % 6, (b - r) / span + 2], (r - g) / span + 4
    )
    return sector * 60, (high - low) / np.maximum(high, 1e-6), high


def _shape(mask: np.ndarray) -> str:
    """Return the subject whose normalised outline overlaps best."""
    normalised = _normalise(mask)
    overlaps = {name: _overlap(normalised, _outline(name)) for name in SUBJECTS}
    return max(overlaps, key=overlaps.__getitem__)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return intersection over union of two masks, 0..1."""
    return float((a & b).sum() / max(1, (a | b).sum()))


@cache
def _outline(name: str) -> np.ndarray:
    assert name in BODIES
    return _normalise(body_mask(name, 128))


def _normalise(mask: np.ndarray) -> np.ndarray:
    """Move the centroid to the middle and scale to a fixed area: (64, 64) bool."""
    rows, columns = ndimage.center_of_mass(mask)
    zoom = (0.28 * SIDE * SIDE / max(1, mask.sum())) ** 0.5
    middle = SIDE / 2
    grid = np.mgrid[0:SIDE, 0:SIDE].astype(float)
    coordinates = [(grid[0] - middle) / zoom + rows, (grid[1] - middle) / zoom + columns]
    return ndimage.map_coordinates(mask.astype(float), coordinates, order=1) > 0.5
