"""Files, TCP and signals, by Landlock: what is not granted fails with EACCES or EPERM.

Landlock checks the file that a path resolves to, so links and ``/proc/self/root`` give no further
access. It does not hide that a file exists: guessed names, sizes, times and the targets of links
stay visible. It has no rights for changes of modes, owners, times and attributes; :mod:`.calls`
refuses those.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator

from .granted import granted
from .jail import Jail
from .kernel import call
from .report import Outcome, failure

EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
REMOVE_DIR = 1 << 4
REMOVE_FILE = 1 << 5
MAKE_DIR = 1 << 7
MAKE_REG = 1 << 8
REFER = 1 << 13
TRUNCATE = 1 << 14
IOCTL_DEV = 1 << 15
_ALL = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""The rights on files, by the interface's version that introduced the last of them."""
_ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

READ = READ_FILE | READ_DIR
# No links, FIFOs, sockets or devices: they could mislead or block others who use these folders.
# REFER allows moving a finished file here from a folder of the jail's own.
CREATE = READ | WRITE_FILE | TRUNCATE | MAKE_DIR | MAKE_REG | REFER
WRITE = CREATE | REMOVE_DIR | REMOVE_FILE
DEVICE = READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | IOCTL_DEV

_BIND_TCP = 1
_CONNECT_TCP = 2
# Scopes.
ABSTRACT_SOCKETS = 1
SIGNALS = 2
_LOG_NOTHING = 1
_VERSION = 1
_PATH_BENEATH = 1

_pins: list[int] = []
"""Descriptors that stay open. A rule belongs to an inode, and procfs creates another inode for the
same name once the kernel has reclaimed an unused one."""


def version() -> int:
    """Return the interface's version (ABI).

    Raises:
        OSError: ENOSYS or EOPNOTSUPP if the kernel has no Landlock, or it is switched off.
    """
    return call("landlock_create_ruleset", None, 0, _VERSION)


def apply(jail: Jail) -> tuple[Outcome, int, int]:
    """Confine the calling thread and what it starts.

    Returns:
        The outcome, the ABI (0 if nothing was applied) and the scopes in force.
    """
    gap = "every file of this user is readable and writable"
    try:
        abi = version()
        ruleset, scoped = _create(abi, jail.network)
    except OSError as error:
        return failure(error, "landlock", gap), 0, 0
    handled = _handled(abi)
    missing = []
    try:
        for path, rights, own in _rules(jail):
            if not _grant(ruleset, path, rights & handled) and own:
                missing.append(path)
        # Libraries cause hundreds of refusals when they search, so these are not logged.
        call("landlock_restrict_self", ruleset, _LOG_NOTHING if abi >= 7 else 0)
    except OSError as error:
        return failure(error, "landlock", gap), 0, 0
    finally:
        os.close(ruleset)
    reason = f"ABI {abi}" + (f"; not granted: {', '.join(missing)}" if missing else "")
    return Outcome("applied", reason, tuple(_uncovered_accesses(abi, scoped, jail))), abi, scoped


def _handled(abi: int) -> int:
    return max(rights for since, rights in _ALL.items() if since <= abi)


def _create(abi: int, network: bool) -> tuple[int, int]:
    """Return a ruleset and its scopes; some kernels lack a scope that their version includes."""
    ports = 0
    if abi >= 4:
        ports = _BIND_TCP if network else _BIND_TCP | _CONNECT_TCP
    for scoped in (ABSTRACT_SOCKETS | SIGNALS, ABSTRACT_SOCKETS) if abi >= 6 else ():
        try:
            return _ruleset(abi, ports, scoped), scoped
        except OSError:
            continue
    return _ruleset(abi, ports, 0), 0


def _ruleset(abi: int, ports: int, scoped: int) -> int:
    # Older kernels accept the longer structure if the fields that they do not know are zero.
    wanted = struct.pack("=QQQ", _handled(abi), ports, scoped)
    return call("landlock_create_ruleset", wanted, len(wanted), 0)


def _rules(jail: Jail) -> Iterator[tuple[str, int, bool]]:
    """Yield path, rights, and whether the jail names the path."""
    # Writable files are never executable; libraries are mapped, not executed.
    start = EXECUTE if jail.processes else 0
    system = granted(jail)
    yield from ((path, READ | start, False) for path in system.read)
    yield from ((path, DEVICE, False) for path in system.devices)
    yield from ((path, READ | start, True) for path in jail.read)
    yield from ((path, WRITE, True) for path in jail.write)
    yield from ((path, CREATE, True) for path in jail.create)


def _grant(ruleset: int, path: str, rights: int) -> bool:
    """Add a rule; return False if the path is missing or this user has no permission for it.

    Raises:
        OSError: the rule is refused.
    """
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        rights &= _ON_FILES
    try:
        rule = struct.pack("=Qi", rights, descriptor)
        call("landlock_add_rule", ruleset, _PATH_BENEATH, rule, 0)
    finally:
        if path.startswith("/proc/"):
            _pins.append(descriptor)
        else:
            os.close(descriptor)
    mode = os.R_OK | (os.W_OK if rights & WRITE_FILE else 0)
    return os.access(path, mode)


def _uncovered_accesses(abi: int, scoped: int, jail: Jail) -> Iterator[str]:
    yield "names that are guessed, sizes and times of files are visible"
    if jail.create:
        yield "files in folders of files to be made can be overwritten"
    if abi < 3:
        yield "shortening files is left to seccomp"
    if abi < 4:
        yield "TCP is left to seccomp"
    if abi < 5 and jail.gpu:
        yield "commands to devices that are open already"
    if scoped != ABSTRACT_SOCKETS | SIGNALS:
        yield "signals and abstract sockets are left to seccomp"
