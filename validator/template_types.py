"""Inputs of newer hosts that take any type of a list, the same one for all of one template.

The page sees to both and hosts look at neither, so what only fails when it runs is a warning.
"""

from __future__ import annotations

from .inputs import ANY, Input, table
from .knowledge import fits
from .prompt_context import Subject, is_link


def tell(subject: Subject, number: str) -> None:
    """Links of a type that the list lacks, or of another type than one before."""
    first: dict[str, tuple[str, str]] = {}
    for name, entry in subject.inputs(number).items():
        offered = _offered(subject, subject.given(number).get(name)) if entry.matched else ANY
        if offered == ANY:
            continue
        if not fits(offered, entry.matched):
            subject.tell("ZI-WF-TYPE", number, name, "warning", value=offered,
                         expected=", ".join(sorted(entry.matched)))  # fmt: skip
            continue
        other, kind = first.setdefault(_template(entry), (name, offered))
        if not fits(offered, frozenset(kind.split(","))):
            subject.tell("ZI-WF-TYPE", number, name, "warning", value=offered,
                         expected=f"{kind} ({other})")  # fmt: skip


def _template(entry: Input) -> str:
    return str(table(entry.options.get("template")).get("template_id"))


def _offered(subject: Subject, link: object) -> str:
    """The type that a link brings; any where that is not known."""
    source = subject.kinds.get(link[0]) if is_link(link) else None
    if source is None or not is_link(link) or not 0 <= link[1] < len(source.outputs):
        return ANY
    return source.outputs[link[1]]
