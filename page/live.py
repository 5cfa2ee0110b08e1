"""The node classes of the running host, described when a check needs them."""

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
    """Like :class:`Knowledge`, for the classes in memory.

    A ComfyUI can have thousands of classes, and describing one may list folders. Only the classes
    of a workflow are described, each once.

    Args:
        classes: the host's ``NODE_CLASS_MAPPINGS``.
    """

    def __init__(self, classes: Mapping[str, Any]) -> None:
        super().__init__({})
        self.classes = classes

    def get(self, name: object) -> NodeClass | None:
        """Return the class of a name; None for one that is unknown or cannot be described."""
        if isinstance(name, str) and name in self.classes and name not in self.node_classes:
            try:
                # Through JSON, as in /object_info: tuples become lists, enumerations text.
                info = json.loads(json.dumps(describe(self.classes[name]), default=str))
                self.node_classes |= Knowledge({name: info}).node_classes
            except Exception:  # INPUT_TYPES of another pack may raise any error
                log.debug("Z-Image: node class %s cannot be described", name, exc_info=True)
        return super().get(name)

    def names(self) -> Iterable[str]:
        """Return the names of all classes, described or not."""
        return [name for name in list(self.classes) if isinstance(name, str)]


def describe(kind: Any) -> dict[str, Any]:
    """Return the part of ``/object_info`` about a class that a check needs."""
    if hasattr(kind, "GET_NODE_INFO_V1"):
        return kind.GET_NODE_INFO_V1()
    return {
        "input": kind.INPUT_TYPES(),
        "output": kind.RETURN_TYPES,
        "output_node": getattr(kind, "OUTPUT_NODE", False) is True,
        "python_module": getattr(kind, "RELATIVE_PYTHON_MODULE", "nodes"),
    }


def knowledge() -> Knowledge:
    """Return the running host's node classes; without a host, those of the stored snapshot."""
    classes = getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", None)
    if isinstance(classes, Mapping) and classes:
        return LiveKnowledge(classes)
    return snapshot.load()


def text_encoder(name: str | None) -> Path | None:
    """Return the file of a name in the loaders' list; None for any other name."""
    folders = sys.modules.get("folder_paths")
    if folders is None or name not in folders.get_filename_list("text_encoders"):
        return None
    path = folders.get_full_path("text_encoders", name)
    return Path(path) if path else None


def output_folder() -> str | None:
    """Return the output folder of the running host; None without a host."""
    folders = sys.modules.get("folder_paths")
    return None if folders is None else folders.get_output_directory()
