"""What a pack in this process is: its nodes and what else it has brought along."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from ..protocol import messages as m
from ..protocol.description_codec import pack_description

ATTRIBUTES = (
    "RETURN_TYPES", "RETURN_NAMES", "OUTPUT_IS_LIST", "INPUT_IS_LIST", "FUNCTION", "CATEGORY",
    "OUTPUT_NODE", "DESCRIPTION", "DEPRECATED", "EXPERIMENTAL", "API_NODE", "OUTPUT_TOOLTIPS",
    "NOT_IDEMPOTENT", "SEARCH_ALIASES", "ESSENTIALS_CATEGORY", "DEV_ONLY",
    "HAS_INTERMEDIATE_OUTPUT",
)  # fmt: skip
"""Class attributes that ComfyUI reads."""
SCHEMA = (
    "node_id", "display_name", "category", "description", "is_input_list", "is_output_node",
    "is_deprecated", "is_experimental", "is_api_node", "not_idempotent", "enable_expand",
    "is_dev_only", "accept_all_inputs",
)  # fmt: skip
V3_ATTRIBUTES = (
    "RETURN_TYPES", "RETURN_NAMES", "OUTPUT_IS_LIST", "INPUT_IS_LIST", "FUNCTION", "CATEGORY",
    "OUTPUT_NODE", "DESCRIPTION", "DEPRECATED", "EXPERIMENTAL", "API_NODE", "OUTPUT_TOOLTIPS",
    "NOT_IDEMPOTENT", "DEV_ONLY", "ACCEPT_ALL_INPUTS",
)  # fmt: skip
ROLES = {"changed": "IS_CHANGED", "validate": "VALIDATE_INPUTS", "lazy": "check_lazy_status"}
V3_ROLES = {
    "changed": "fingerprint_inputs",
    "validate": "validate_inputs",
    "lazy": "check_lazy_status",
}
HOST_PACKAGES = frozenset({"app", "comfy", "comfy_api", "comfy_execution", "comfy_extras"})
HOST_MODULES = ("nodes", "execution", "server", "folder_paths", "latent_preview", "node_helpers")


class Watch:
    """Notices which files and folders are looked at, while it is on.

    Attributes:
        seen: whether any were, since it is on.
        paths: those of all times.
    """

    EVENTS = frozenset({"open", "os.listdir", "os.scandir", "glob.glob", "glob.glob/2"})
    MOST = 5000

    def __init__(self) -> None:
        self.seen = False
        self.paths: dict[str, None] = {}
        self._thread = 0
        sys.addaudithook(self._audit)
        import folder_paths

        original = folder_paths.get_filename_list

        def get_filename_list(folder_name: str) -> list[str]:
            found = original(folder_name)
            if self.on:
                self._look(_folders(folder_name))  # its cache opens no file
            return found

        folder_paths.get_filename_list = get_filename_list

    @property
    def on(self) -> bool:
        """Whether it is this thread that is watched."""
        return self._thread == threading.get_ident()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch this thread; nodes may run in others."""
        self._thread, self.seen = threading.get_ident(), False
        try:
            yield
        finally:
            self._thread = 0

    def _audit(self, event: str, args: Any) -> None:
        if self.on and event in self.EVENTS:
            self._look(() if event.startswith("glob") else args[:1])  # glob scans folders, too

    def _look(self, paths: Iterable[Any]) -> None:
        self.seen = True
        for path in paths:
            path = os.getcwd() if path is None else path
            if isinstance(path, str | os.PathLike) and len(self.paths) < self.MOST:
                self.paths[os.path.abspath(path)] = None


def _folders(name: str) -> list[str]:
    """All folders that a list of files comes from."""
    import folder_paths

    name = getattr(folder_paths, "map_legacy", str)(name)
    roots = folder_paths.folder_names_and_paths.get(name, ([], set()))[0]
    cached = folder_paths.filename_list_cache.get(name)
    return [*roots, *(cached[1] if cached else ())]


def describe(name: str, node: Any, display: str | None, watch: Watch) -> m.NodeInfo:
    """One node class."""
    from comfy_api.internal import _ComfyNodeInternal

    v3 = isinstance(node, type) and issubclass(node, _ComfyNodeInternal)
    info = m.NodeInfo(_text(name), None, v3, None, None, None, {}, False)
    found = m.NodeInfo(name, display, v3, None, None, None, {}, False)
    try:
        if not isinstance(node, type):
            raise TypeError(f"a {type(node).__name__}, which is no class")
        found.functions = info.functions = dict(_functions(node, v3))
        found.attributes = pack_description(_attributes(node, v3))
        found.inputs, found.info, found.dynamic = inputs(node, v3, watch)
        return m.node_info(m.encode(found))  # or it has names that are none
    except Exception as error:  # noqa: BLE001  one node's fault is not the others'
        info.trouble = _text(f"{type(error).__name__}: {error}"[:2000])
        info.functions = {}
    return info


def _text(value: Any) -> str:
    """Anything as text that can be sent."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def inputs(node: Any, v3: bool, watch: Watch | None = None) -> tuple[m.Value, m.Value, bool]:
    """What the inputs of a node are now, what a V3 node says of itself, whether files matter."""
    with watch.watching() if watch is not None else contextlib.nullcontext():
        found = node.INPUT_TYPES()
        info = node.GET_NODE_INFO_V1() if v3 else None
    if not isinstance(found, dict):
        raise TypeError(f"INPUT_TYPES gave {type(found).__name__}, no dictionary")
    return pack_description(found), pack_description(info), watch is not None and watch.seen


def _attributes(node: Any, v3: bool) -> dict[str, Any]:
    if not v3:
        return {name: getattr(node, name) for name in ATTRIBUTES if hasattr(node, name)}
    schema = node.GET_SCHEMA()
    found = {name: getattr(node, name) for name in V3_ATTRIBUTES if hasattr(node, name)}
    found["schema"] = {name: getattr(schema, name) for name in SCHEMA if hasattr(schema, name)}
    found["hidden"] = [one.name for one in schema.hidden or []]
    return found


def _functions(node: Any, v3: bool) -> Iterator[tuple[str, m.Function]]:
    from comfy_api.internal import first_real_override

    if v3:
        yield "run", _function(node.FUNCTION, getattr(node, "execute"))  # noqa: B009
        for role, name in V3_ROLES.items():
            if first_real_override(node, name) is not None:
                yield role, _function(name, getattr(node, name))
        return
    yield "run", _function(node.FUNCTION, getattr(node, node.FUNCTION))
    for role, name in ROLES.items():
        if hasattr(node, name):
            yield role, _function(name, getattr(node, name))


def _function(name: str, function: Any) -> m.Function:
    try:
        spec = inspect.getfullargspec(function)
    except TypeError:  # something else that can be called
        return m.Function(name, [], True, inspect.iscoroutinefunction(function))
    return m.Function(
        name, spec.args, spec.varkw is not None, inspect.iscoroutinefunction(function)
    )


class Snapshot:
    """ComfyUI as it was before a pack came: what the pack has replaced shows afterwards."""

    def __init__(self) -> None:
        self._was = dict(self._look())

    def changed(self) -> list[str]:
        """Names of what is something else now."""
        now = dict(self._look())
        return [name for name, value in self._was.items() if now.get(name) is not value]

    def _look(self) -> Iterator[tuple[str, Any]]:
        for module_name, module in list(sys.modules.items()):
            if module is None or not self._is_host(module_name):
                continue
            for name, value in list(vars(module).items()):
                if callable(value) and getattr(value, "__module__", "") == module_name:
                    yield f"{module_name}.{name}", value
                    if isinstance(value, type):
                        for part, method in list(vars(value).items()):
                            if callable(method) or isinstance(method, classmethod | staticmethod):
                                yield f"{module_name}.{name}.{part}", method

    @staticmethod
    def _is_host(name: str) -> bool:
        return name in HOST_MODULES or name.partition(".")[0] in HOST_PACKAGES
