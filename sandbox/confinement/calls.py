"""Which system calls a confined process may make; ``calls.md`` has the list, and why.

A list of what is allowed, because kernels get new calls every year and a list of what is forbidden
ages badly. What is not listed does not exist (ENOSYS), as on an older kernel, for which libraries
are prepared. EPERM is the answer to what programs try in good faith and can do without. What only
an attack does ends the process, so that whoever watches it learns of the attempt.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import ioctls
from .bpf import ALLOW, KILL, Clause, Rule, Test, errno
from .explained import TABLES, values
from .jail import Jail

REFUSED = errno(1)  # EPERM
ABSENT = errno(38)  # ENOSYS
UNSUPPORTED = errno(95)  # EOPNOTSUPP
DONE = errno(0)

_ANSWERS = {
    "yes": ALLOW, "EPERM": REFUSED, "ENOSYS": ABSENT, "EOPNOTSUPP": UNSUPPORTED, "0": DONE,
    "end": KILL,
}  # fmt: skip
"""What ``calls.md`` calls them."""
SOME = "some"
"""The answer there of calls whose arguments count; their rules are here."""

_NEW_NAMESPACES = 0x7E020000
_THREAD, _PARENT = 0x00010000, 0x00008000
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_STREAM, _SEQPACKET, _KIND_OF_SOCKET = 1, 5, 0xF
_QUERY = 0xFFFFFFFF
_ANY_WAY, _TRUNCATING = 0o3, 0o1000


@dataclass(frozen=True)
class Setting:
    """What the rules depend on beside the jail.

    Attributes:
        pid: of the process that is confined.
        abi: Landlock's version in force; 0 for none.
        signals: whether Landlock keeps signals within the jail.
    """

    pid: int
    abi: int
    signals: bool


def rules(jail: Jail, setting: Setting) -> dict[str, Rule]:
    """A rule for each call that exists."""
    granted = {"gpu": jail.gpu, "processes": jail.processes, "network": jail.network}
    answers = _ANSWERS | {key: ALLOW if one else REFUSED for key, one in granted.items()}
    found = {
        name: Rule(answers[row.value])
        for row in TABLES["Calls"]
        if row.value != SOME
        for name in row.names
    }
    found.update(_of_processes(jail, setting))
    found.update(_of_sockets(jail))
    found.update(_of_files(jail, setting))
    return found


def _only(argument: int, *values: int, mask: int = _QUERY) -> Rule:
    return Rule(REFUSED, (Clause(ALLOW, (Test(argument, values, mask),)),))


def _of_processes(jail: Jail, setting: Setting) -> dict[str, Rule]:
    own = _only(0, 0, setting.pid)
    # By number 0 is the whole group, to which the host can belong.
    signalled = Rule(ALLOW) if jail.processes and setting.signals else _only(0, setting.pid)
    thread = Clause(ALLOW, (Test(0, (_THREAD,), _THREAD | _NEW_NAMESPACES),))
    # A sibling would be the child of somebody who does not know of it.
    process = Clause(ALLOW, (Test(0, (0,), _THREAD | _PARENT | _NEW_NAMESPACES),))
    myself = Clause(ALLOW, (Test(0, (0,)), Test(1, (0, setting.pid))))
    mine = Clause(ALLOW, (Test(0, (1,)), Test(1, (0, setting.pid))))
    return {
        "clone": Rule(REFUSED, (thread, process) if jail.processes else (thread,)),
        **dict.fromkeys(("kill", "tkill", "tgkill"), signalled),
        **dict.fromkeys(("rt_sigqueueinfo", "rt_tgsigqueueinfo"), signalled),
        **dict.fromkeys(("prlimit64", "migrate_pages", "move_pages"), own),
        **dict.fromkeys(("sched_setaffinity", "sched_setparam", "sched_setscheduler"), own),
        "sched_setattr": own,
        "setpriority": Rule(REFUSED, (myself,)),
        "ioprio_set": Rule(REFUSED, (mine,)),
        "prctl": _only(0, *values("prctl")),
        "personality": _only(0, _QUERY),
    }


def _of_sockets(jail: Jail) -> dict[str, Rule]:
    # A pair of datagram sockets could send to any other by name, such as the system's log.
    kinds = Test(1, (_STREAM, _SEQPACKET), _KIND_OF_SOCKET)
    found = {"socketpair": Rule(REFUSED, (Clause(ALLOW, (Test(0, (_UNIX,)), kinds)),))}
    if jail.network:
        internet = Clause(ALLOW, (Test(0, (_INET, _INET6)),))
        # The resolver asks for this machine's addresses.
        routes = Clause(ALLOW, (Test(0, (_NETLINK,)), Test(2, (0,))))
        found["socket"] = Rule(REFUSED, (internet, routes))
        found["sendto"] = Rule(ALLOW)
    else:
        nowhere = (Test(4, (0,)), Test(4, (0,), high=True))
        found["socket"] = Rule(REFUSED)
        found["sendto"] = Rule(REFUSED, (Clause(ALLOW, nowhere),))
    return found


def _of_files(jail: Jail, setting: Setting) -> dict[str, Rule]:
    regular = (0, 0o100000)
    found = {
        "mknod": _only(1, *regular, mask=0o170000),
        "mknodat": _only(2, *regular, mask=0o170000),
        "fcntl": Rule(ALLOW, (Clause(REFUSED, (Test(1, values("fcntl")),)),)),
        "ioctl": ioctls.rule(jail.gpu),
    }
    if setting.abi < 3:
        # Before that Landlock lets a file be shortened that may only be read.
        found["truncate"] = Rule(REFUSED)
        found["openat2"] = Rule(ABSENT)
        for name, argument in (("open", 1), ("openat", 2)):
            emptied = Test(argument, (_TRUNCATING,), _TRUNCATING | _ANY_WAY)
            found[name] = Rule(ALLOW, (Clause(REFUSED, (emptied,)),))
    return found
