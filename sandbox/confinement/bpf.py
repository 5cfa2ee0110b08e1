"""Classic BPF programs that choose an action by the number and arguments of a system call.

A rule is an action, or clauses that are tried in turn and an action if none matches. A filter
cannot follow pointers, so only the values of registers count.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALLOW = 0x7FFF0000
KILL = 0x80000000
_ERRNO = 0x00050000

# Operations.
_LOAD = 0x20
_AND = 0x54
_JUMP = 0x05
_EQUAL = 0x15
_AT_LEAST = 0x35
_RETURN = 0x06
# Offsets in ``struct seccomp_data``.
_NUMBER = 0
_ARCHITECTURE = 4
_ARGUMENTS = 16
_WORD = 0xFFFFFFFF

Instruction = tuple[int, int, int, int]
"""Operation, jump when true, jump when false, operand."""


def errno(number: int) -> int:
    """Return the action that makes the call fail with this error; with 0 it seems to succeed."""
    return _ERRNO | number


@dataclass(frozen=True)
class ArgumentTest:
    """A test of 32 bits of an argument: masked, they must be one of some values.

    Attributes:
        argument: 0 to 5.
        values: any of them passes.
        mask: the bits that count.
        high: test the upper 32 bits; the kernel ignores them except in pointers and sizes.
    """

    argument: int
    values: tuple[int, ...]
    mask: int = _WORD
    high: bool = False


@dataclass(frozen=True)
class Clause:
    """An action for calls that pass all tests."""

    action: int
    tests: tuple[ArgumentTest, ...]


@dataclass(frozen=True)
class CallRule:
    """The action of the first clause that matches, else ``otherwise``."""

    otherwise: int
    clauses: tuple[Clause, ...] = ()


def program(
    architecture: int, rules: Mapping[int, CallRule], default: CallRule
) -> list[Instruction]:
    """Return a filter that kills on other architectures, and else looks the number up.

    Numbers without a rule get the default; so do x32 calls, whose numbers are large.
    """
    start = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    return start + _search(_spans(rules, default))


def packed(instructions: Sequence[Instruction]) -> bytes:
    """Return the instructions as the kernel reads them."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def _spans(rules: Mapping[int, CallRule], default: CallRule) -> list[tuple[int, CallRule]]:
    """Return the first number of each run of numbers with the same rule."""
    spans: list[tuple[int, CallRule]] = [(0, default)]
    for number in sorted({*rules, *(number + 1 for number in rules)}):
        rule = rules.get(number, default)
        if rule == spans[-1][1]:
            continue
        if number == spans[-1][0]:
            spans.pop()
        spans.append((number, rule))
    return spans


def _search(spans: Sequence[tuple[int, CallRule]]) -> list[Instruction]:
    """Return a binary search.

    Conditional jumps reach 255 instructions only, so each skips an unconditional jump.
    """
    if len(spans) == 1:
        return _apply(spans[0][1])
    middle = len(spans) // 2
    below = _search(spans[:middle])
    above = _search(spans[middle:])
    return [(_AT_LEAST, 0, 1, spans[middle][0]), (_JUMP, 0, 0, len(below)), *below, *above]


def _apply(rule: CallRule) -> list[Instruction]:
    code: list[Instruction] = []
    for clause in rule.clauses:
        inner: list[Instruction] = [(_RETURN, 0, 0, clause.action)]
        for test in reversed(clause.tests):
            inner = [*_test(test), (_JUMP, 0, 0, len(inner)), *inner]
        code += inner
    return [*code, (_RETURN, 0, 0, rule.otherwise)]


def _test(test: ArgumentTest) -> list[Instruction]:
    """Return instructions that skip the next one if the test passes."""
    word = _ARGUMENTS + 8 * test.argument + 4 * test.high
    code: list[Instruction] = [(_LOAD, 0, 0, word)]
    if test.mask != _WORD:
        code.append((_AND, 0, 0, test.mask))
    last = len(test.values)
    return code + [(_EQUAL, last - i, 0, value) for i, value in enumerate(test.values)]
