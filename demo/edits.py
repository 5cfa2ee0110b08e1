"""Edits in the small world: an instruction, the scene before and the scene after."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy import ndimage

from . import captions
from .world import BACKGROUNDS, COLOURS, PLACES, Scene, all_scenes, is_held_out, render

VALUES = {"colour": tuple(COLOURS), "background": tuple(BACKGROUNDS), "place": tuple(PLACES)}
"""Fields that an edit can change, and their values."""

ZH = {
    "colour": ("把{o}改成{c}", "把{o}换成{c}", "将{o}的颜色改为{c}", "让{o}变成{c}"),
    "background": ("把背景换成{b}", "把背景改成{b}", "背景改为{b}", "将背景颜色换成{b}"),
    "place": ("把{o}移到{p}", "把{o}放到{p}", "将{o}移动到{p}"),
}
EN = {
    "colour": ("change the {o} to {c}", "make the {o} {c}", "turn the {o} {c}"),
    "background": (
        "change the background to {b}",
        "make the background {b}",
        "replace the background with {b}",
    ),
    "place": ("move the {o} {p}", "put the {o} {p}"),
}
EN_PLACES = {
    "left": ("to the left", "to the left side"),
    "centre": ("to the centre", "to the middle", "to the center"),
    "right": ("to the right", "to the right side"),
}


@dataclass(frozen=True)
class Edit:
    """A change of one field of a scene.

    Attributes:
        field: a key of :data:`VALUES`.
        before, after: the scenes; all other fields are equal.
    """

    field: str
    before: Scene
    after: Scene

    def instruction(self, language: str, rng: random.Random) -> str:
        """Return the instruction in "zh" or "en", in a random wording."""
        chinese = language == "zh"
        scene = self.after
        places = captions.ZH_PLACES if chinese else EN_PLACES
        tables = captions.ZH_WORDS if chinese else captions.EN_WORDS
        words = {
            "o": rng.choice(tables[0][scene.subject]),
            "c": rng.choice(tables[1][scene.colour]),
            "b": rng.choice(tables[2][scene.background]),
            "p": rng.choice(places[scene.place]),
        }
        return rng.choice((ZH if chinese else EN)[self.field]).format(**words)

    def pictures(self, size: tuple[int, int], seed: int) -> tuple[Image.Image, Image.Image]:
        """Render both scenes with the same random variations."""
        return (
            render(self.before, size, seed, self.before),
            render(self.after, size, seed, self.before),
        )


def siblings(scene: Scene, field: str) -> list[Scene]:
    """Return the scene with each value of a field."""
    return [replace(scene, **{field: value}) for value in VALUES[field]]


def unseen(count: int, seed: int | str) -> Iterator[Edit]:
    """Yield edits between scenes that do not occur in training."""
    rng = random.Random(seed)
    scenes = [scene for scene in all_scenes() if is_held_out(scene)]
    while count > 0:
        before, field = rng.choice(scenes), rng.choice(sorted(VALUES))
        others = [s for s in siblings(before, field) if s != before and is_held_out(s)]
        if others:
            count -= 1
            yield Edit(field, before, rng.choice(others))


def kept(edit: Edit, size: tuple[int, int], seed: int) -> np.ndarray:
    """Return the area that an edit must not change: (H, W) bool, two pixels from any change."""
    before, after = (np.asarray(picture, dtype=int) for picture in edit.pictures(size, seed))
    changed = (before != after).any(axis=2)
    return np.logical_not(ndimage.binary_dilation(changed, iterations=2))


def psnr(a: Image.Image, b: Image.Image, area: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB of two pictures on an area (H, W) bool."""
    difference = np.asarray(a, dtype=float)[area] - np.asarray(b, dtype=float)[area]
    return float(10 * np.log10(255**2 / max(1e-9, np.square(difference).mean())))
