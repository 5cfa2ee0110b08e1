"""Which system calls a confined process may make; ``system_calls.md`` has the list and the reasons.

The list says what is allowed, because kernels get new calls every year. A call that is not listed
does not exist (ENOSYS), as on an older kernel, for which libraries are prepared. Calls that
programs make in good faith and can do without fail with EPERM. Calls that only an attack makes
kill the process, so that the host learns of the attempt.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import ioctls
from .bpf import ALLOW, KILL, ArgumentTest, CallRule, Clause, errno
from .jail import Jail
from .system_calls_document import TABLES, values

REFUSED = errno(1)  # EPERM
ABSENT = errno(38)  # ENOSYS
UNSUPPORTED = errno(95)  # EOPNOTSUPP
DONE = errno(0)

_ACTIONS = {
    "yes": ALLOW,
    "EPERM": REFUSED,
    "ENOSYS": ABSENT,
    "EOPNOTSUPP": UNSUPPORTED,
    "0": DONE,
    "end": KILL,
}
"""Their names in ``system_calls.md``."""
SOME = "some"
"""The name there for calls whose arguments count; their rules are in this file."""

_NEW_NAMESPACES = 0x7E020000
# Flags of clone.
_THREAD = 0x00010000
_PARENT = 0x00008000
# Families and kinds of sockets.
_UNIX = 1
_INET = 2
_INET6 = 10
_NETLINK = 16
_STREAM = 1
_SEQPACKET = 5
_KIND_OF_SOCKET = 0xF
_QUERY = 0xFFFFFFFF
# Flags of open.
_ACCESS_MODE = 0o3
_TRUNCATING = 0o1000


@dataclass(frozen=True)
class Setting:
    """What the rules depend on in addition to the jail.

    Attributes:
        pid: of the confined process.
        abi: Landlock's version in force; 0 for none.
        signals: whether Landlock keeps signals inside the jail.
    """

    pid: int
    abi: int
    signals: bool


def rules(jail: Jail, setting: Setting) -> dict[str, CallRule]:
    """Return a rule for each call that exists, by name."""
    grants = {"gpu": jail.gpu, "processes": jail.processes, "network": jail.network}
    actions = _ACTIONS | {name: ALLOW if is_on else REFUSED for name, is_on in grants.items()}
    simple = {
        name: CallRule(actions[row.value])
        for row in TABLES["Calls"]
        if row.value != SOME
        for name in row.names
    }
    return simple | _of_processes(jail, setting) | _of_sockets(jail) | _of_files(jail, setting)


def _only(argument: int, *values: int, mask: int = _QUERY) -> CallRule:
    return CallRule(REFUSED, (Clause(ALLOW, (ArgumentTest(argument, values, mask),)),))


def _of_processes(jail: Jail, setting: Setting) -> dict[str, CallRule]:
    own = _only(0, 0, setting.pid)
    # Process id 0 means the whole group, to which the host can belong.
    signalled = CallRule(ALLOW) if jail.processes and setting.signals else _only(0, setting.pid)
    thread = Clause(ALLOW, (ArgumentTest(0, (_THREAD,), _THREAD | _NEW_NAMESPACES),))
    # With CLONE_PARENT the template would get a child that it does not know of.
    process = Clause(ALLOW, (ArgumentTest(0, (0,), _THREAD | _PARENT | _NEW_NAMESPACES),))
    myself = Clause(ALLOW, (ArgumentTest(0, (0,)), ArgumentTest(1, (0, setting.pid))))
    mine = Clause(ALLOW, (ArgumentTest(0, (1,)), ArgumentTest(1, (0, setting.pid))))
    return {
        "clone": CallRule(REFUSED, (thread, process) if jail.processes else (thread,)),
        **dict.fromkeys(("kill", "tkill", "tgkill"), signalled),
        **dict.fromkeys(("rt_sigqueueinfo", "rt_tgsigqueueinfo"), signalled),
        **dict.fromkeys(("prlimit64", "migrate_pages", "move_pages"), own),
        **dict.fromkeys(("sched_setaffinity", "sched_setparam", "sched_setscheduler"), own),
        "sched_setattr": own,
        "setpriority": CallRule(REFUSED, (myself,)),
        "ioprio_set": CallRule(REFUSED, (mine,)),
        "prctl": _only(0, *values("prctl")),
        "personality": _only(0, _QUERY),
    }


def _of_sockets(jail: Jail) -> dict[str, CallRule]:
    # A pair of datagram sockets could send to any other socket by name, such as the system log.
    kinds = ArgumentTest(1, (_STREAM, _SEQPACKET), _KIND_OF_SOCKET)
    rules = {"socketpair": CallRule(REFUSED, (Clause(ALLOW, (ArgumentTest(0, (_UNIX,)), kinds)),))}
    if jail.network:
        internet = Clause(ALLOW, (ArgumentTest(0, (_INET, _INET6)),))
        # The resolver asks for the addresses of this machine.
        routes = Clause(ALLOW, (ArgumentTest(0, (_NETLINK,)), ArgumentTest(2, (0,))))
        rules["socket"] = CallRule(REFUSED, (internet, routes))
        rules["sendto"] = CallRule(ALLOW)
    else:
        nowhere = (ArgumentTest(4, (0,)), ArgumentTest(4, (0,), high=True))
        rules["socket"] = CallRule(REFUSED)
        rules["sendto"] = CallRule(REFUSED, (Clause(ALLOW, nowhere),))
    return rules


def _of_files(jail: Jail, setting: Setting) -> dict[str, CallRule]:
    regular = (0, 0o100000)
    rules = {
        "mknod": _only(1, *regular, mask=0o170000),
        "mknodat": _only(2, *regular, mask=0o170000),
        "fcntl": CallRule(ALLOW, (Clause(REFUSED, (ArgumentTest(1, values("fcntl")),)),)),
        "ioctl": ioctls.rule(jail.gpu),
    }
    if setting.abi < 3:
        # Before version 3, Landlock does not prevent truncation of files that may only be read.
        rules["truncate"] = CallRule(REFUSED)
        rules["openat2"] = CallRule(ABSENT)
        for name, argument in (("open", 1), ("openat", 2)):
            emptied = ArgumentTest(argument, (_TRUNCATING,), _TRUNCATING | _ACCESS_MODE)
            rules[name] = CallRule(ALLOW, (Clause(REFUSED, (emptied,)),))
    return rules
