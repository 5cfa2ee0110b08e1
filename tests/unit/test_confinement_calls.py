"""System calls by number, of real processes and by what the filters say of them."""

from __future__ import annotations

import errno
import re
import signal
from pathlib import Path

import pytest

from zimage_comfyui.sandbox import confinement
from zimage_comfyui.sandbox.confinement import bpf, numbers, seccomp, system_call_rules
from zimage_comfyui.tests.fakes.confined import (
    OFFER,
    attempt,
    needs_root,
    needs_seccomp,
    needs_x86,
    only_linux,
    several,
)

pytestmark = only_linux


KILLED, DENIED, GONE = signal.SIGSYS, errno.EPERM, errno.ENOSYS


BY_NUMBER = (
    ("pidfd_open", (1, 0), DENIED),
    ("pidfd_send_signal", (0, 0, 0, 0), DENIED),
    ("kcmp", (1, 1, 0, 0, 0), DENIED),
    ("perf_event_open", (0, 0, 0, 0, 0), DENIED),
    ("userfaultfd", (0,), DENIED),
    ("io_uring_setup", (1, 0), DENIED),
    ("keyctl", (0, 0), DENIED),
    ("unshare", (0x10000000,), DENIED),
    ("unshare", (0x00020000,), DENIED),
    ("personality", (0x0040000,), DENIED),
    ("personality", (0xFFFFFFFF,), None),
    ("clone3", (0, 0), GONE),
    ("clone", (0x10000000 | 17, 0, 0, 0, 0), DENIED),
    ("clone", (0x10000, 0, 0, 0, 0), errno.EINVAL),
    ("memfd_create", (0, 0), DENIED),
    ("shmget", (0, 4096, 0o1600), DENIED),
    ("mq_open", (0, 0, 0, 0), DENIED),
    ("setuid", (0,), DENIED),
    ("sethostname", (0, 0), DENIED),
    ("modify_ldt", (0, 0, 0), GONE),
    ("statmount", (0, 0, 0, 0), GONE),
    ("io_setup", (1, 0), GONE),
    ("bpf", (0, 0, 0), KILLED),
    ("setns", (0, 0), KILLED),
    ("open_by_handle_at", (0, 0, 0), KILLED),
    ("init_module", (0, 0, 0), KILLED),
    ("kexec_load", (0, 0, 0, 0), KILLED),
    ("chroot", (0,), KILLED),
    ("fsopen", (0, 0), KILLED),
    ("settimeofday", (0, 0), KILLED),
)


@needs_seccomp
@needs_x86
def test_calls_by_number() -> None:
    """What is tried in good faith fails, what is new does not exist, an attack ends the process."""
    known = numbers.numbers("x86_64")
    failing = [one for one in BY_NUMBER if one[2] is not KILLED]
    found = several({}, [["syscall", known[name], *values] for name, values, _ in failing])
    for (name, _, by), done in zip(failing, found, strict=True):
        assert done[0] == "done" if by is None else done == by, name
    for name, values, _ in set(BY_NUMBER) - set(failing):
        assert attempt({}, "syscall", known[name], *values) == KILLED, name


@needs_seccomp
@needs_x86
def test_other_gates_into_the_kernel_are_shut() -> None:
    """32-bit calls end the process; x32 ones do not exist, whatever the kernel was built with."""
    assert attempt({}, "compatible_call") == signal.SIGSYS
    strange = [["syscall", 0x40000000 | number] for number in (39, 57, 101)]
    assert several({}, strange) == [errno.ENOSYS] * 3


@needs_seccomp
@needs_root
def test_mounting_ends_it(tmp_path: Path) -> None:
    """Without capabilities it is refused, with the filter it is an attack."""
    assert attempt({}, "mount", str(tmp_path)) == signal.SIGSYS
    assert attempt({}, "mount", str(tmp_path), only="capabilities") == errno.EPERM


@needs_seccomp
def test_what_the_watcher_counts_on_stays() -> None:
    """The signal for the parent's death, being readable, and the filter itself."""
    options = ((1, 0), (4, 0), (36, 1), (22, 2), (28, 0), (0x59616D61, 1), (35, 1))
    asked = several({}, [["prctl", option, value] for option, value in options])
    assert asked == [errno.EPERM] * len(options)
    assert attempt({}, "death_signal") == ("done", signal.SIGTERM)
    assert attempt({}, "type_into_terminal") == errno.EPERM
    assert attempt({"gpu": True}, "type_into_terminal") == errno.EPERM


def answer(code: list[bpf.Instruction], architecture: int, number: int, *arguments: int) -> int:
    """What a filter says, without a kernel."""
    words = [number, architecture, 0, 0]
    for one in (*arguments, 0, 0, 0, 0, 0, 0)[:6]:
        words += [one & 0xFFFFFFFF, one >> 32]
    at, value = 0, 0
    while True:
        operation, true, false, operand = code[at]
        at += 1
        if operation == 0x06:
            return operand
        if operation == 0x20:
            value = words[operand // 4]
        elif operation == 0x54:
            value &= operand
        elif operation == 0x05:
            at += operand
        else:
            holds = value == operand if operation == 0x15 else value >= operand
            at += true if holds else false


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_filters_answer_as_the_rules_say(architecture: str) -> None:
    """Every number on both architectures, strange gates, numbers to come, halves of pointers."""
    setting = system_call_rules.Setting(4711, 7, True)
    code = seccomp.build(confinement.Jail(), setting, architecture)
    assert len(code) < 4096
    assert all(true < 256 and false < 256 for _, true, false, _ in code)
    arch, known = numbers.ARCHITECTURES[architecture], numbers.numbers(architecture)
    rules = system_call_rules.rules(confinement.Jail(), setting)
    for name, number in known.items():
        rule = rules.get(name, bpf.CallRule(system_call_rules.ABSENT))
        if not rule.clauses:
            assert answer(code, arch, number) == rule.otherwise, name
    for number in (max(known.values()) + 1, 0x40000000, 0x40000000 | known["read"], 2**32 - 1):
        assert answer(code, arch, number) == system_call_rules.ABSENT
    assert answer(code, 0x40000003, known["getpid"]) == bpf.KILL
    for other in set(numbers.ARCHITECTURES.values()) - {arch}:
        assert answer(code, other, known["getpid"]) == bpf.KILL
    assert answer(code, arch, known["kill"], 4711) == bpf.ALLOW
    assert answer(code, arch, known["kill"], 4712) == system_call_rules.REFUSED
    assert answer(code, arch, known["kill"], 2**32 - 1) == system_call_rules.REFUSED
    assert answer(code, arch, known["sendto"], 0, 0, 0, 0, 0) == bpf.ALLOW
    assert answer(code, arch, known["sendto"], 0, 0, 0, 0, 1 << 32) == system_call_rules.REFUSED
    assert answer(code, arch, known["clone"], 0x3D0F00) == bpf.ALLOW
    assert answer(code, arch, known["clone"], 0x3D0F00 | 0x10000000) == system_call_rules.REFUSED
    assert answer(code, arch, known["clone"], 17) == system_call_rules.REFUSED


def test_rules_are_about_calls_that_exist() -> None:
    """A name that is misspelt would be a rule that never holds."""
    for options in ({}, {"network": True, "gpu": True, "processes": True}):
        rules = system_call_rules.rules(
            confinement.Jail(**options), system_call_rules.Setting(1, 1, False)
        )
        assert not rules.keys() - numbers.names()


def test_numbers_are_those_of_this_system() -> None:
    """As far as its headers know them."""
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("no headers of the kernel")
    found = re.findall(r"#define __NR_(\w+) (\d+)", header.read_text())
    known = numbers.numbers("x86_64")
    assert len(found) > 300
    assert {k: int(v) for k, v in found if k in known}.items() <= known.items()
    generic = Path("/usr/include/asm-generic/unistd.h").read_text()
    others = {k: int(v) for k, v in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", generic)}
    arm = numbers.numbers("aarch64")
    assert all(arm[k] == v for k, v in others.items() if k in arm)


def test_probing_changes_nothing() -> None:
    """The tests' own process is as it was."""
    assert confinement.probe() == OFFER
