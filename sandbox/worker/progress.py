"""Progress and previews of a node in a sandbox, on their way to the page."""

from __future__ import annotations

from typing import Any

from .worker import Worker


def flat(preview: Any) -> Any:
    """ComfyUI's (format, picture, largest side), the picture as 8-bit [height, width, 3]."""
    if not isinstance(preview, tuple | list) or len(preview) != 3:
        return None
    import numpy

    kind, picture, largest = preview
    try:
        return [kind, numpy.asarray(picture.convert("RGB"), dtype=numpy.uint8), largest]
    except (AttributeError, ValueError):
        return None


def handler(worker: Worker) -> Any:
    """For ComfyUI's registry of progress: what nodes report by the newer interface."""
    from comfy_execution.progress import ProgressHandler

    class Forward(ProgressHandler):
        def __init__(self) -> None:
            super().__init__("zimage")

        def update_handler(
            self, node_id: str, value: float, max_value: float, state: Any, prompt_id: str,
            image: Any = None,
        ) -> None:  # fmt: skip
            worker.tell("progress", [value, max_value, flat(image)])

    return Forward()
