"""Estimate of the work of all samplers of a prompt, from the graph alone.

A latent of unknown size counts as one picture of a megapixel. The estimate stops prompts with a
thousand samplers, which no other limit stops.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from .bounds import SIDES, Bounds, Excess
from .json_values import is_link, is_number

FORMULA = "Σ steps × width × height × batch_size / 2^20"
LATENT_INPUTS = ("latent_image", "samples", "latent", "pixels", "image", "images")
"""Inputs that are followed to find the size of a latent."""
MEGAPIXEL = 2**20
DEFAULT_STEPS = 50
"""Steps of a sampler that takes them from its preset: those of Edit, the highest."""
MAX_PICTURES = 2**20
"""Higher numbers of pictures count as this one."""
_SIZE_LABEL = re.compile(r"(\d{2,5})x(\d{2,5}) ")

Nodes: TypeAlias = Mapping[str, Mapping[str, Any]]
Size: TypeAlias = tuple[float, float]
"""The pixels of one picture, and the number of pictures."""
_UNKNOWN_SIZE: Size = (MEGAPIXEL, 1)


def find_excess(prompt: Nodes, bounds: Bounds) -> tuple[str, Excess] | None:
    """Return the node with the most work, and the work of all nodes, if it exceeds the limit.

    Args:
        prompt: The nodes by id; ``inputs`` must be an object or missing.
        bounds: The limits.
    """
    sizes: dict[str, Size] = {}
    work: dict[str, float] = {}
    for node_id, node in prompt.items():
        inputs = node.get("inputs", {})
        if "steps" in inputs and is_link(inputs.get("latent_image")):
            pixels, count = _linked_size(prompt, inputs["latent_image"], bounds, sizes)
            steps = min(_positive_number(inputs, "steps", DEFAULT_STEPS), bounds.steps)
            work[node_id] = steps * pixels * count / MEGAPIXEL
    total = math.fsum(work.values())
    if total <= bounds.work:
        return None
    largest = max(work, key=lambda node_id: work[node_id])
    return largest, Excess(FORMULA, round(total), bounds.work)


def _linked_size(prompt: Nodes, link: Any, bounds: Bounds, sizes: dict[str, Size]) -> Size:
    """Return the size of the output behind a link. Each node is read once, also in a cycle."""
    chain: list[str] = []
    while is_link(link) and link[0] in prompt and link[0] not in sizes:
        chain.append(link[0])
        sizes[link[0]] = _UNKNOWN_SIZE
        inputs = prompt[link[0]].get("inputs", {})
        linked = (name for name in LATENT_INPUTS if name in inputs and is_link(inputs[name]))
        link = inputs.get(next(linked, ""))
    size = sizes.get(link[0], _UNKNOWN_SIZE) if is_link(link) else _UNKNOWN_SIZE
    for node_id in reversed(chain):
        size = sizes[node_id] = _output_size(prompt[node_id], size, bounds)
    return size


def _output_size(node: Mapping[str, Any], input_size: Size, bounds: Bounds) -> Size:
    """Return the size of a node's output from that of its input."""
    inputs = node.get("inputs", {})
    pixels, count = input_size
    own_pixels = _own_pixels(inputs, bounds)
    if own_pixels is not None:
        pixels = own_pixels
    if "batch_size" in inputs:
        count *= min(_positive_number(inputs, "batch_size", 1), bounds.batch)
    if node.get("class_type") == "RepeatLatentBatch":
        count *= min(_positive_number(inputs, "amount", 1), bounds.batch)
    if node.get("class_type") == "ZImageEdit":  # the first picture, scaled to a megapixel
        return min(pixels, MEGAPIXEL), 1
    return pixels, min(count, MAX_PICTURES)


def _own_pixels(inputs: Mapping[str, Any], bounds: Bounds) -> float | None:
    """Return the pixels that a node's own size gives, or None if it has no size."""
    size = inputs.get("size")
    label = _SIZE_LABEL.match(size) if isinstance(size, str) else None
    if label:
        return math.prod(min(float(side), bounds.side) for side in label.groups())
    sides = [_positive_number(inputs, name, 0) for name in SIDES]
    return math.prod(min(side, bounds.side) for side in sides) if all(sides) else None


def _positive_number(inputs: Mapping[str, Any], name: str, default: float) -> float:
    """Return a number above 0. The host or the node refuses every other value."""
    value = inputs.get(name)
    return value if is_number(value) and 0 < value < math.inf else default
