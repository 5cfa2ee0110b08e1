"""Progress and previews of a node in a sandbox, on their way to the page."""

from __future__ import annotations

from typing import Any

from .host_client import HostClient


def flat(preview: Any) -> Any:
    """Return ComfyUI's (format, picture, largest side) with an 8-bit array [height, width, 3].

    None if it is no such preview.
    """
    if not isinstance(preview, tuple | list) or len(preview) != 3:
        return None
    import numpy

    kind, picture, largest = preview
    try:
        return [kind, numpy.asarray(picture.convert("RGB"), dtype=numpy.uint8), largest]
    except (AttributeError, ValueError):
        return None


def handler(client: HostClient) -> Any:
    """Return a handler for ComfyUI's progress registry, which V3 nodes report to."""
    from comfy_execution.progress import ProgressHandler

    class Forward(ProgressHandler):
        def __init__(self) -> None:
            super().__init__("zimage")

        def update_handler(
            self,
            node_id: str,
            value: float,
            max_value: float,
            state: Any,
            prompt_id: str,
            image: Any = None,
        ) -> None:
            client.send_event("progress", [value, max_value, flat(image)])

    return Forward()
