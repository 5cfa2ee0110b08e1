"""Rules for a prompt in API form. Errors are what the host refuses; warnings what it bears."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

from ..text import prompt_rules
from . import advice, cycles, our_nodes, template_types, unknown_inputs, values, work
from .bounds import Bounds, broken_texts, excesses
from .findings import Findings
from .inputs import Input
from .knowledge import Kind, Knowledge, fits
from .prompt_context import Addresses, Subject, is_link

SHOWN = 8
"""Characters of one text that are named because they cannot be used."""


@dataclass(frozen=True)
class Options:
    """What a check goes by.

    Attributes:
        core_only: nodes of other packs than this one are errors.
        engine: judges the values of our nodes, if it is there.
        bounds: what the request fuse lets through.
        unsent: inputs that were linked and get nothing, see :class:`.convert.Converter`.
        addresses: where models can be had, see :func:`.advice.addresses`.
    """

    core_only: bool = False
    engine: our_nodes.Engine | None = None
    bounds: Bounds = field(default_factory=Bounds)
    unsent: Mapping[tuple[str, str], str] = field(default_factory=dict)
    addresses: Addresses = field(default_factory=dict)


def check(prompt: object, knowledge: Knowledge, found: Findings, options: Options) -> Subject:
    """Apply every rule, in the order of the file; rules about the whole come last."""
    subject = Subject(prompt, knowledge, found, options.addresses)
    for number in subject.prompt:
        _request(subject, number, options.bounds)
        kind = subject.kinds.get(number)
        if kind is not None:
            _known(subject, number, kind, options)
    if (most := work.excess(subject.prompt, options.bounds)) is not None:
        subject.refuse(most[1].error(most[0]), most[0], most[1].name)
    if subject.prompt and not any(kind.is_output for kind in subject.kinds.values()):
        found.add("ZI-WF-NO-OUTPUT")
    cycles.tell(subject)
    return subject


def _request(subject: Subject, number: str, bounds: Bounds) -> None:
    """What the request fuse refuses or changes, in nodes that no output needs too."""
    node = subject.prompt[number]
    for name, text, _ in broken_texts(node):
        found = list(islice(prompt_rules.refusals(text), SHOWN + 1))
        places = [(one.position + 1, one.character) for one in found[:SHOWN]]
        more_zh, more_en = (" 等", " and more") if len(found) > SHOWN else ("", "")
        subject.tell(
            "ZI-WF-TEXT", number, name,
            zh="、".join(f"第 {place} 个 {character}" for place, character in places) + more_zh,
            en=", ".join(f"{place} ({character})" for place, character in places) + more_en,
        )  # fmt: skip
    for excess in excesses(node, bounds):
        if excess.clamped:
            subject.tell("ZI-WF-CLAMPED", number, excess.name, "warning", value=excess.found,
                         expected=excess.maximum)  # fmt: skip
        else:
            subject.refuse(excess.error(number), number, excess.name)


def _known(subject: Subject, number: str, kind: Kind, options: Options) -> None:
    if options.core_only:
        advice.foreign(subject, number, kind)
    _node(subject, number, options.unsent)
    if options.engine is not None:
        our_nodes.check(subject, number, options.engine, options.bounds)
    advice.node(subject, number)
    if number not in subject.reached:
        subject.tell("ZI-WF-UNREACHABLE", number, severity="warning")


def _node(subject: Subject, number: str, unsent: Mapping[tuple[str, str], str]) -> None:
    given, severity = subject.given(number), subject.severity(number)
    for name, entry in subject.inputs(number).items():
        if name not in given:
            muted = unsent.get((number, name))
            if entry.required and muted:
                subject.tell("ZI-WF-MUTED", number, name, severity, value=muted)
            elif entry.required and muted is None:
                subject.tell("ZI-WF-INPUT-MISSING", number, name, severity,
                             expected=", ".join(sorted(entry.types)))  # fmt: skip
        elif isinstance(given[name], list):
            _link(subject, number, entry, given[name])
        else:
            values.check(subject, number, entry, given[name])
    for name, link in subject.links(number):
        if name not in subject.inputs(number) and link[0] not in subject.prompt:
            _lost(subject, number, name, link, "warning")
    unknown_inputs.tell(subject, number)
    template_types.tell(subject, number)


def _link(subject: Subject, number: str, entry: Input, link: list) -> None:
    severity = subject.severity(number)
    if not is_link(link) or link[0] not in subject.prompt:
        _lost(subject, number, entry.name, link, severity)
        return
    origin, slot = link
    source = subject.kinds.get(origin)
    if source is None:
        return  # told already: the node is unknown
    if not 0 <= slot < len(source.outputs):
        subject.tell("ZI-WF-SLOT", number, entry.name, severity,
                     value=slot, expected=len(source.outputs))  # fmt: skip
    elif not fits(source.outputs[slot], entry.types):
        subject.tell("ZI-WF-TYPE", number, entry.name, severity, value=source.outputs[slot],
                     expected=", ".join(sorted(entry.types)))  # fmt: skip


def _lost(subject: Subject, number: str, name: str, link: list, severity: str) -> None:
    zh, en = '应为 ["节点编号", 输出序号]', 'it should be ["node id", output number]'
    if is_link(link):
        origin = link[0][:40]
        zh, en = f"没有节点 {origin}", f"there is no node {origin}"
    subject.tell("ZI-WF-LINK", number, name, severity, value=link, zh=zh, en=en)
