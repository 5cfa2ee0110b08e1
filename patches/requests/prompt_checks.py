"""A prompt as somebody sent it, judged before the host takes it apart.

Pure functions over JSON; :mod:`.fuse` answers for them.
"""

from __future__ import annotations

import math
from typing import Any

from ...errors import ZImageError
from ...http_body import unfit
from ...text import prompt_rules
from ...validator import work
from ...validator.bounds import Bounds, broken_texts, excesses

LONGEST_ID = 256


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
        for name, text, _ in broken_texts(node):
            _refuse_text(number, node.get("class_type", ""), name, text)


def _refuse_text(node: str, kind: str, name: str, text: str) -> None:
    try:
        prompt_rules.check(text)
    except ZImageError as error:
        reason = {"zh": error.chinese, "en": error.english, "found": error.code}
        raise ZImageError("ZI-REQUEST-TEXT", node=node, kind=kind, name=name, **reason) from None


def clamp(prompt: dict[str, Any], bounds: Bounds) -> list[dict[str, Any]]:
    """Bring sizes of new pictures down to ``bounds.side``, in place.

    Returns:
        What was changed: ``node``, ``input``, ``from`` and ``to`` of each.

    Raises:
        ZImageError: ``ZI-REQUEST-WORK`` for what cannot be brought down without another meaning:
            batches, steps, many large pictures, and too much work of all samplers together.
    """
    changed = []
    for number, node in prompt.items():
        for excess in list(excesses(node, bounds)):
            if not excess.clamped:
                raise excess.error(number)
            told = {"from": excess.found, "to": excess.maximum}
            changed.append({"node": number, "input": excess.name, **told})
            node["inputs"][excess.name] = excess.maximum
    if (most := work.find_excess(prompt, bounds)) is not None:
        raise most[1].error(most[0])
    return changed


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _plain(text: str) -> bool:
    return prompt_rules.find_refused(text) is None and "\0" not in text


def _kind(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.60}"
