"""What ComfyUI is doing where a node of a pack is run."""

from __future__ import annotations

import sys

from ..protocol import messages as m


def prompts() -> set[str]:
    """Prompts that ComfyUI is running now."""
    server = sys.modules.get("server")
    instance = getattr(getattr(server, "PromptServer", None), "instance", None)
    running = getattr(getattr(instance, "prompt_queue", None), "currently_running", {})
    return {item[1] for item in list(running.values())}


def surroundings() -> m.Context | None:
    """What ComfyUI knows of the node that runs here."""
    from comfy_execution.graph_utils import GraphBuilder
    from comfy_execution.utils import get_executing_context
    from server import PromptServer

    found = get_executing_context()
    if found is None:
        return None
    prefix = [
        GraphBuilder._default_prefix_root,
        GraphBuilder._default_prefix_call_index,
        GraphBuilder._default_prefix_graph_index,
    ]
    client = getattr(getattr(PromptServer, "instance", None), "client_id", None)
    return m.Context(found.prompt_id, found.node_id, found.list_index, client, prefix)
