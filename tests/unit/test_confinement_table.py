"""The table of system calls that users read is the filter, and leaves no call without a reason."""

from __future__ import annotations

import fcntl
import re
import termios
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from zimage_comfyui.sandbox import confinement
from zimage_comfyui.sandbox.confinement import (
    bpf,
    numbers,
    system_call_rules,
    system_calls_document,
)
from zimage_comfyui.tests.fakes.confined import only_linux

pytestmark = only_linux
ROWS = system_calls_document.TABLES["Calls"]
ARGUMENTS = ("prctl", "fcntl", "ioctl", "ioctl, refused")
CHINESE = re.compile("[\u4e00-\u9fff]")


def test_every_call_has_one_line() -> None:
    """Every call of both architectures, also those that are told not to exist; and no other."""
    listed = Counter(name for row in ROWS for name in row.names)
    assert listed == Counter(numbers.names())


def test_every_line_has_a_reason_in_both_languages() -> None:
    """Calls and arguments alike; no number stands twice in a table."""
    assert set(system_calls_document.TABLES) == {"Calls", *ARGUMENTS}
    for rows in system_calls_document.TABLES.values():
        assert rows
        for row in rows:
            assert CHINESE.search(row.chinese), row
            assert not CHINESE.search(row.english), row
    for title in ARGUMENTS:
        assert len(set(system_calls_document.values(title))) == len(
            system_calls_document.TABLES[title]
        )
        assert all(len(row.names) == 1 for row in system_calls_document.TABLES[title])


@pytest.mark.parametrize("granted", [(), ("gpu",), ("processes",), ("network",)])
def test_the_answers_in_the_table_are_those_of_the_filter(granted: tuple[str, ...]) -> None:
    """Also of calls whose arguments count: these have clauses, or are decided by a grant."""
    words = {
        "yes": bpf.ALLOW,
        "end": bpf.KILL,
        "EPERM": system_call_rules.REFUSED,
        "ENOSYS": system_call_rules.ABSENT,
        "EOPNOTSUPP": system_call_rules.UNSUPPORTED, "0": system_call_rules.DONE,
        **{one: system_call_rules.REFUSED for one in ("gpu", "processes", "network")},
        **{one: bpf.ALLOW for one in granted},
    }  # fmt: skip
    grants: Any = dict.fromkeys(granted, True)
    rules = system_call_rules.rules(
        confinement.Jail(**grants), system_call_rules.Setting(4711, 7, True)
    )
    assert rules.keys() == numbers.names()
    for row in ROWS:
        for name in row.names:
            if row.value != system_call_rules.SOME:
                assert rules[name] == bpf.CallRule(words[row.value]), name
            elif not granted:
                told = {rules[name].otherwise, *(one.action for one in rules[name].clauses)}
                assert told == {bpf.ALLOW, system_call_rules.REFUSED} or name == "socket", name


def test_numbers_of_arguments_are_those_of_this_system() -> None:
    """As far as Python and the kernel's headers know their names."""
    header = Path("/usr/include/linux/prctl.h")
    text = header.read_text() if header.exists() else ""
    options = re.findall(r"#define\s+(PR_\w+)\s+(\d\w*)\n", text)
    known = {**vars(termios), **vars(fcntl), **{name: int(one, 0) for name, one in options}}
    found = {
        row.names[0]: int(row.value, 0)
        for one in ARGUMENTS
        for row in system_calls_document.TABLES[one]
    }
    shared = known.keys() & found.keys()
    assert len(shared) >= 10
    assert {one: found[one] for one in shared} == {one: known[one] for one in shared}


@pytest.mark.parametrize("line", ["| read | yes | why |", "| read | yes |  | 原因 |", "| a | b"])
def test_a_line_without_a_reason_is_no_line(line: str) -> None:
    """The filter is not made of half a table."""
    with pytest.raises(ValueError, match=r"calls\.md"):
        system_calls_document.read(f"## Calls\n\n{line}\n")
