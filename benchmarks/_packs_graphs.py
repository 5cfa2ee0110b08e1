"""Prompts that try nodes of other packs, made from ``/object_info`` alone."""

from __future__ import annotations

from typing import Any

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN")
TEXT = "a cat, a dog"
STEPS, LARGEST = 3, 128
"""Numbers are no greater: pictures of 4096 pixels take minutes."""
MOST = 24
"""Sockets of ``BenchCatch``."""
Graph = dict[str, dict[str, Any]]


class NotRunnableError(Exception):
    """An input for which there is nothing; the message names it."""


class Graphs:
    """Makes prompts.

    Args:
        info: ``/object_info`` of all nodes.
    """

    def __init__(self, info: dict[str, Any]) -> None:
        self.info = info
        self.kinds = set(info["BenchMake"]["input"]["required"]["kind"][0])
        self.known: dict[str, tuple[str, int, bool]] = {}
        """Which node is known to give a type, at which of its outputs, and by which prompt."""

    def learn(self, name: str, full: bool) -> None:
        """This node has run: what it gives can be had for others, unless that may be anything."""
        inputs = self.info[name]["input"]
        given = [one[0] for group in inputs.values() for one in dict(group).values() if one]
        if "*" in given:
            return
        for index, kind in enumerate(self.info[name]["output"]):
            if isinstance(kind, str) and kind not in self.kinds and kind != "*":
                self.known.setdefault(kind, (name, index, full))

    def graph(self, name: str, full: bool) -> Graph:
        """A prompt with this node as ``target``.

        Args:
            name: of the node.
            full: with everything that is optional, and with texts that are not empty.

        Raises:
            NotRunnableError: it needs what nothing gives.
        """
        graph: Graph = {}
        self._node(graph, name, "target", full, f"{name} {full}", 0)
        if not self.info[name]["output"] and not self.info[name]["output_node"]:
            raise NotRunnableError("gives nothing")
        outputs = min(len(self.info[name]["output"]), MOST)
        if outputs:
            links = {f"value{index}": ["target", index] for index in range(outputs)}
            graph["caught"] = {"class_type": "BenchCatch", "inputs": links}
        return graph

    def optional(self, name: str) -> bool:
        """Whether the full prompt says more than the plain one."""
        inputs = self.info[name]["input"]
        texts = [_options(one).get("default") == "" for one in inputs.get("required", {}).values()]
        return bool(inputs.get("optional")) or any(texts)

    def _node(self, graph: Graph, name: str, id: str, full: bool, salt: str, depth: int) -> None:
        inputs: dict[str, Any] = {}
        for group in ("required", "optional"):
            for key, spec in self.info[name]["input"].get(group, {}).items():
                try:
                    inputs[key] = self._value(graph, key, spec, f"{id}.{key}", full, salt, depth)
                except NotRunnableError:
                    if group == "required":
                        raise
                if group == "optional" and not full and isinstance(inputs.get(key), list):
                    self._drop(graph, inputs.pop(key)[0])
        graph[id] = {"class_type": name, "inputs": inputs}

    def _drop(self, graph: Graph, id: str) -> None:
        for one in [one for one in graph if one == id or one.startswith(f"{id}.")]:
            del graph[one]

    def _value(
        self, graph: Graph, key: str, spec: Any, id: str, full: bool, salt: str, depth: int
    ) -> Any:
        kind, options = spec[0], _options(spec)
        if isinstance(kind, list) or kind == "COMBO":
            return _chosen(
                key, kind if isinstance(kind, list) else options.get("options", []), options
            )
        if kind in WIDGETS:
            return STEPS if key == "steps" else _literal(kind, options, full)
        for one in [*kind.split(","), "IMAGE" if kind == "*" else ""]:
            if one in self.kinds:
                made = {"kind": one, "salt": f"{salt} {id}", "one": not full}
                graph[id] = {"class_type": "BenchMake", "inputs": made}
                return [id, 0]
            if one in self.known and depth < 6:
                name, index, whole = self.known[one]
                self._node(graph, name, id, whole, salt, depth + 1)
                return [id, index]
        raise NotRunnableError(f"{key}: nothing gives a {kind}")


def _options(spec: Any) -> dict[str, Any]:
    return spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}


def _chosen(key: str, choices: list[Any], options: dict[str, Any]) -> Any:
    if not choices:
        raise NotRunnableError(f"{key}: no file to choose from")
    default = options.get("default")
    return default if default in choices else choices[0]


def _literal(kind: str, options: dict[str, Any], full: bool) -> Any:
    default = options.get("default")
    if kind == "STRING":
        return default if isinstance(default, str) and (default or not full) else TEXT
    if kind == "BOOLEAN":
        return bool(default)
    number = default if isinstance(default, int | float) else max(1, options.get("min", 1))
    small = min(number, max(options.get("min", 0), LARGEST))
    return int(small) if kind == "INT" else float(small)
