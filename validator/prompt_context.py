"""The prompt under check: its nodes with their classes, its links, and a place for findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, TypeGuard

from ..errors import ZImageError
from . import shapes
from .findings import Findings
from .inputs import Input
from .knowledge import Kind, Knowledge
from .suggestions import Similar

Addresses = Mapping[tuple[str, str], str]
"""Where to get a file: by the node that is set to it, and its name."""


class Subject:
    """Nodes of a prompt in API form that have the shape of one; anything else is told.

    Attributes:
        prompt: nodes by id; ``inputs`` of each is an object.
        kinds: their classes, for those that the host knows.
        addresses: where nodes say that their models can be had.
        patience: texts that advice may still look at; a hostile file could chain any number.
    """

    def __init__(self, document: object, knowledge: Knowledge, found: Findings,
                 addresses: Addresses | None = None) -> None:  # fmt: skip
        self.found = found
        self.similar = Similar()
        self.patience = 20_000
        self.addresses = addresses or {}
        self.prompt: dict[str, dict[str, Any]] = {}
        self.kinds: dict[str, Kind] = {}
        self._inputs: dict[str, dict[str, Input]] = {}
        if not isinstance(document, dict):
            shapes.tell_root(found, document)
            return
        if not document:
            found.add("ZI-WF-EMPTY", zh="里面没有节点", en="there is no node in it")
        for number, entry in document.items():
            if not isinstance(entry, dict) or not isinstance(entry.get("inputs", {}), dict):
                shapes.tell(found, f"[{shapes.quoted(number)}]", entry, shapes.NODE, str(number))
                continue
            self.prompt[number] = entry
            name = entry.get("class_type")
            kind = knowledge.get(name)
            if not isinstance(name, str):
                self.tell("ZI-WF-CLASS", number, value=name)
            elif kind is None:
                meant = self.similar.find("", name, knowledge.names(), least=0.75)
                self.tell("ZI-WF-NODE-UNKNOWN", number, value=name, similar=meant)
            else:
                self.kinds[number] = kind
                self._inputs[number] = kind.inputs_for(self.given(number))

    def given(self, number: str) -> dict[str, Any]:
        """What a node holds: values and links by the names of its inputs."""
        return self.prompt[number].get("inputs", {})

    def inputs(self, number: str) -> dict[str, Input]:
        """What the host says of a known node's inputs."""
        return self._inputs[number]

    def links(self, number: str) -> Iterator[tuple[str, list]]:
        """Names and links of a node's linked inputs."""
        for name, value in self.given(number).items():
            if is_link(value):
                yield name, value

    def tell(self, code: str, number: str, input: str = "", severity: str = "error",
             similar: str = "", source: str = "", **values: object) -> None:  # fmt: skip
        """A finding about a node."""
        self.found.add(code, number, self.title(number), input, severity, similar, source,
                       **values)  # fmt: skip

    def refuse(self, error: ZImageError, number: str, input: str, severity: str = "error") -> None:
        """What something else would raise for a node, in its words."""
        self.found.refuse(error, number, self.title(number), input, severity)

    def title(self, number: str) -> str:
        """What the page shows as the node's name."""
        meta = self.prompt[number].get("_meta")
        title = meta.get("title") if isinstance(meta, dict) else None
        title = title if isinstance(title, str) else self.prompt[number].get("class_type")
        return title if isinstance(title, str) else ""

    @cached_property
    def reached(self) -> set[str]:
        """Nodes that an output node needs, as the host looks for them; all if there is none."""
        reached: set[str] = set()
        waiting = [number for number, kind in self.kinds.items() if kind.is_output]
        waiting = waiting or list(self.kinds)
        while waiting:
            number = waiting.pop()
            if number in reached or number not in self.kinds:
                continue
            reached.add(number)
            known = self.inputs(number)
            waiting += [link[0] for name, link in self.links(number) if name in known]
        return reached

    def severity(self, number: str) -> str:
        """The host only looks at nodes that an output needs."""
        return "error" if number in self.reached else "warning"


def is_link(value: object) -> TypeGuard[list[Any]]:
    """``[node id, output slot]``; the host takes every list of two for one."""
    return (
        isinstance(value, list) and len(value) == 2
        and isinstance(value[0], str) and isinstance(value[1], int)
    )  # fmt: skip
