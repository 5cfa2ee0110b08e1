"""Inputs that stand for several: what they are for one node depends on what the node holds.

Newer hosts write them as one entry of ``/object_info`` and take ``NAME.PART`` in a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .inputs import AUTOGROW, DYNAMIC_COMBO, Input, parse_inputs, rows, table

LIMIT = 200
"""Parts that the inputs of a node are expanded to; a description can ask for any number."""


def expand(inputs: Mapping[str, Input], given: Mapping[str, Any]) -> dict[str, Input]:
    """The inputs of a node that holds ``given``, dynamic ones replaced by their parts."""
    found: dict[str, Input] = {}
    waiting = list(inputs.values())[::-1]
    most = len(inputs) + LIMIT
    while waiting and len(found) < most and len(waiting) < 2 * most:
        entry = waiting.pop()
        if entry.dynamic == AUTOGROW:
            waiting += reversed(_grown(entry, given))
        elif entry.dynamic and entry.dynamic != DYNAMIC_COMBO:
            found[entry.name] = replace(entry, required=False)  # its parts are not known
        else:
            found[entry.name] = entry
            waiting += reversed(chosen(entry, given.get(entry.name)))
    return found


def chosen(entry: Input, key: Any) -> list[Input]:
    """What belongs to the chosen entry of a choice; nothing for other inputs."""
    if entry.dynamic != DYNAMIC_COMBO:
        return []
    for row in rows(entry.options.get("options")):
        if row.get("key") == key:
            return [replace(part, name=f"{entry.name}.{part.name}")
                    for part in parse_inputs(row.get("inputs")).values()]  # fmt: skip
    return []


def _grown(entry: Input, given: Mapping[str, Any]) -> list[Input]:
    """A list of inputs of one kind: the first ones are required, more may follow."""
    template = table(entry.options.get("template"))
    kinds = list(parse_inputs(template.get("input")).values())
    if not kinds:
        return []
    least, names = template.get("min"), template.get("names")
    least = min(least, LIMIT) if isinstance(least, int) else 1
    if isinstance(names, list):
        parts = [f"{entry.name}.{name}" for name in names[:LIMIT]]
    else:
        first = [f"{entry.name}.{template.get('prefix', '')}{n}" for n in range(least)]
        more = [name for name in given if name.startswith(f"{entry.name}.")]
        parts = list(dict.fromkeys(first + more))
    return [
        replace(kinds[0], name=name, required=entry.required and number < least)
        for number, name in enumerate(parts)
    ]
