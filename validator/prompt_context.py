"""The prompt under check: its nodes with their classes, its links, and the list of findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, TypeAlias

from ..errors import ZImageError
from . import shape_findings
from .findings import Findings, Severity
from .inputs import Input
from .json_values import JsonList, JsonObject, as_object, is_link, is_object
from .knowledge import Knowledge, NodeClass
from .suggestions import Suggestions

DownloadUrls: TypeAlias = Mapping[tuple[str, str], str]
"""Addresses of model files, by the node that uses the file and the name of the file."""
ADVICE_BUDGET = 20_000
"""Maximum number of texts that advice reads; a hostile file could chain any number."""


class PromptContext:
    """The nodes of a prompt in API form. A node of another shape is reported and skipped.

    Attributes:
        findings: The findings about the file.
        suggestions: Finds names that were probably meant.
        advice_budget: The number of texts that advice may still read.
        download_urls: Addresses of models, as nodes give them.
        prompt: The nodes by id. ``inputs`` of each is an object.
        node_classes: The classes of the nodes that the host knows, by node id.
    """

    def __init__(
        self,
        document: object,
        knowledge: Knowledge,
        findings: Findings,
        download_urls: DownloadUrls | None = None,
    ) -> None:
        """Read the nodes of a document.

        Args:
            document: The prompt; any JSON value.
            knowledge: The node classes of the host.
            findings: Gets a finding for each node that cannot be checked.
            download_urls: Addresses of models, as nodes give them.
        """
        self.findings = findings
        self.suggestions = Suggestions()
        self.advice_budget = ADVICE_BUDGET
        self.download_urls = download_urls or {}
        self.prompt: dict[str, JsonObject] = {}
        self.node_classes: dict[str, NodeClass] = {}
        self._inputs: dict[str, dict[str, Input]] = {}
        if not is_object(document):
            shape_findings.add_root(findings, document)
            return
        if not document:
            findings.add("ZI-WF-EMPTY", found=shape_findings.NO_NODE)
        for node_id, entry in document.items():
            if is_object(entry) and is_object(entry.get("inputs", {})):
                self._add_node(node_id, entry, knowledge)
            else:
                path = f"[{shape_findings.quoted(node_id)}]"
                shape_findings.add(findings, path, entry, shape_findings.NODE, str(node_id))

    def _add_node(self, node_id: str, entry: JsonObject, knowledge: Knowledge) -> None:
        self.prompt[node_id] = entry
        name = entry.get("class_type")
        node_class = knowledge.get(name)
        if not isinstance(name, str):
            self.report("ZI-WF-CLASS", node_id, value=name)
        elif node_class is None:
            similar = self.suggestions.find("", name, knowledge.names(), min_ratio=0.75)
            self.report("ZI-WF-NODE-UNKNOWN", node_id, value=name, similar=similar)
        else:
            self.node_classes[node_id] = node_class
            self._inputs[node_id] = node_class.inputs_for(self.given(node_id))

    def given(self, node_id: str) -> dict[str, Any]:
        """Return the values and links of a node, by the names of its inputs."""
        return self.prompt[node_id].get("inputs", {})

    def inputs(self, node_id: str) -> dict[str, Input]:
        """Return the inputs of a node whose class is known."""
        return self._inputs[node_id]

    def links(self, node_id: str) -> Iterator[tuple[str, JsonList]]:
        """Yield the names and links of a node's linked inputs."""
        for name, value in self.given(node_id).items():
            if is_link(value):
                yield name, value

    def report(
        self,
        code: str,
        node_id: str,
        input: str = "",
        severity: Severity = "error",
        similar: str = "",
        source: str = "",
        **values: object,
    ) -> None:
        """Add a finding about a node, see :meth:`.Findings.add`."""
        title = self.title(node_id)
        self.findings.add(code, node_id, title, input, severity, similar, source, **values)

    def report_error(
        self, error: ZImageError, node_id: str, input: str, severity: Severity = "error"
    ) -> None:
        """Add an error that another part raises for a node, with its text."""
        self.findings.add_error(error, node_id, self.title(node_id), input, severity)

    def title(self, node_id: str) -> str:
        """Return the name of a node in the page."""
        node = self.prompt[node_id]
        title = as_object(node.get("_meta")).get("title")
        title = title if isinstance(title, str) else node.get("class_type")
        return title if isinstance(title, str) else ""

    @cached_property
    def reached(self) -> set[str]:
        """The nodes that an output node needs, as the host collects them; all without one."""
        reached: set[str] = set()
        outputs = [node_id for node_id, kind in self.node_classes.items() if kind.is_output]
        stack = outputs or list(self.node_classes)
        while stack:
            node_id = stack.pop()
            if node_id in reached or node_id not in self.node_classes:
                continue
            reached.add(node_id)
            known = self.inputs(node_id)
            stack += [link[0] for name, link in self.links(node_id) if name in known]
        return reached

    def severity(self, node_id: str) -> Severity:
        """Return ``error`` for a node that an output needs; the host checks no others."""
        return "error" if node_id in self.reached else "warning"
