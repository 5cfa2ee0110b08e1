"""The node classes of the running host, described one by one when a check asks for them."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..validator import snapshot
from ..validator.knowledge import Knowledge, NodeClass

log = logging.getLogger(__name__)


class LiveKnowledge(Knowledge):
    """Like :class:`Knowledge`, for classes in memory.

    A ComfyUI can have thousands, and describing one may list folders, so only those that a
    workflow names are looked at, each once.

    Args:
        classes: the host's ``NODE_CLASS_MAPPINGS``.
    """

    def __init__(self, classes: Mapping[str, Any]) -> None:
        super().__init__({})
        self.classes = classes

    def get(self, name: object) -> NodeClass | None:
        """The class of that name, if the host has it and can describe it."""
        if isinstance(name, str) and name in self.classes and name not in self.node_classes:
            try:
                # Through JSON, as /object_info does it: tuples become lists, enumerations words.
                info = json.loads(json.dumps(describe(self.classes[name]), default=str))
                self.node_classes |= Knowledge({name: info}).node_classes
            except Exception:  # anything can happen in somebody's INPUT_TYPES
                log.debug("Z-Image: node class %s cannot be described", name, exc_info=True)
        return super().get(name)

    def names(self) -> Iterable[str]:
        """The names of all classes, described or not."""
        return [name for name in list(self.classes) if isinstance(name, str)]


def describe(kind: Any) -> dict[str, Any]:
    """What ``/object_info`` says about a class, as far as a check needs it."""
    if hasattr(kind, "GET_NODE_INFO_V1"):
        return kind.GET_NODE_INFO_V1()
    return {
        "input": kind.INPUT_TYPES(),
        "output": kind.RETURN_TYPES,
        "output_node": getattr(kind, "OUTPUT_NODE", False) is True,
        "python_module": getattr(kind, "RELATIVE_PYTHON_MODULE", "nodes"),
    }


def knowledge() -> Knowledge:
    """The running host's node classes; the stored ones where there is no such host."""
    classes = getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", None)
    if isinstance(classes, Mapping) and classes:
        return LiveKnowledge(classes)
    return snapshot.load()


def text_encoder(name: str | None) -> Path | None:
    """The file that a loader's list calls by this name, None for any other name."""
    folders = sys.modules.get("folder_paths")
    if folders is None or name not in folders.get_filename_list("text_encoders"):
        return None
    path = folders.get_full_path("text_encoders", name)
    return Path(path) if path else None
