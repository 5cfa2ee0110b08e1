"""A view of the file system with only what is granted, by bubblewrap, where it is installed.

This is in addition to Landlock, which protects the contents of other files but not guessed names,
sizes and times. Here these files do not exist, nor do other processes, and without a grant the
network has only a loopback device of its own.
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
_NEW_MOUNTS = ("/proc", "/dev")
_OWN_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


@functools.cache
def available() -> Outcome:
    """Return whether bubblewrap is installed and can create its namespaces; tried once."""
    program = shutil.which(PROGRAM)
    if program is None:
        return Outcome("unavailable", "bubblewrap (bwrap) is not installed", (_GAP,))
    trial = [program, *_NAMESPACES, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    try:
        done = subprocess.run(
            [*trial, "--", shutil.which("true") or "/bin/true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Outcome("failed", f"{program}: {error}", (_GAP,))
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip()[-200:]
        return Outcome("failed", f"{program}: {message or done.returncode}", (_GAP,))
    return Outcome("applied", program)


_NAMESPACES = (
    *("--unshare-user-try", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"),
    "--unshare-cgroup-try",
)


def command(jail: Jail, folder: str) -> list[str]:
    """Return the words before a program's command line that give it the view of a jail.

    Args:
        jail: what is granted.
        folder: where the program starts; it is granted, or contains something that is.
    """
    system = granted(jail)
    words = [shutil.which(PROGRAM) or PROGRAM, *_NAMESPACES, "--die-with-parent"]
    if jail.network:
        words.append("--share-net")
    words += ["--proc", "/proc", "--dev", "/dev"]
    words += mounts([*system.read, *jail.read], [*jail.write, *jail.create])
    for device in system.devices:
        if device not in _OWN_DEVICES:
            words += ["--dev-bind", device, device]
    return [*words, "--chdir", folder, "--"]


def mounts(read: Iterable[str], write: Iterable[str]) -> list[str]:
    """Return arguments that mount paths where they are, with the links that lead there.

    A path inside of a mounted folder with the same rights needs no mount. Either kind may contain
    the other: a writable path in a readable folder, or the other way round.
    """
    read = list(read)
    write = list(write)
    options = {os.path.realpath(path): "--ro-bind" for path in read if os.path.exists(path)}
    options |= {os.path.realpath(path): "--bind" for path in write if os.path.exists(path)}
    mounted: dict[str, str] = {}
    arguments: list[str] = []
    for path in sorted(options):  # a folder comes before its contents
        if _within(path, _NEW_MOUNTS):
            continue
        parents = [folder for folder in mounted if _within(path, (folder,))]
        if any(mounted[folder] in ("--bind", options[path]) for folder in parents):
            continue
        mounted[path] = options[path]
        arguments += [options[path], path, path]
    for link, target in _links([*read, *write]).items():
        if not _within(link, (*mounted, *_NEW_MOUNTS)):
            arguments += ["--symlink", target, link]
    return arguments


def _within(path: str, folders: Sequence[str]) -> bool:
    return any(
        folder == "/" or path == folder or path.startswith(folder + "/") for folder in folders
    )


def _links(paths: Iterable[str]) -> dict[str, str]:
    """Return every link on the way to the real paths, with its target."""
    links: dict[str, str] = {}
    waiting = [os.path.abspath(path) for path in paths]
    while waiting:
        parts = waiting.pop().split("/")[1:]
        for length in range(1, len(parts) + 1):
            link = "/" + "/".join(parts[:length])
            if os.path.islink(link):
                if link not in links:
                    target = links[link] = os.readlink(link)
                    further = os.path.join(os.path.dirname(link), target, *parts[length:])
                    waiting.append(os.path.normpath(further))
                break  # the rest of the path is below the target
    return links
