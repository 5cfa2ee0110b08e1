"""What ComfyUI is executing while a node of a pack runs."""

from __future__ import annotations

import sys

from ..protocol import messages as m


def running_prompts() -> set[str]:
    """Return the ids of the prompts that ComfyUI runs now."""
    server = sys.modules.get("server")
    instance = getattr(getattr(server, "PromptServer", None), "instance", None)
    running = getattr(getattr(instance, "prompt_queue", None), "currently_running", {})
    return {item[1] for item in list(running.values())}


def current_context() -> m.Context | None:
    """Return prompt, node and client of the node that runs in this thread; None outside of one."""
    from comfy_execution.graph_utils import GraphBuilder
    from comfy_execution.utils import get_executing_context
    from server import PromptServer

    executing = get_executing_context()
    if executing is None:
        return None
    prefix = [
        GraphBuilder._default_prefix_root,
        GraphBuilder._default_prefix_call_index,
        GraphBuilder._default_prefix_graph_index,
    ]
    client = getattr(getattr(PromptServer, "instance", None), "client_id", None)
    return m.Context(executing.prompt_id, executing.node_id, executing.list_index, client, prefix)
