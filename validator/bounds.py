"""Limits on the work of one prompt. The validator and the request fuse both use these functions.

They are pure functions over a node in API form with any content. They change and raise nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ZImageError
from ..text import prompt_rules
from ..text.prompt_rules import RefusedCharacter
from .json_values import as_object, is_list, is_number

OUR_PREFIX = "ZImage"
"""The beginning of the names of our node classes."""
CUSTOM_SIZE = "custom"
"""The choice of ``size`` with which our nodes use width and height."""
SIDES = ("width", "height")


@dataclass(frozen=True)
class Bounds:
    """Limits on the work of one prompt.

    Attributes:
        side: Pixels. Larger sides of new pictures are clamped.
        batch: Pictures of one node.
        steps: Steps of one sampler.
        pixels: Width x height x batch of one node that makes pictures.
        work: Steps x megapixels x pictures of all samplers together, see :mod:`.work`. One
            sampler at all the other limits stays below it.
    """

    side: int = 4096
    batch: int = 64
    steps: int = 200
    pixels: int = 64 * 2048 * 2048
    work: int = 60_000


@dataclass(frozen=True)
class Excess:
    """A value of a node that exceeds a limit.

    Attributes:
        name: The input, or inputs.
        found: The value.
        maximum: The limit.
        clamped: Whether the server reduces the value to the limit. It refuses every other excess,
            because a smaller value would have another meaning.
    """

    name: str
    found: float
    maximum: int
    clamped: bool = False

    def error(self, node: str) -> ZImageError:
        """Return ``ZI-REQUEST-WORK``, which refuses the prompt."""
        return ZImageError(
            "ZI-REQUEST-WORK", node=node, name=self.name, found=self.found, maximum=self.maximum
        )


def is_our_node(node: Mapping[str, Any]) -> bool:
    """Return whether a node is of this pack, which has its own limits on batches and steps."""
    return str(node.get("class_type", "")).startswith(OUR_PREFIX)


def makes_pictures(inputs: Mapping[str, Any]) -> bool:
    """Return whether a node makes new pictures: it has width and height, and no links."""
    if not all(is_number(inputs.get(name)) for name in SIDES):
        return False
    if inputs.get("size", CUSTOM_SIZE) != CUSTOM_SIZE:
        return False
    return not any(is_list(value) and len(value) == 2 for value in inputs.values())


def excesses(node: Mapping[str, Any], bounds: Bounds) -> Iterator[Excess]:
    """Yield every value of a node that exceeds a limit.

    Args:
        node: The node; ``inputs`` must be an object or missing.
        bounds: The limits.
    """
    inputs, is_ours = node.get("inputs", {}), is_our_node(node)
    steps = inputs.get("steps")
    if not is_ours and is_number(steps) and steps > bounds.steps:
        yield Excess("steps", steps, bounds.steps)
    if not makes_pictures(inputs):
        return
    for name in SIDES:
        if inputs[name] > bounds.side:
            yield Excess(name, inputs[name], bounds.side, clamped=True)
    if not is_ours:
        yield from _batch_excess(inputs, bounds)


def _batch_excess(inputs: Mapping[str, Any], bounds: Bounds) -> Iterator[Excess]:
    """Yield the batch, or the pixels of all pictures, of a node that makes too many."""
    batch = inputs.get("batch_size", 1)
    batch = batch if is_number(batch) else 1
    if batch > bounds.batch:
        yield Excess("batch_size", batch, bounds.batch)
        return
    factors = [min(inputs[name], bounds.side) for name in SIDES] + [batch]
    # The host refuses values that are not above 0, and their product could overflow.
    if all(factor > 0 for factor in factors) and math.prod(factors) > bounds.pixels:
        yield Excess("width × height × batch_size", math.prod(factors), bounds.pixels)


def broken_texts(node: Mapping[str, Any]) -> Iterator[tuple[str, str, RefusedCharacter]]:
    """Yield input, text and first refused character of texts that prompts must not hold.

    The length is not checked: nodes of other packs take whole files as text.
    """
    for name, value in as_object(node.get("inputs", {})).items():
        if isinstance(value, str) and not value.isascii():
            refused = prompt_rules.find_refused(value)
            if refused is not None:
                yield name, value, refused
