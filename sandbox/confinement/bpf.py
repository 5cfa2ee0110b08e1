"""Classic BPF programs that choose an answer by the number and the arguments of a system call.

A rule is an answer, or clauses that are tried in turn and an answer for when none holds. Pointers
cannot be followed, so only numbers in registers are judged.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALLOW = 0x7FFF0000
KILL = 0x80000000
_ERRNO = 0x00050000

_LOAD, _AND, _JUMP, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_WORD = 0xFFFFFFFF

Instruction = tuple[int, int, int, int]
"""Operation, jump when true, jump when false, operand."""


def errno(number: int) -> int:
    """The answer that makes the call fail with this error; 0 makes it seem done."""
    return _ERRNO | number


@dataclass(frozen=True)
class Test:
    """Whether half an argument, after a mask, is one of some values.

    Attributes:
        argument: 0 to 5.
        values: any of them.
        mask: what is looked at.
        high: the upper 32 bits; the kernel ignores them in all that is not a pointer or a size.
    """

    argument: int
    values: tuple[int, ...]
    mask: int = _WORD
    high: bool = False


@dataclass(frozen=True)
class Clause:
    """An answer for calls that pass all tests."""

    answer: int
    tests: tuple[Test, ...]


@dataclass(frozen=True)
class Rule:
    """The first clause that holds answers, else ``otherwise``."""

    otherwise: int
    clauses: tuple[Clause, ...] = ()


def program(architecture: int, rules: Mapping[int, Rule], default: Rule) -> list[Instruction]:
    """A filter: kills for other architectures, looks the number up, answers.

    Numbers that have no rule get the default; so do x32 calls, whose numbers are large.
    """
    start = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    return start + _search(_spans(rules, default))


def packed(instructions: Sequence[Instruction]) -> bytes:
    """As the kernel takes them."""
    return b"".join(struct.pack("=HBBI", *one) for one in instructions)


def _spans(rules: Mapping[int, Rule], default: Rule) -> list[tuple[int, Rule]]:
    """First numbers of runs that have the same rule."""
    spans: list[tuple[int, Rule]] = [(0, default)]
    for number in sorted({*rules, *(one + 1 for one in rules)}):
        rule = rules.get(number, default)
        if rule == spans[-1][1]:
            continue
        if number == spans[-1][0]:
            spans.pop()
        spans.append((number, rule))
    return spans


def _search(spans: Sequence[tuple[int, Rule]]) -> list[Instruction]:
    """A binary search; conditional jumps are short, so each skips an unconditional one."""
    if len(spans) == 1:
        return _judge(spans[0][1])
    middle = len(spans) // 2
    below, above = _search(spans[:middle]), _search(spans[middle:])
    return [(_AT_LEAST, 0, 1, spans[middle][0]), (_JUMP, 0, 0, len(below)), *below, *above]


def _judge(rule: Rule) -> list[Instruction]:
    code: list[Instruction] = []
    for clause in rule.clauses:
        inner: list[Instruction] = [(_RETURN, 0, 0, clause.answer)]
        for test in reversed(clause.tests):
            inner = [*_test(test), (_JUMP, 0, 0, len(inner)), *inner]
        code += inner
    return [*code, (_RETURN, 0, 0, rule.otherwise)]


def _test(test: Test) -> list[Instruction]:
    """Skips the instruction behind it when the test is passed."""
    word = _ARGUMENTS + 8 * test.argument + 4 * test.high
    code: list[Instruction] = [(_LOAD, 0, 0, word)]
    if test.mask != _WORD:
        code.append((_AND, 0, 0, test.mask))
    last = len(test.values)
    return code + [(_EQUAL, last - i, 0, value) for i, value in enumerate(test.values)]
