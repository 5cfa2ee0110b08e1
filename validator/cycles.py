"""Cycles of nodes: how a finding shows them, and where a prompt has one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .prompt_context import PromptContext

MAX_NODES = 8
"""Maximum number of nodes of a cycle that are named."""
MAX_TITLE = 24
"""Maximum number of characters of each title."""


def describe(nodes: Sequence[tuple[str, str]]) -> str:
    """Return ``1 A → 2 B → 1 A`` from ids and titles in the order of the links."""
    names = [f"{node_id} {title[:MAX_TITLE]}".rstrip() for node_id, title in nodes]
    first = names[0]
    if len(names) > MAX_NODES:
        names = [*names[: MAX_NODES - 1], f"… (+{len(names) - MAX_NODES + 1})"]
    return " → ".join([*names, first])


def check(context: PromptContext) -> None:
    """Add one finding for each cycle (iterative depth-first search)."""
    finished: set[str] = set()
    for start in context.node_classes:
        path = {start: None}
        stack = [(start, _origins(context, start))]
        while stack and start not in finished and not context.findings.full:
            node_id, origins = stack[-1]
            origin = next(origins, None)
            if origin is None:
                stack.pop()
                path.pop(node_id, None)
                finished.add(node_id)
            elif origin in path:
                _report(context, list(path), origin)
            elif origin not in finished:
                path[origin] = None
                stack.append((origin, _origins(context, origin)))


def _origins(context: PromptContext, node_id: str) -> Iterator[str]:
    """Return the known nodes that a node is linked to, each once."""
    origins = dict.fromkeys(link[0] for _, link in context.links(node_id))
    return (origin for origin in origins if origin in context.node_classes)


def _report(context: PromptContext, path: list[str], origin: str) -> None:
    cycle = [origin, *path[: path.index(origin) : -1]]  # the path runs against the links
    nodes = [(node_id, context.title(node_id)) for node_id in cycle]
    severity = context.severity(origin)
    context.report("ZI-WF-CYCLE", origin, severity=severity, ring=describe(nodes))
