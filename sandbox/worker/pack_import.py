"""Imports a pack as ComfyUI does, and finds out what the pack has added."""

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
from .describe import describe
from .file_watch import FileWatch
from .host_snapshot import HostSnapshot
from .http_handlers import HttpHandlers

log = logging.getLogger("zimage.sandbox")

MISSING = re.compile(r"No module named '([\w.]+)'")


class PackImport:
    """One import of a pack.

    Args:
        begin: which pack it is.
        server: ComfyUI's server, which is never started.
        watch: notices which files the inputs of nodes depend on.

    Attributes:
        nodes: the pack's node classes by name.
        http: the pack's routes.
    """

    def __init__(self, begin: m.Begin, server: Any, watch: FileWatch) -> None:
        self.begin = begin
        self.server = server
        self.watch = watch
        self.nodes: dict[str, Any] = {}
        self.http = HttpHandlers(server)

    def run(self) -> m.PackInfo:
        """Import the pack and return its description."""
        nodes: Any = importlib.import_module("nodes")
        snapshot = HostSnapshot()
        known_nodes = set(nodes.NODE_CLASS_MAPPINGS)
        known_names = dict(nodes.NODE_DISPLAY_NAME_MAPPINGS)
        known_web = dict(nodes.EXTENSION_WEB_DIRS)
        known_folders = _model_folders()
        known_handlers = self._handlers()
        loaded, records = self._import(nodes)
        self.nodes = {
            name: node
            for name, node in nodes.NODE_CLASS_MAPPINGS.items()
            if name not in known_nodes and name not in self.begin.ignore
        }
        names = nodes.NODE_DISPLAY_NAME_MAPPINGS
        self.http.collect()
        return m.PackInfo(
            loaded=loaded,
            nodes=[describe(k, v, names.get(k), self.watch) for k, v in self.nodes.items()],
            trace=records.text(),
            missing=records.missing(),
            web=_added(nodes.EXTENSION_WEB_DIRS, known_web),
            routes=self.http.paths(),
            static=self.http.folders(),
            folders=_added(_model_folders(), known_folders),
            patched=snapshot.changed(),
            handlers=[name for name in self._handlers() if name not in known_handlers],
            names={str(k): str(v) for k, v in _added(names, known_names).items()},
            taken=self._taken(),
            looked_at=encodable(self.watch.paths),
        )

    def _import(self, nodes: Any) -> tuple[bool, _Records]:
        records = _Records()
        logging.getLogger().addHandler(records)
        try:
            self._run_prestartup_script()
            loading = nodes.load_custom_node(
                self.begin.path, set(self.begin.ignore), self.begin.parent
            )
            return asyncio.run(loading), records
        finally:
            logging.getLogger().removeHandler(records)

    def _run_prestartup_script(self) -> None:
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

    def _handlers(self) -> list[str]:
        names = [f"prompt handler {handler!r}" for handler in self.server.on_prompt_handlers]
        return names + [f"middleware {handler!r}" for handler in self.server.app.middlewares]

    def _taken(self) -> list[str]:
        """Return the names of its nodes that ComfyUI did not accept, since it has such nodes."""
        module = sys.modules.get(self.begin.path.replace(".", "_x_"))  # as load_custom_node does
        mappings = getattr(module, "NODE_CLASS_MAPPINGS", None)
        names = mappings if isinstance(mappings, dict) else {}
        return sorted(str(name) for name in names if name in self.begin.ignore)


def encodable(paths: Any) -> list[str]:
    """Return the paths that can be sent as text."""
    return [path for path in [*paths] if path == path.encode("utf-8", "replace").decode()]


def _added(now: Any, before: dict[Any, Any]) -> dict[Any, Any]:
    return {key: value for key, value in now.items() if before.get(key) != value}


def _model_folders() -> dict[str, tuple[list[str], list[str]]]:
    import folder_paths

    return {
        str(name): ([str(path) for path in paths], sorted(map(str, suffixes)))
        for name, (paths, suffixes) in folder_paths.folder_names_and_paths.items()
    }


class _Records(logging.Handler):
    """Warnings during an import: only there does ComfyUI say why it failed."""

    MAX_CHARACTERS = 64 * 2**10

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())

    def text(self) -> str:
        text = "\n".join(self._messages)[-self.MAX_CHARACTERS :]
        return text.encode("utf-8", "backslashreplace").decode()

    def missing(self) -> str:
        """Return the module that could not be imported, if that was the cause."""
        modules = MISSING.findall(self.text())
        return modules[-1][:200] if modules else ""
