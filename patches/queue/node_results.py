"""A node whose ``ui`` value is not JSON fails, and the server goes on.

The host passes such values to every WebSocket and to ``/history``. To encode them there raises an
error in the loop that sends events, which ends the process, or makes ``/history`` answer 500 for
everybody.
"""

from __future__ import annotations

import json
from typing import Any

from ...errors import ZImageError
from ..base.hooks import Argument, Function, HookPoint, Patch
from ..base.registry import About

ABOUT = About(
    part="results",
    bare_host="A `ui` value that is not JSON ends the process.",
    here="That node fails.",
)
OUTPUTS = HookPoint("execution", "get_output_from_returns", ("obj",))


def create() -> Patch:
    """Return the part."""
    return Patch(OUTPUTS, check_results)


def check_results(original: Function) -> Function:
    """Wrap the host's function that reads what a node has returned."""
    node = Argument(original, "obj")

    def outputs(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        ui = result[1]
        if ui:
            try:
                json.dumps(ui)
            except (TypeError, ValueError, RecursionError) as error:
                obj = node.of(arguments, named)
                name = getattr(obj, "__name__", type(obj).__name__)
                raise ZImageError("ZI-NODE-UI", name=name, found=error) from error
        return result

    return outputs
