"""A prompt as somebody sent it, judged before the host takes it apart.

Pure functions over JSON; :mod:`.fuse` answers for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..bodies import unfit
from ..errors import ZImageError
from ..text import rules

LONGEST_ID = 256
OWN, CUSTOM = "ZImage", "custom"
"""How our node classes begin, and the size of theirs that heeds width and height."""


@dataclass(frozen=True)
class Bounds:
    """What one prompt may ask for.

    Attributes:
        side: pixels; larger sides of new pictures are clamped.
        batch: pictures of one node.
        steps: of one sampler.
        pixels: width x height x batch of one node that makes pictures.
    """

    side: int = 4096
    batch: int = 64
    steps: int = 200
    pixels: int = 64 * 2048 * 2048


def check_prompt(body: dict[str, Any]) -> None:
    """The fields of ``POST /prompt`` that the host uses unchecked.

    Raises:
        ZImageError: ``ZI-REQUEST`` with the field, ``ZI-TEXT-…`` with node and input.
    """
    number = body.get("number", 0)
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise unfit(f"number: {_kind(number)}", "number: 0.0")
    if not math.isfinite(number) or abs(number) > 2**53:
        raise unfit(f"number: {number}", "|number| <= 2^53")
    for name in ("prompt_id", "client_id"):
        value = body.get(name, "-")
        if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID or not _plain(value):
            raise unfit(f"{name}: {_kind(value)}", f'{name}: "…", 1 - {LONGEST_ID}')
    if not isinstance(body.get("extra_data", {}), dict):
        raise unfit(f"extra_data: {_kind(body['extra_data'])}", "extra_data: {…}")
    targets = body.get("partial_execution_targets")
    if targets is not None and not _strings(targets):
        raise unfit(f"partial_execution_targets: {_kind(targets)}", '["…"]')
    if "prompt" in body:
        _check_nodes(body["prompt"])


def _check_nodes(prompt: Any) -> None:
    if not isinstance(prompt, dict):
        raise unfit(f"prompt: {_kind(prompt)}", 'prompt: {"1": {"class_type", "inputs"}}')
    for number, node in prompt.items():
        if not isinstance(node, dict) or not isinstance(node.get("inputs", {}), dict):
            raise unfit(f"prompt[{number!r:.40}]: {_kind(node)}", '{"class_type", "inputs"}')
        if not isinstance(node.get("class_type", ""), str):
            raise unfit(f"prompt[{number!r:.40}].class_type: {_kind(node['class_type'])}", '"…"')
        for name, value in node.get("inputs", {}).items():
            if isinstance(value, str):
                _check_text(number, name, value)


def _check_text(node: str, name: str, text: str) -> None:
    """The rules for prompts, but for their length: other packs take whole files as text."""
    if text.isascii() or rules.find_refused(text) is None:
        return
    try:
        rules.check(text)
    except ZImageError as error:
        raise ZImageError("ZI-REQUEST-TEXT", node=node, name=name, zh=error.chinese,
                          en=error.english, found=error.code) from None  # fmt: skip


def clamp(prompt: dict[str, Any], bounds: Bounds) -> list[dict[str, Any]]:
    """Bring sizes of new pictures down to ``bounds.side``, in place.

    A node makes new pictures when it has width and height and nothing is linked to it.

    Returns:
        What was changed: ``node``, ``input``, ``from`` and ``to`` of each.

    Raises:
        ZImageError: ``ZI-REQUEST-WORK`` for what cannot be brought down without another meaning:
            batches, steps, and many large pictures.
    """
    changed = []
    for number, node in prompt.items():
        inputs = node.get("inputs", {})
        # Ours judge the rest with codes of theirs.
        own = node.get("class_type", "").startswith(OWN)
        steps = inputs.get("steps")
        if not own and _is_number(steps) and steps > bounds.steps:
            raise _work(number, "steps", steps, bounds.steps)
        if not _makes_pictures(inputs):
            continue
        for name in ("width", "height"):
            if inputs[name] > bounds.side:
                told = {"node": number, "input": name, "from": inputs[name], "to": bounds.side}
                changed.append(told)
                inputs[name] = bounds.side
        if own:
            continue
        batch = inputs.get("batch_size", 1)
        batch = batch if _is_number(batch) else 1
        if batch > bounds.batch:
            raise _work(number, "batch_size", batch, bounds.batch)
        pixels = inputs["width"] * inputs["height"] * batch
        if pixels > bounds.pixels:
            raise _work(number, "width × height × batch_size", pixels, bounds.pixels)
    return changed


def _makes_pictures(inputs: dict[str, Any]) -> bool:
    sides = (inputs.get("width"), inputs.get("height"))
    if not all(map(_is_number, sides)) or inputs.get("size", CUSTOM) != CUSTOM:
        return False
    return not any(isinstance(value, list) and len(value) == 2 for value in inputs.values())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _plain(text: str) -> bool:
    return rules.find_refused(text) is None and "\0" not in text


def _kind(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.60}"


def _work(node: str, name: str, found: object, maximum: object) -> ZImageError:
    return ZImageError("ZI-REQUEST-WORK", node=node, name=name, found=found, maximum=maximum)
