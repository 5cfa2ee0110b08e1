"""What one prompt may ask for: the one place that the validator and the request fuse judge by.

Pure functions over a node in API form, whatever is in it; nothing is changed or raised.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ZImageError
from ..text import prompt_rules
from ..text.prompt_rules import Refusal

OWN, CUSTOM = "ZImage", "custom"
"""How our node classes begin, and the size of theirs that heeds width and height."""
SIDES = ("width", "height")


@dataclass(frozen=True)
class Bounds:
    """What one prompt may ask for.

    Attributes:
        side: pixels; larger sides of new pictures are clamped.
        batch: pictures of one node.
        steps: of one sampler.
        pixels: width x height x batch of one node that makes pictures.
        work: steps x megapixels x pictures of all samplers together, see :mod:`.work`; one that
            is at every other limit stays below.
    """

    side: int = 4096
    batch: int = 64
    steps: int = 200
    pixels: int = 64 * 2048 * 2048
    work: int = 60_000


@dataclass(frozen=True)
class Excess:
    """One thing of which a node asks for too much.

    Attributes:
        name: the input, or inputs.
        maximum: what is allowed.
        clamped: it is brought down to the maximum; everything else is refused, because less would
            have another meaning.
    """

    name: str
    found: float
    maximum: int
    clamped: bool = False

    def error(self, node: str) -> ZImageError:
        """``ZI-REQUEST-WORK``, which refuses the prompt."""
        return ZImageError("ZI-REQUEST-WORK", node=node, name=self.name, found=self.found,
                           maximum=self.maximum)  # fmt: skip


def is_own(node: Mapping[str, Any]) -> bool:
    """True for the classes of this pack, which judge batches and steps with codes of theirs."""
    return str(node.get("class_type", "")).startswith(OWN)


def makes_pictures(inputs: Mapping[str, Any]) -> bool:
    """True for width and height with nothing linked: new pictures, not work on others."""
    if not all(_is_number(inputs.get(name)) for name in SIDES):
        return False
    if inputs.get("size", CUSTOM) != CUSTOM:
        return False
    return not any(isinstance(value, list) and len(value) == 2 for value in inputs.values())


def excesses(node: Mapping[str, Any], bounds: Bounds) -> Iterator[Excess]:
    """Everything of which a node asks for too much; ``inputs`` must be an object or missing."""
    inputs, own = node.get("inputs", {}), is_own(node)
    steps = inputs.get("steps")
    if not own and _is_number(steps) and steps > bounds.steps:
        yield Excess("steps", steps, bounds.steps)
    if not makes_pictures(inputs):
        return
    for name in SIDES:
        if inputs[name] > bounds.side:
            yield Excess(name, inputs[name], bounds.side, clamped=True)
    if own:
        return
    batch = inputs.get("batch_size", 1)
    batch = batch if _is_number(batch) else 1
    if batch > bounds.batch:
        yield Excess("batch_size", batch, bounds.batch)
        return
    amounts = [min(inputs[name], bounds.side) for name in SIDES] + [batch]
    # What is not above 0 is the host's to refuse (and a product of it could overflow).
    if all(amount > 0 for amount in amounts) and math.prod(amounts) > bounds.pixels:
        yield Excess("width × height × batch_size", math.prod(amounts), bounds.pixels)


def broken_texts(node: Mapping[str, Any]) -> Iterator[tuple[str, str, Refusal]]:
    """Texts with characters that prompts must not hold: input, text, and the first of those.

    Their length does not count: other packs take whole files as text.
    """
    for name, value in node.get("inputs", {}).items():
        if isinstance(value, str) and not value.isascii():
            refusal = prompt_rules.find_refused(value)
            if refusal is not None:
                yield name, value, refusal


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
