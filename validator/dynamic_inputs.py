"""Dynamic inputs: one entry of ``/object_info`` that stands for several inputs of a node.

Which inputs it stands for depends on the values of the node. A prompt names them ``NAME.PART``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .inputs import AUTOGROW, DYNAMIC_COMBO, Input, parse_inputs
from .json_values import JsonObject, as_object, is_list, objects_in

LIMIT = 200
"""Maximum number of inputs that expansion adds to a node; a description can ask for any number."""


def expand(inputs: Mapping[str, Input], given: Mapping[str, Any]) -> dict[str, Input]:
    """Return the inputs of a node with the values ``given``, with dynamic ones expanded."""
    expanded: dict[str, Input] = {}
    stack = list(inputs.values())[::-1]
    limit = len(inputs) + LIMIT
    while stack and len(expanded) < limit and len(stack) < 2 * limit:
        entry = stack.pop()
        if entry.dynamic == AUTOGROW:
            stack += reversed(_autogrow_parts(entry, given))
        elif entry.dynamic and entry.dynamic != DYNAMIC_COMBO:
            expanded[entry.name] = replace(entry, required=False)  # its parts are not known
        else:
            expanded[entry.name] = entry
            stack += reversed(chosen_parts(entry, given.get(entry.name)))
    return expanded


def chosen_parts(entry: Input, key: Any) -> list[Input]:
    """Return the inputs that the chosen entry of a dynamic choice adds; none for other inputs."""
    if entry.dynamic != DYNAMIC_COMBO:
        return []
    for row in objects_in(entry.options.get("options")):
        if row.get("key") == key:
            parts = parse_inputs(row.get("inputs")).values()
            return [replace(part, name=f"{entry.name}.{part.name}") for part in parts]
    return []


def _autogrow_parts(entry: Input, given: Mapping[str, Any]) -> list[Input]:
    """Return the inputs of a growing list. The first ones are required, more can follow."""
    template = as_object(entry.options.get("template"))
    prototype = next(iter(parse_inputs(template.get("input")).values()), None)
    if prototype is None:
        return []
    minimum = template.get("min")
    minimum = min(minimum, LIMIT) if isinstance(minimum, int) else 1
    return [
        replace(prototype, name=name, required=entry.required and number < minimum)
        for number, name in enumerate(_autogrow_names(entry, template, minimum, given))
    ]


def _autogrow_names(
    entry: Input, template: JsonObject, minimum: int, given: Mapping[str, Any]
) -> list[str]:
    names = template.get("names")
    if is_list(names):
        return [f"{entry.name}.{name}" for name in names[:LIMIT]]
    prefix = template.get("prefix", "")
    required = [f"{entry.name}.{prefix}{number}" for number in range(minimum)]
    given_names = [name for name in given if name.startswith(f"{entry.name}.")]
    return list(dict.fromkeys(required + given_names))
