"""ComfyUI as a pack in a sandbox sees it: its real modules, and a server that is never started."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import threading
from typing import Any

from ..protocol import messages as m
from ..protocol.exceptions import CodecError
from .describe import inputs
from .file_watch import FileWatch
from .host_functions import HostFunctions
from .node_calls import NodeCalls
from .pack_import import PackImport, encodable
from .progress import flat
from .worker import Worker

log = logging.getLogger("zimage.sandbox")


class ComfyEnvironment:
    """ComfyUI and one pack in this process; the first call imports the pack.

    Args:
        worker: the connection to the host.
        begin: which pack, and the host's folders.
    """

    def __init__(self, worker: Worker, begin: m.Begin) -> None:
        self.worker = worker
        self.begin = begin
        self.info: m.PackInfo | None = None
        self.watch: FileWatch | None = None
        self._pack: PackImport | None = None
        self._node_calls: NodeCalls | None = None
        worker.run = self.run
        worker.on_cancel = self.cancel
        worker.runs_at_once = self._runs_at_once

    def run(self, call: m.Call) -> Any:
        """Run one call of the host."""
        if self.info is None:
            self.info = self.load()
        if call.what == "describe":
            return m.encode(self.info)
        if call.what == "node" and self._node_calls is not None:
            return self._node_calls.run(call)
        if call.what == "inputs":
            return asyncio.to_thread(self._inputs, self.worker.codec.unpack(call.arguments))
        if call.what == "object":
            return self._call_object(call)
        if call.what == "route" and self._pack is not None:
            return self._pack.http.answer(call.number, self.worker.codec.unpack(call.arguments))
        raise CodecError(call.what)

    def _runs_at_once(self, call: m.Call) -> bool:
        """Return whether the page waits for this call: it runs while a node does, as in ComfyUI."""
        return call.what in {"describe", "inputs", "route"} and self.info is not None

    def load(self) -> m.PackInfo:
        """Prepare ComfyUI, import the pack and return its description."""
        self._set_folders()
        server = self._make_server()
        HostFunctions(self.worker).install()
        self.watch = FileWatch()
        self._pack = PackImport(self.begin, server, self.watch)
        info = self._pack.run()
        self._node_calls = NodeCalls(self.worker, server, self._pack.nodes)
        return info

    def _set_folders(self) -> None:
        import folder_paths

        for name, path in self.begin.directories.items():
            setattr(folder_paths, f"{name}_directory", path)
        for name, (paths, suffixes) in self.begin.folders.items():
            folder_paths.folder_names_and_paths[name] = (list(paths), set(suffixes))
        folder_paths.filename_list_cache.clear()

    def _make_server(self) -> Any:
        """Make a server that sends its messages to the host."""
        import server
        from comfy import utils

        instance = server.PromptServer(asyncio.new_event_loop())
        instance.send_sync = self._send
        utils.set_progress_bar_global_hook(self._progress)
        return instance

    def _call_object(self, call: m.Call) -> Any:
        import torch

        with torch.inference_mode():  # as the host's samplers are when they call it
            args, kwargs = self.worker.codec.unpack(call.arguments)
            return self.worker.objects.find(call.instance)(*args, **kwargs)

    def _inputs(self, names: list[str]) -> bytes:
        from comfy_api.internal import _ComfyNodeInternal

        nodes = {} if self._pack is None else self._pack.nodes
        current = {}
        for name in names:
            node = nodes[name]
            v3 = issubclass(node, _ComfyNodeInternal)
            try:
                current[name] = inputs(node, v3, self.watch)[:2]
            except Exception as error:  # noqa: BLE001  a faulty node must not affect the others
                log.warning("%s.INPUT_TYPES: %s", name, error)
        paths = [] if self.watch is None else encodable(self.watch.paths)
        return m.encode(m.Inputs(current, paths))

    def _progress(
        self, value: Any, total: Any, preview: Any, prompt_id: Any = None, node_id: Any = None
    ) -> None:
        import comfy.model_management

        comfy.model_management.throw_exception_if_processing_interrupted()
        self.worker.send_event("progress", [value, total, flat(preview)])

    def _send(self, event: Any, data: Any, sid: Any = None) -> None:
        if isinstance(event, str):
            self.worker.send_event("send", [event, data, sid])
        elif isinstance(event, int):  # BinaryEventTypes
            picture = flat(data)
            self.worker.send_event("send", [int(event), data if picture is None else picture, sid])

    def cancel(self, number: int) -> None:
        """Cancel a request, or interrupt what runs.

        ComfyUI's flag is set, and an exception is raised in the main thread if it runs that call.
        """
        if self._pack is not None and self._pack.http.cancel(number):
            return
        import comfy.model_management

        comfy.model_management.interrupt_current_processing(True)
        main = threading.main_thread().ident
        if main is not None and self.worker.current == number:
            kind = comfy.model_management.InterruptProcessingException
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(main), ctypes.py_object(kind))


def serve(worker: Worker, begin: m.Begin) -> None:
    """Serve the host until it closes the connection."""
    ComfyEnvironment(worker, begin)
    worker.main()
