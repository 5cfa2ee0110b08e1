"""Calls of a pack's nodes, with the context that ComfyUI gives a node."""

from __future__ import annotations

import asyncio
from typing import Any

from ..protocol import messages as m
from ..protocol.exceptions import CodecError
from .progress import handler
from .worker import Worker


class NodeCalls:
    """Runs functions of node classes.

    Args:
        worker: has the codec and the instances.
        server: ComfyUI's server, which is never started.
        nodes: the pack's node classes by name.
    """

    def __init__(self, worker: Worker, server: Any, nodes: dict[str, Any]) -> None:
        self.worker = worker
        self.server = server
        self.nodes = nodes
        self._prompt: str | None = None

    def run(self, call: m.Call) -> Any:
        """Run a node's function; return its result or, if it is a coroutine, a coroutine."""
        node = self.nodes.get(call.name)
        if node is None:
            raise CodecError(f"no node {call.name}")
        function = self._bound(node, call)
        self._set_context(call.context)
        import torch
        from comfy_execution.utils import CurrentNodeContext

        context = call.context or m.Context("", "")
        if asyncio.iscoroutinefunction(function):
            with torch.inference_mode():
                arguments = self.worker.codec.unpack(call.arguments)
            return _await(function, arguments, context)
        with (
            torch.inference_mode(),
            CurrentNodeContext(context.prompt, context.node, context.index),
        ):
            # Unpacked here: as in ComfyUI, a node's tensors are made in inference mode.
            arguments = self.worker.codec.unpack(call.arguments)
            return as_plain(function(**arguments))

    def _bound(self, node: Any, call: m.Call) -> Any:
        from comfy_api.internal import _ComfyNodeInternal, make_locked_method_func

        if issubclass(node, _ComfyNodeInternal):
            clone = node.PREPARE_CLASS_CLONE(self._hidden(call))
            return make_locked_method_func(node, call.function, clone)
        if not call.instance:
            return getattr(node, call.function)
        instance = self.worker.instances.get(call.instance)
        if instance is None:
            instance = self.worker.instances[call.instance] = node()
        return getattr(instance, call.function)

    def _hidden(self, call: m.Call) -> Any:
        from comfy_api.latest import io

        values = self.worker.codec.unpack(call.hidden) or {}
        hidden = {io.Hidden[name]: value for name, value in values.items()}
        if hasattr(io.HiddenHolder, "from_v3_data"):  # newer hosts have another level
            return {"hidden_inputs": hidden}
        return hidden

    def _set_context(self, context: m.Context | None) -> None:
        import comfy.model_management
        from comfy_execution.graph_utils import GraphBuilder
        from comfy_execution.progress import add_progress_handler, reset_progress_state

        comfy.model_management.interrupt_current_processing(False)
        if context is None:
            return
        self.server.client_id = context.client
        self.server.last_node_id = context.node
        self.server.last_prompt_id = context.prompt
        if context.prefix:
            GraphBuilder.set_default_prefix(*context.prefix)
        if self._prompt != context.prompt:
            self._prompt = context.prompt
            reset_progress_state(context.prompt, None)  # type: ignore[arg-type]
            add_progress_handler(handler(self.worker))


async def _await(function: Any, arguments: dict[str, Any], context: m.Context) -> Any:
    from comfy_execution.utils import CurrentNodeContext

    with CurrentNodeContext(context.prompt, context.node, context.index):
        return as_plain(await function(**arguments))


def as_plain(value: Any) -> Any:
    """Return the result of a node; a V3 ``NodeOutput`` as a dictionary with a mark."""
    from comfy_api.internal import _NodeOutputInternal

    if not isinstance(value, _NodeOutputInternal):
        return value
    ui = value.ui if value.ui is None or isinstance(value.ui, dict) else value.ui.as_dict()
    return {
        "\0v3": True,
        "result": value.result,
        "ui": ui,
        "expand": value.expand,
        "block": value.block_execution,
    }
