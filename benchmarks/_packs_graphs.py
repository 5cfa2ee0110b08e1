"""Prompts for nodes of other packs, generated from ``/object_info`` alone."""

from __future__ import annotations

from typing import Any

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN")
TEXT = "a cat, a dog"
STEPS, LARGEST = 3, 128
"""Upper limits of numbers, because pictures of 4096 pixels take minutes."""
MOST = 24
"""Inputs of ``BenchCatch``."""
Graph = dict[str, dict[str, Any]]


class NotRunnableError(Exception):
    """No node gives a value for an input; the message names the input."""


class Graphs:
    """Generates prompts.

    Args:
        info: ``/object_info`` of all nodes.
    """

    def __init__(self, info: dict[str, Any]) -> None:
        self.info = info
        self.kinds = set(info["BenchMake"]["input"]["required"]["kind"][0])
        self.known: dict[str, tuple[str, int, bool]] = {}
        """For each type, a node that gives it, the index of its output, and the kind of prompt."""

    def learn(self, name: str, full: bool) -> None:
        """Register the outputs of a node that has run as inputs for others."""
        inputs = self.info[name]["input"]
        types = [spec[0] for group in inputs.values() for spec in dict(group).values() if spec]
        if "*" in types:
            return
        for index, kind in enumerate(self.info[name]["output"]):
            if isinstance(kind, str) and kind not in self.kinds and kind != "*":
                self.known.setdefault(kind, (name, index, full))

    def graph(self, name: str, full: bool) -> Graph:
        """Return a prompt with a node as ``target``.

        Args:
            name: name of the node.
            full: whether to set optional inputs and texts that are empty by default.

        Raises:
            NotRunnableError: no node gives a required input.
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
        """Return whether the full prompt differs from the plain one."""
        inputs = self.info[name]["input"]
        texts = [
            _options(spec).get("default") == "" for spec in inputs.get("required", {}).values()
        ]
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
        for key in [key for key in graph if key == id or key.startswith(f"{id}.")]:
            del graph[key]

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
        for type_name in [*kind.split(","), "IMAGE" if kind == "*" else ""]:
            if type_name in self.kinds:
                inputs = {"kind": type_name, "salt": f"{salt} {id}", "one": not full}
                graph[id] = {"class_type": "BenchMake", "inputs": inputs}
                return [id, 0]
            if type_name in self.known and depth < 6:
                name, index, whole = self.known[type_name]
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
