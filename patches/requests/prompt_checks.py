"""Checks of a prompt before the host parses it.

Pure functions over JSON; :mod:`.fuse` answers what they raise.
"""

from __future__ import annotations

import math
from typing import Any

from ...errors import ZImageError
from ...errors.bilingual import Bilingual
from ...http_body import unfit
from ...text import prompt_rules
from ...validator import work
from ...validator.bounds import Bounds, broken_texts, excesses

LONGEST_ID = 256


def check_prompt(body: dict[str, Any]) -> None:
    """Check the fields of ``POST /prompt`` that the host uses without a check.

    Raises:
        ZImageError: ``ZI-REQUEST`` with the field, ``ZI-TEXT-…`` with node and input.
    """
    _check_number(body.get("number", 0))
    for name in ("prompt_id", "client_id"):
        _check_id(name, body.get(name, "-"))
    if not isinstance(body.get("extra_data", {}), dict):
        raise unfit(f"extra_data: {_kind(body['extra_data'])}", "extra_data: {…}")
    targets = body.get("partial_execution_targets")
    if targets is not None and not _strings(targets):
        raise unfit(f"partial_execution_targets: {_kind(targets)}", '["…"]')
    if "prompt" in body:
        _check_nodes(body["prompt"])


def _check_number(number: Any) -> None:
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise unfit(f"number: {_kind(number)}", "number: 0.0")
    if not math.isfinite(number) or abs(number) > 2**53:
        raise unfit(f"number: {number}", "|number| <= 2^53")


def _check_id(name: str, value: Any) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID or not _plain(value):
        raise unfit(f"{name}: {_kind(value)}", f'{name}: "…", 1 - {LONGEST_ID}')


def _check_nodes(prompt: Any) -> None:
    if not isinstance(prompt, dict):
        raise unfit(f"prompt: {_kind(prompt)}", 'prompt: {"1": {"class_type", "inputs"}}')
    for number, node in prompt.items():
        if not isinstance(node, dict) or not isinstance(node.get("inputs", {}), dict):
            raise unfit(f"prompt[{number!r:.40}]: {_kind(node)}", '{"class_type", "inputs"}')
        if not isinstance(node.get("class_type", ""), str):
            raise unfit(f"prompt[{number!r:.40}].class_type: {_kind(node['class_type'])}", '"…"')
        for name, text, _ in broken_texts(node):
            _refuse_text(number, node.get("class_type", ""), name, text)


def _refuse_text(node: str, kind: str, name: str, text: str) -> None:
    try:
        prompt_rules.check(text)
    except ZImageError as error:
        reason = Bilingual(error.chinese, error.english)
        raise ZImageError(
            "ZI-REQUEST-TEXT", node=node, kind=kind, name=name, reason=reason, found=error.code
        ) from None


def clamp(prompt: dict[str, Any], bounds: Bounds) -> list[dict[str, Any]]:
    """Reduce sizes of new images to ``bounds.side``, in place.

    Returns:
        What was changed: ``node``, ``input``, ``from`` and ``to`` of each.

    Raises:
        ZImageError: ``ZI-REQUEST-WORK`` for what cannot be reduced without another meaning:
            batches, steps, many large images, and too much work of all samplers together.
    """
    changes = []
    for number, node in prompt.items():
        for excess in list(excesses(node, bounds)):
            if not excess.clamped:
                raise excess.error(number)
            values = {"from": excess.found, "to": excess.maximum}
            changes.append({"node": number, "input": excess.name, **values})
            node["inputs"][excess.name] = excess.maximum
    if (largest := work.find_excess(prompt, bounds)) is not None:
        number, excess = largest
        raise excess.error(number)
    return changes


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _plain(text: str) -> bool:
    return prompt_rules.find_refused(text) is None and "\0" not in text


def _kind(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.60}"
