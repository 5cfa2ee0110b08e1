"""Rings of nodes: how they are shown, and where a prompt has one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .prompt_context import Subject

SHOWN, TITLE = 8, 24
"""Nodes of a ring that are named, and characters of each title."""


def shown(names: Sequence[tuple[str, str]]) -> str:
    """``1 A → 2 B → 1 A`` from ids and titles in the order of the links."""
    words = [f"{number} {title[:TITLE]}".rstrip() for number, title in names]
    first = words[0]
    if len(words) > SHOWN:
        words = [*words[: SHOWN - 1], f"… (+{len(words) - SHOWN + 1})"]
    return " → ".join([*words, first])


def tell(subject: Subject) -> None:
    """One finding for each ring (iterative depth-first search)."""
    done: set[str] = set()
    for start in subject.kinds:
        path, trail = {start: None}, [(start, _feeders(subject, start))]
        while trail and start not in done and not subject.found.full:
            number, waiting = trail[-1]
            feeder = next(waiting, None)
            if feeder is None:
                trail.pop()
                path.pop(number, None)
                done.add(number)
            elif feeder in path:
                _tell_one(subject, list(path), feeder)
            elif feeder not in done:
                path[feeder] = None
                trail.append((feeder, _feeders(subject, feeder)))


def _feeders(subject: Subject, number: str) -> Iterator[str]:
    """The known nodes that a node is linked to, each once."""
    origins = dict.fromkeys(link[0] for _, link in subject.links(number))
    return (origin for origin in origins if origin in subject.kinds)


def _tell_one(subject: Subject, path: list[str], feeder: str) -> None:
    ring = [feeder, *path[: path.index(feeder) : -1]]  # the path goes against the links
    names = [(number, subject.title(number)) for number in ring]
    subject.tell("ZI-WF-CYCLE", feeder, severity=subject.severity(feeder), ring=shown(names))
