"""Node classes that stand in ComfyUI for nodes that run in a sandbox."""

from __future__ import annotations

from ..protocol import messages as m
from .node_caller import Caller
from .proxy_v1 import make_v1
from .proxy_v3 import make_v3


def make(info: m.NodeInfo, caller: Caller) -> type:
    """Return the class for ``NODE_CLASS_MAPPINGS``."""
    return make_v3(info, caller) if info.v3 else make_v1(info, caller)
