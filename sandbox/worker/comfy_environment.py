"""ComfyUI as a pack in a sandbox sees it: the real modules, with a server that only passes on."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

from ..protocol import messages as m
from ..protocol.codec import ValueTroubleError
from .describe import Snapshot, Watch, describe, inputs
from .host_functions import Hosted
from .http_handlers import Handlers
from .worker import Worker

log = logging.getLogger("zimage.sandbox")
MISSING = re.compile(r"No module named '([\w.]+)'")


class Guest:
    """One pack in this process.

    Args:
        worker: the connection to the host.
        begin: which pack, and the host's folders.
    """

    def __init__(self, worker: Worker, begin: m.Begin) -> None:
        self.worker, self.begin = worker, begin
        self.server: Any = None
        self.watch: Watch | None = None
        self.nodes: dict[str, Any] = {}
        self.info: m.PackInfo | None = None
        self._prompt: str | None = None
        self._web: Handlers | None = None
        worker.run = self.run
        worker.cancelled = self.cancel
        worker.at_once = self._at_once

    def run(self, call: m.Call) -> Any:
        """Answer one call of the host."""
        if call.what == "describe":
            if self.info is None:
                self.info = self.load()
            return m.encode(self.info)
        if self.info is None:
            self.info = self.load()
        if call.what == "node":
            return self._node(call)
        if call.what == "inputs":
            return asyncio.to_thread(self._inputs, self.worker.codec.unpack(call.arguments))
        if call.what == "object":
            import torch

            with torch.inference_mode():  # as the host's samplers are when they call it
                args, kwargs = self.worker.codec.unpack(call.arguments)
                return self.worker.objects.find(call.instance)(*args, **kwargs)
        if call.what == "route":
            return self._route(call)
        raise ValueTroubleError(call.what)

    def _at_once(self, call: m.Call) -> bool:
        """The page is answered while a node runs, as it is in ComfyUI."""
        return call.what in {"describe", "inputs", "route"} and self.info is not None

    # Loading.

    def load(self) -> m.PackInfo:
        """Import the pack as ComfyUI does, and look at what there is then."""
        self._folders()
        self._server()
        Hosted(self.worker).install()

        nodes: Any = importlib.import_module("nodes")

        self.watch = Watch()
        before, own = Snapshot(), set(nodes.NODE_CLASS_MAPPINGS)
        web, names = dict(nodes.EXTENSION_WEB_DIRS), dict(nodes.NODE_DISPLAY_NAME_MAPPINGS)
        folders, handlers = _kinds(), self._handlers()
        self._web = routes = Handlers(self.server)
        records = _Records()
        logging.getLogger().addHandler(records)
        try:
            self._prestartup()
            loaded = asyncio.run(
                nodes.load_custom_node(self.begin.path, set(self.begin.ignore), self.begin.parent)
            )
        finally:
            logging.getLogger().removeHandler(records)
        self.nodes = {
            name: node
            for name, node in nodes.NODE_CLASS_MAPPINGS.items()
            if name not in own and name not in self.begin.ignore
        }
        shown = nodes.NODE_DISPLAY_NAME_MAPPINGS
        routes.collect()
        described = [describe(k, v, shown.get(k), self.watch) for k, v in self.nodes.items()]
        return m.PackInfo(
            loaded=loaded,
            nodes=described,
            trace=records.text(),
            missing=records.missing(),
            web={k: v for k, v in nodes.EXTENSION_WEB_DIRS.items() if web.get(k) != v},
            routes=routes.paths(),
            static=routes.folders(),
            folders={k: v for k, v in _kinds().items() if folders.get(k) != v},
            patched=before.changed(),
            handlers=[one for one in self._handlers() if one not in handlers],
            names={str(k): str(v) for k, v in shown.items() if names.get(k) != v},
            taken=self._taken(),
            looked_at=self._looked_at(),
        )

    def _taken(self) -> list[str]:
        """Names of its nodes that it did not get, since ComfyUI has nodes of those names."""
        module = sys.modules.get(self.begin.path.replace(".", "_x_"))  # as load_custom_node has it
        own = getattr(module, "NODE_CLASS_MAPPINGS", None)
        found = own if isinstance(own, dict) else {}
        return sorted(str(one) for one in found if one in self.begin.ignore)

    def _folders(self) -> None:
        import folder_paths

        for name, path in self.begin.directories.items():
            setattr(folder_paths, f"{name}_directory", path)
        for name, (paths, suffixes) in self.begin.folders.items():
            folder_paths.folder_names_and_paths[name] = (list(paths), set(suffixes))
        folder_paths.filename_list_cache.clear()

    def _server(self) -> None:
        """A server that is never started: what it would send goes to the host."""
        import server
        from comfy import utils

        loop = asyncio.new_event_loop()
        self.server = server.PromptServer(loop)
        self.server.send_sync = self._send
        utils.set_progress_bar_global_hook(self._progress)

    def _handlers(self) -> list[str]:
        found = [f"prompt handler {one!r}" for one in self.server.on_prompt_handlers]
        return found + [f"middleware {one!r}" for one in self.server.app.middlewares]

    def _prestartup(self) -> None:
        script = Path(self.begin.path) / "prestartup_script.py"
        if not script.is_file():
            return
        spec = importlib.util.spec_from_file_location(os.path.splitext(script)[0], script)
        if spec is None or spec.loader is None:
            return
        try:
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        except Exception:
            log.exception("Failed to execute startup-script: %s", script)

    # Running.

    def _node(self, call: m.Call) -> Any:
        node = self.nodes.get(call.name)
        if node is None:
            raise ValueTroubleError(f"no node {call.name}")
        function = self._bound(node, call)
        self._surroundings(call.context)
        import torch

        if asyncio.iscoroutinefunction(function):
            with torch.inference_mode():
                arguments = self.worker.codec.unpack(call.arguments)
            return self._awaited(function, arguments, call.context)
        from comfy_execution.utils import CurrentNodeContext

        context = call.context or m.Context("", "")
        with (
            torch.inference_mode(),
            CurrentNodeContext(context.prompt, context.node, context.index),
        ):
            # Tensors of the mode, as in ComfyUI: a parameter made here would not bear others.
            arguments = self.worker.codec.unpack(call.arguments)
            return _plain(function(**arguments))

    async def _awaited(self, function: Any, arguments: Any, context: m.Context | None) -> Any:
        from comfy_execution.utils import CurrentNodeContext

        context = context or m.Context("", "")
        with CurrentNodeContext(context.prompt, context.node, context.index):
            return _plain(await function(**arguments))

    def _bound(self, node: Any, call: m.Call) -> Any:
        from comfy_api.internal import _ComfyNodeInternal, make_locked_method_func

        if issubclass(node, _ComfyNodeInternal):
            from comfy_api.latest import io

            found = self.worker.codec.unpack(call.hidden) or {}
            hidden: Any = {io.Hidden[k]: v for k, v in found.items()}
            if hasattr(io.HiddenHolder, "from_v3_data"):  # since hosts nest inputs, too
                hidden = {"hidden_inputs": hidden}
            clone = node.PREPARE_CLASS_CLONE(hidden)
            return make_locked_method_func(node, call.function, clone)
        if not call.instance:
            return getattr(node, call.function)
        instance = self.worker.instances.get(call.instance)
        if instance is None:
            instance = self.worker.instances[call.instance] = node()
        return getattr(instance, call.function)

    def _surroundings(self, context: m.Context | None) -> None:
        import comfy.model_management
        from comfy_execution.graph_utils import GraphBuilder
        from comfy_execution.progress import add_progress_handler, reset_progress_state

        comfy.model_management.interrupt_current_processing(False)
        if context is None:
            return
        self.server.client_id, self.server.last_node_id = context.client, context.node
        self.server.last_prompt_id = context.prompt
        if context.prefix:
            GraphBuilder.set_default_prefix(*context.prefix)
        if self._prompt != context.prompt:
            from .progress import handler

            self._prompt = context.prompt
            reset_progress_state(context.prompt, None)  # type: ignore[arg-type]
            add_progress_handler(handler(self.worker))

    def _inputs(self, names: list[str]) -> bytes:
        from comfy_api.internal import _ComfyNodeInternal

        found = {}
        for name in names:
            node = self.nodes[name]
            v3 = issubclass(node, _ComfyNodeInternal)
            try:
                found[name] = inputs(node, v3, self.watch)[:2]
            except Exception as error:  # noqa: BLE001
                log.warning("%s.INPUT_TYPES: %s", name, error)
        return m.encode(m.Inputs(found, self._looked_at()))

    def _looked_at(self) -> list[str]:
        paths = () if self.watch is None else [*self.watch.paths]
        return [one for one in paths if one == one.encode("utf-8", "replace").decode()]

    def _route(self, call: m.Call) -> Any:
        if self._web is None:
            raise ValueTroubleError("no routes")
        return self._web.answer(call.number, self.worker.codec.unpack(call.arguments))

    # Telling.

    def _progress(
        self, value: Any, total: Any, preview: Any, prompt_id: Any = None, node_id: Any = None
    ) -> None:
        import comfy.model_management

        comfy.model_management.throw_exception_if_processing_interrupted()
        from .progress import flat

        self.worker.tell("progress", [value, total, flat(preview)])

    def _send(self, event: Any, data: Any, sid: Any = None) -> None:
        if isinstance(event, str):
            self.worker.tell("send", [event, data, sid])
        elif isinstance(event, int):  # BinaryEventTypes
            from .progress import flat

            picture = flat(data)
            self.worker.tell("send", [int(event), data if picture is None else picture, sid])

    def cancel(self, number: int) -> None:
        """Ask what runs to stop: ComfyUI's flag, and an exception in the main thread."""
        if self._web is not None and self._web.cancel(number):
            return
        import ctypes

        import comfy.model_management

        comfy.model_management.interrupt_current_processing(True)
        main = _main_thread()
        if main is not None and self.worker.current == number:
            kind = comfy.model_management.InterruptProcessingException
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(main), ctypes.py_object(kind))


def _main_thread() -> int | None:
    import threading

    return threading.main_thread().ident


def _plain(value: Any) -> Any:
    """What a node gave, with V3's output as a dictionary of its own."""
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


def _kinds() -> dict[str, tuple[list[str], list[str]]]:
    import folder_paths

    return {
        str(name): ([str(path) for path in paths], sorted(str(one) for one in suffixes))
        for name, (paths, suffixes) in folder_paths.folder_names_and_paths.items()
    }


class _Records(logging.Handler):
    """Warnings while a pack is imported: the only place where ComfyUI says why it failed."""

    MOST = 64 * 2**10

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())

    def text(self) -> str:
        return "\n".join(self._said)[-self.MOST :].encode("utf-8", "backslashreplace").decode()

    def missing(self) -> str:
        found = MISSING.findall(self.text())
        return found[-1][:200] if found else ""


def listen(worker: Worker, begin: m.Begin) -> None:
    """Work for the host until it hangs up."""
    Guest(worker, begin)
    worker.main()
