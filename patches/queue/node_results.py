"""A node whose ``ui`` value is not JSON fails at that node instead of taking the server down.

The host hands such values to every WebSocket and to ``/history``. Encoding them there fails in
the loop that sends events, which ends the process, or makes ``/history`` answer 500 for all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ...errors import ZImageError
from ..base.hooks import Argument, HookPoint, Patch

OUTPUTS = HookPoint("execution", "get_output_from_returns", ("obj",))


def create() -> Patch:
    """The patch."""
    return Patch(OUTPUTS, _wrap)


def _wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    node = Argument(original, "obj")

    def outputs(*arguments: Any, **named: Any) -> Any:
        found = original(*arguments, **named)
        ui = found[1]
        if ui:
            try:
                json.dumps(ui)
            except (TypeError, ValueError, RecursionError) as error:
                obj = node.of(arguments, named)
                name = getattr(obj, "__name__", type(obj).__name__)
                raise ZImageError("ZI-NODE-UI", name=name, found=error) from error
        return found

    return outputs
