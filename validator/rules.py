"""Rules for a prompt in API form. Errors are what the host refuses; warnings what it bears."""

from __future__ import annotations

from . import advice, values
from .findings import Findings
from .inputs import Input
from .knowledge import Kind, Knowledge, fits
from .subject import Subject, is_link


def check(
    prompt: object, knowledge: Knowledge, found: Findings, *, core_only: bool = False
) -> None:
    """Apply every rule, in the order of the file; rules about the whole come last.

    Args:
        core_only: nodes of other packs than this one are errors.
    """
    subject = Subject(prompt, knowledge, found)
    for number, kind in subject.kinds.items():
        if core_only:
            advice.foreign(subject, number, kind)
        _node(subject, number, kind)
        advice.node(subject, number, kind)
        if number not in subject.reached:
            subject.tell("ZI-WF-UNREACHABLE", number, severity="warning")
    if subject.prompt and not any(kind.is_output for kind in subject.kinds.values()):
        found.add("ZI-WF-NO-OUTPUT")
    _cycles(subject)


def _node(subject: Subject, number: str, kind: Kind) -> None:
    given, severity = subject.given(number), subject.severity(number)
    for name, entry in subject.inputs(number).items():
        if name not in given:
            if entry.required:
                subject.tell("ZI-WF-INPUT-MISSING", number, name, severity,
                             expected=", ".join(sorted(entry.types)))  # fmt: skip
        elif isinstance(given[name], list):
            _link(subject, number, entry, given[name])
        else:
            values.check(subject, number, entry, given[name])
    for name, link in subject.links(number):
        if name not in subject.inputs(number) and link[0] not in subject.prompt:
            subject.tell("ZI-WF-LINK", number, name, "warning", value=link)


def _link(subject: Subject, number: str, entry: Input, link: list) -> None:
    severity = subject.severity(number)
    if not is_link(link) or link[0] not in subject.prompt:
        subject.tell("ZI-WF-LINK", number, entry.name, severity, value=link)
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


def _cycles(subject: Subject) -> None:
    """One finding for each ring of nodes (iterative depth-first search)."""
    done: set[str] = set()

    def feeders(number: str):
        return iter([link[0] for _, link in subject.links(number) if link[0] in subject.kinds])

    for start in subject.kinds:
        path, trail = {start: None}, [(start, feeders(start))]
        while trail and start not in done:
            number, waiting = trail[-1]
            feeder = next(waiting, None)
            if feeder is None:
                trail.pop()
                path.pop(number, None)
                done.add(number)
            elif feeder in path:
                subject.tell("ZI-WF-CYCLE", feeder, severity=subject.severity(feeder))
            elif feeder not in done:
                path[feeder] = None
                trail.append((feeder, feeders(feeder)))
