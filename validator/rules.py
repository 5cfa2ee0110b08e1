"""Rules for a prompt in API form. Errors are what the host refuses; warnings what it bears."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from ..text import rules as text_rules
from .findings import Findings
from .knowledge import UPLOADS, Input, Kind, Knowledge, fits

MODELS = (".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".bin", ".pth", ".gguf", ".onnx", ".pkl")
UNSAFE = (".ckpt", ".pt", ".pt2", ".bin", ".pth", ".pkl")
LARGEST = 16384
"""Pixels on a side that no node of an image model can work with."""


class Checker:
    """Applies every rule to one prompt."""

    def __init__(self, prompt: object, knowledge: Knowledge, found: Findings) -> None:
        self.document, self.knowledge, self.found = prompt, knowledge, found
        self.prompt: dict[str, dict[str, Any]] = {}
        self.kinds: dict[str, Kind] = {}

    def run(self) -> None:
        """All findings, in the order of the file; rules about the whole come last."""
        self._shape()
        reached = self._reached()
        for number, kind in self.kinds.items():
            severity = "error" if number in reached else "warning"
            self._node(number, kind, severity)
            if number not in reached:
                self._tell("ZI-WF-UNREACHABLE", number, severity="warning")
        if not any(kind.is_output for kind in self.kinds.values()):
            self.found.add("ZI-WF-NO-OUTPUT")
        self._cycles(reached)

    def _tell(self, code: str, number: str, input: str = "", severity: str = "error",
              **values: object) -> None:  # fmt: skip
        meta = self.prompt[number].get("_meta")
        title = meta.get("title") if isinstance(meta, dict) else None
        title = title if isinstance(title, str) else self.prompt[number].get("class_type")
        self.found.add(code, number, str(title), input, severity, **values)

    # --- the whole ------------------------------------------------------------------------

    def _shape(self) -> None:
        if not isinstance(self.document, dict) or not self.document:
            self.found.add("ZI-WF-SHAPE", what="prompt", value=self.document)
            return
        for number, entry in self.document.items():
            if not isinstance(entry, dict) or not isinstance(entry.get("inputs", {}), dict):
                self.found.add("ZI-WF-SHAPE", str(number), what=str(number), value=entry)
                continue
            self.prompt[number] = entry
            kind = self.knowledge.get(entry.get("class_type"))
            if kind is None:
                self._tell("ZI-WF-NODE-UNKNOWN", number, value=entry.get("class_type"))
            else:
                self.kinds[number] = kind

    def _links(self, number: str):
        """Names and links of a node's linked inputs."""
        for name, value in self.prompt[number].get("inputs", {}).items():
            if is_link(value):
                yield name, value

    def _reached(self) -> set[str]:
        """Nodes that an output node needs, as the host looks for them."""
        reached: set[str] = set()
        waiting = [number for number, kind in self.kinds.items() if kind.is_output]
        waiting = waiting or list(self.kinds)  # then that is told, and the rest too
        while waiting:
            number = waiting.pop()
            if number in reached or number not in self.kinds:
                continue
            reached.add(number)
            known = self.kinds[number].inputs
            waiting += [link[0] for name, link in self._links(number) if name in known]
        return reached

    def _cycles(self, reached: set[str]) -> None:
        """One finding for each ring of nodes (iterative depth-first search)."""
        done: set[str] = set()
        for start in self.kinds:
            path, trail = {start: None}, [(start, self._feeders(start))]
            while trail and start not in done:
                number, feeders = trail[-1]
                feeder = next(feeders, None)
                if feeder is None:
                    trail.pop()
                    path.pop(number, None)
                    done.add(number)
                elif feeder in path:
                    severity = "error" if feeder in reached else "warning"
                    self._tell("ZI-WF-CYCLE", feeder, severity=severity)
                elif feeder not in done:
                    path[feeder] = None
                    trail.append((feeder, self._feeders(feeder)))

    def _feeders(self, number: str):
        return iter([link[0] for _, link in self._links(number) if link[0] in self.kinds])

    # --- one node -------------------------------------------------------------------------

    def _node(self, number: str, kind: Kind, severity: str) -> None:
        inputs = self.prompt[number].get("inputs", {})
        for name, entry in kind.inputs.items():
            if name not in inputs:
                if entry.required:
                    self._tell("ZI-WF-INPUT-MISSING", number, name, severity,
                               expected=", ".join(sorted(entry.types)))  # fmt: skip
            elif isinstance(inputs[name], list):
                self._link(number, entry, inputs[name], severity)
            else:
                self._value(number, entry, inputs[name], severity)
        for name, value in inputs.items():
            if name not in kind.inputs and is_link(value) and value[0] not in self.prompt:
                self._tell("ZI-WF-LINK", number, name, "warning", value=value)

    def _link(self, number: str, entry: Input, link: list, severity: str) -> None:
        if not is_link(link):
            self._tell("ZI-WF-LINK", number, entry.name, severity, value=link)
            return
        origin, slot = link
        if origin not in self.prompt:
            self._tell("ZI-WF-LINK", number, entry.name, severity, value=link)
            return
        source = self.kinds.get(origin)
        if source is None:
            return  # told already: the node is unknown
        if not 0 <= slot < len(source.outputs):
            self._tell("ZI-WF-SLOT", number, entry.name, severity,
                       value=slot, expected=len(source.outputs))  # fmt: skip
        elif not fits(source.outputs[slot], entry.types):
            self._tell("ZI-WF-TYPE", number, entry.name, severity, value=source.outputs[slot],
                       expected=", ".join(sorted(entry.types)))  # fmt: skip

    def _value(self, number: str, entry: Input, value: Any, severity: str) -> None:
        if isinstance(value, dict) and "__value__" in value:
            value = value["__value__"]
        if "COMBO" in entry.types:
            self._choice(number, entry, value, severity)
            return
        kind = next((name for name in ("INT", "FLOAT", "STRING") if name in entry.types), None)
        if kind in ("INT", "FLOAT"):
            self._amount(number, entry, kind, value, severity)
        elif kind == "STRING" and isinstance(value, str):
            refusal = text_rules.find_refused(value)
            if refusal:
                self._tell("ZI-WF-TEXT", number, entry.name, severity, value=refusal.character,
                           position=refusal.position + 1)  # fmt: skip

    def _amount(self, number: str, entry: Input, kind: str, value: Any, severity: str) -> None:
        try:
            amount = int(value) if kind == "INT" else float(value)
        except (TypeError, ValueError, OverflowError):
            self._tell("ZI-WF-VALUE", number, entry.name, severity, value=value, expected=kind)
            return
        low, high = entry.limits
        if not low <= amount <= high:  # also for NaN
            self._tell("ZI-WF-RANGE", number, entry.name, severity,
                       value=value, expected=f"{low} … {high}")  # fmt: skip
        elif kind == "INT" and entry.name in ("width", "height") and amount > LARGEST:
            self._tell("ZI-WF-RANGE", number, entry.name, "warning",
                       value=value, expected=f"≤ {LARGEST}")  # fmt: skip

    def _choice(self, number: str, entry: Input, value: Any, severity: str) -> None:
        if isinstance(value, str) and PurePosixPath(value).suffix.lower() in UNSAFE:
            self._tell("ZI-WF-UNSAFE", number, entry.name, "warning", value=value)
        if entry.choices is None or entry.options.get("multiselect"):
            return
        if value in entry.choices:
            return
        if any(entry.options.get(name) for name in (*UPLOADS, "image_folder")):
            self._tell("ZI-WF-FILE", number, entry.name, "warning", value=value)
        elif isinstance(value, str) and PurePosixPath(value).suffix.lower() in MODELS:
            self._tell("ZI-WF-MODEL", number, entry.name, severity, value=value)
        else:
            self._tell("ZI-WF-CHOICE", number, entry.name, severity, value=value,
                       expected=", ".join(map(str, entry.choices[:12])))  # fmt: skip


def is_link(value: object) -> bool:
    """``[node id, output slot]``; the host takes every list of two for one."""
    return (
        isinstance(value, list) and len(value) == 2
        and isinstance(value[0], str) and isinstance(value[1], int)
    )  # fmt: skip


def check(prompt: object, knowledge: Knowledge, found: Findings) -> None:
    """Apply every rule to a prompt in API form."""
    Checker(prompt, knowledge, found).run()
