"""A view of the file system with nothing in it but what is granted, by bubblewrap, where it is.

An extra: Landlock keeps the contents of other files from a process, but names that are guessed,
sizes and times can still be seen. Here they are not there, nor are other processes, and without a
grant the network has no device but its own loopback.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence

from .granted import granted
from .jail import Jail
from .report import Outcome

PROGRAM = "bwrap"
PROBE_SECONDS = 10.0
_GAP = "names that are guessed, sizes and times of files are visible"
_MADE_NEW = ("/proc", "/dev")
_DEVICES_OF_ITS_OWN = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


@functools.cache
def available() -> Outcome:
    """Whether bubblewrap is installed and may make its namespaces; asked once, by trying."""
    program = shutil.which(PROGRAM)
    if program is None:
        return Outcome("unavailable", "bubblewrap (bwrap) is not installed", (_GAP,))
    trial = [program, *_NAMESPACES, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    try:
        found = subprocess.run(
            [*trial, "--", shutil.which("true") or "/bin/true"],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return Outcome("failed", f"{program}: {error}", (_GAP,))
    if found.returncode:
        told = found.stderr.decode(errors="replace").strip()[-200:]
        return Outcome("failed", f"{program}: {told or found.returncode}", (_GAP,))
    return Outcome("applied", program)


_NAMESPACES = (
    *("--unshare-user-try", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"),
    "--unshare-cgroup-try",
)


def command(jail: Jail, folder: str) -> list[str]:
    """What to put before a program's command line, to run it with the view of a jail.

    Args:
        jail: what is granted.
        folder: where the program starts; it must be granted, or hold something that is.
    """
    system = granted(jail)
    devices = [one for one in system.devices if one not in _DEVICES_OF_ITS_OWN]
    found = [shutil.which(PROGRAM) or PROGRAM, *_NAMESPACES, "--die-with-parent"]
    if jail.network:
        found.append("--share-net")
    found += ["--proc", "/proc", "--dev", "/dev"]
    found += mounts([*system.read, *jail.read], [*jail.write, *jail.create])
    for one in devices:
        found += ["--dev-bind", one, one]
    return [*found, "--chdir", folder, "--"]


def mounts(read: Iterable[str], write: Iterable[str]) -> list[str]:
    """Arguments that make paths appear where they are, with the links that lead there.

    What lies in a folder that appears with the same rights needs none of its own. What may be
    written may be written also where it lies in what may be read, and the other way round.
    """
    read, write = list(read), list(write)
    places = {os.path.realpath(one): "--ro-bind" for one in read if os.path.exists(one)}
    places |= {os.path.realpath(one): "--bind" for one in write if os.path.exists(one)}
    shown: dict[str, str] = {}
    found: list[str] = []
    for path in sorted(places):  # what holds another comes before it
        if _within(path, _MADE_NEW):
            continue
        above = [one for one in shown if _within(path, (one,))]
        if any(shown[one] in ("--bind", places[path]) for one in above):
            continue
        shown[path] = places[path]
        found += [places[path], path, path]
    for link, target in _links([*read, *write]).items():
        if not _within(link, (*shown, *_MADE_NEW)):
            found += ["--symlink", target, link]
    return found


def _within(path: str, folders: Sequence[str]) -> bool:
    return any(one == "/" or path == one or path.startswith(one + "/") for one in folders)


def _links(paths: Iterable[str]) -> dict[str, str]:
    """Every link on the way to where the paths really are, with its target."""
    found: dict[str, str] = {}
    waiting = [os.path.abspath(one) for one in paths]
    while waiting:
        parts = waiting.pop().split("/")[1:]
        for length in range(1, len(parts) + 1):
            link = "/" + "/".join(parts[:length])
            if os.path.islink(link):
                if link not in found:
                    target = found[link] = os.readlink(link)
                    further = os.path.join(os.path.dirname(link), target, *parts[length:])
                    waiting.append(os.path.normpath(further))
                break  # what follows is looked up where it leads
    return found
