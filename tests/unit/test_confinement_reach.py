"""Networks, other processes and programs are out of reach of a confined process."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from pathlib import Path

from zimage_comfyui.tests.fakes.confined import (
    OFFER,
    attempt,
    needs_landlock,
    needs_seccomp,
    needs_x86,
    only_linux,
    several,
    stopped,
)

pytestmark = only_linux


@needs_seccomp
def test_nothing_goes_out(listener: int) -> None:
    """No TCP, UDP, binding or listening; the socket itself is refused."""
    stopped("datagram", listener, by=errno.EPERM)
    stopped("serve", by=errno.EPERM)
    for family, address in (("AF_INET", "127.0.0.1"), ("AF_INET6", "::1")):
        assert attempt({}, "connect", family, address, listener) == errno.EPERM
    stopped("connect_opened", listener, by=errno.EPERM)


@needs_landlock(4)
def test_landlock_alone_keeps_tcp_in(listener: int) -> None:
    """Also a socket that was open before connects to nothing, and none is bound."""
    stopped("connect_opened", listener, by=errno.EACCES, only="landlock")
    stopped("bound", by=errno.EACCES, only="landlock")


@needs_seccomp
def test_with_the_network_it_connects_and_serves_nobody(listener: int) -> None:
    """TCP over loopback and the resolver work; listening does not, nor do Unix sockets."""
    jail = {"network": True}
    assert attempt(jail, "connect_opened", listener) == ("done", None)
    assert attempt(jail, "datagram", listener) == ("done", 1)
    assert attempt(jail, "resolve")[0] == "done"
    assert attempt(jail, "serve") == errno.EPERM
    assert attempt(jail, "unix", "@zimage") == errno.EPERM


@needs_seccomp
def test_no_unix_socket_is_reached(tmp_path: Path) -> None:
    """Neither by path nor by abstract name, nor from a pair of datagram sockets."""
    names = (str(tmp_path / "s"), f"@zimage-{os.getpid()}")
    for name in names:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(b"\0" + name[1:].encode() if name[0] == "@" else name)
            one.listen()
            stopped("unix", name, by=errno.EPERM, jail={"write": [str(tmp_path)]})
            if name[0] == "@" and OFFER["landlock"] >= 6:
                stopped("unix_opened", name, by=errno.EPERM, only="landlock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "d"))
        stopped("pair_of_datagrams", str(tmp_path / "d"), by=errno.EPERM)


@needs_seccomp
@needs_x86
def test_other_processes_are_out_of_reach() -> None:
    """No signal, limit, priority, processor or owner of signals for the parent."""
    parent = os.getpid()
    names = ("kill", "tgkill", "limit_of", "affinity_of", "priority_of", "signalled_by_owner")
    acts = [[name, parent] for name in names]
    assert all(isinstance(one, tuple) for one in several(None, acts))
    acts += [["queue_signal", parent], *(["kill", pid] for pid in (-1, 0, 1))]
    for order in ({}, {"only": "seccomp"}):
        assert several({}, acts, **order) == [errno.EPERM] * len(acts)
    assert attempt({}, "own_signal") == ("done", 2)
    assert attempt({}, "session") == errno.EPERM


@needs_landlock(6)
def test_landlock_alone_keeps_signals_in() -> None:
    """What seccomp cannot know by numbers is judged by who is in the same jail."""
    stopped("kill", os.getpid(), by=errno.EPERM, only="landlock")


@needs_seccomp
def test_reading_other_processes_ends_it() -> None:
    """Tracing and reading memory is what only an attack does."""
    parent, address = os.getpid(), id(None)
    if OFFER["user"] == 0:
        assert attempt(None, "memory_of", parent, address) == ("done", 16)
    for name, *more in (("memory_of", address), ("trace",)):
        assert attempt({}, name, parent, *more) == signal.SIGSYS
        if OFFER["landlock"]:
            assert attempt({}, name, parent, *more, only="landlock") == errno.EPERM


@needs_seccomp
def test_nothing_is_started() -> None:
    """Forks and programs are refused as for lack of permission; nothing hangs or is killed."""
    for name in ("fork", "spawn", "program"):
        stopped(name, by=errno.EPERM)
    assert attempt({}, "execute") == errno.EPERM


@needs_seccomp
@needs_landlock(1)
def test_programs_are_confined_too(place: Path, jail: dict, listener: int) -> None:
    """With processes they run, see no more files, and have neither network nor foreign signals."""
    jail["processes"] = True
    assert attempt(jail, "program") == ("done", 0)
    assert attempt(jail, "shell", f"cat {place}/read/model") == ("done", 0)
    assert attempt(jail, "shell", "kill -0 $$") == (
        ("done", 0) if OFFER["landlock"] >= 6 else ("done", 1)
    )
    for line in (
        f"cat {place}/secret",
        f"kill -0 {os.getpid()}",
        f"cat /proc/{os.getpid()}/environ",
        f"{sys.executable} -IS -c 'import socket; socket.socket()'",
        f"{sys.executable} -IS -c 'import os; os.chroot(\"/\")'",
    ):
        done = attempt(jail, "shell", line)
        assert done[0] == "done", line
        assert done[1] != 0, line
    # What could be written is not executed.
    (place / "write" / "tool").write_text("#!/bin/sh\n")
    (place / "write" / "tool").chmod(0o755)
    assert attempt(jail, "shell", f"{place}/write/tool") == ("done", 126)
