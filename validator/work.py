"""What all samplers of a prompt have to do together, told from the graph alone.

An estimate: what is linked from somewhere else counts as a picture of a megapixel. It is there for
prompts of a thousand samplers, which no other bound stops.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from .bounds import SIDES, Bounds, Excess
from .prompt_context import is_link

NAME = "Σ steps × width × height × batch_size / 2^20"
THROUGH = ("latent_image", "samples", "latent", "pixels", "image", "images")
"""Inputs along which the size of a latent is looked for."""
MEGAPIXEL = 2**20
STEPS = 50
"""Of a sampler that leaves them to its preset: what Edit takes, the most."""
MOST = 2**20
"""Pictures; more are as bad."""
_LABEL = re.compile(r"(\d{2,5})x(\d{2,5}) ")

Size = tuple[float, float]
"""Pixels of one picture, and how many there are."""


def excess(prompt: Mapping[str, Mapping[str, Any]], bounds: Bounds) -> tuple[str, Excess] | None:
    """The node with the largest part, and what all do, where that is too much.

    Args:
        prompt: nodes by id; ``inputs`` must be an object or missing.
    """
    known: dict[str, Size] = {}
    parts: dict[str, float] = {}
    for number, node in prompt.items():
        inputs = node.get("inputs", {})
        if "steps" in inputs and is_link(inputs.get("latent_image")):
            pixels, count = _size(prompt, inputs["latent_image"], bounds, known)
            steps = min(_number(inputs, "steps", STEPS), bounds.steps)
            parts[number] = steps * pixels * count / MEGAPIXEL
    total = math.fsum(parts.values())
    if total <= bounds.work:
        return None
    return max(parts, key=lambda one: parts[one]), Excess(NAME, round(total), bounds.work)


def _size(
    prompt: Mapping[str, Mapping[str, Any]], link: Any, bounds: Bounds, known: dict[str, Size]
) -> Size:
    """Of what a link gives; each node is looked at once, also in a ring."""
    chain: list[str] = []
    while is_link(link) and link[0] in prompt and link[0] not in known:
        chain.append(link[0])
        known[link[0]] = MEGAPIXEL, 1
        inputs = prompt[link[0]].get("inputs", {})
        names = (name for name in THROUGH if name in inputs and is_link(inputs[name]))
        link = inputs.get(next(names, ""))
    size = known.get(link[0], (MEGAPIXEL, 1)) if is_link(link) else (MEGAPIXEL, 1)
    for number in reversed(chain):
        size = known[number] = _made(prompt[number], size, bounds)
    return size


def _made(node: Mapping[str, Any], given: Size, bounds: Bounds) -> Size:
    inputs = node.get("inputs", {})
    pixels, count = given
    size = inputs.get("size")
    label = _LABEL.match(size) if isinstance(size, str) else None
    if label:
        pixels = math.prod(min(float(side), bounds.side) for side in label.groups())
    elif "width" in inputs and all(sides := [_number(inputs, name, 0) for name in SIDES]):
        pixels = math.prod(min(side, bounds.side) for side in sides)
    if "batch_size" in inputs:
        count *= min(_number(inputs, "batch_size", 1), bounds.batch)
    if node.get("class_type") == "RepeatLatentBatch":
        count *= min(_number(inputs, "amount", 1), bounds.batch)
    if node.get("class_type") == "ZImageEdit":  # the first picture, brought to a megapixel
        return min(pixels, MEGAPIXEL), 1
    return pixels, min(count, MOST)


def _number(inputs: Mapping[str, Any], name: str, otherwise: float) -> float:
    """What is above 0; everything else is the host's or the node's to refuse."""
    found = inputs.get(name)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 < found < math.inf:
        return otherwise
    return found
