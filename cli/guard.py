"""``serve`` with a guardian: the commands of its servers, and its files."""

from __future__ import annotations

import argparse
import fcntl
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from ..config import GUARD, PACK_DIR, InvalidValue, Settings
from ..errors import ZImageError, system
from ..guardian.launch_config import LaunchConfig
from ..guardian.limits import POSITIVE, Limits
from ..guardian.logging import configure_logging
from ..guardian.loop import Guardian, Outcome
from ..guardian.mode import Mode
from ..guardian.sockets import inherited, open_all
from .bootstrap import LINK_NAME
from .host import Host
from .terminal import LACKING, Stop, complain

STANDBY_BYTES = 6 * 2**30
"""Free memory that ``--standby auto`` needs."""
SYSTEMD = (
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
)
"""Variables of systemd for the guardian, which its servers do not get."""


def run(
    command: list[str],
    env: dict[str, str],
    host: Host,
    options: argparse.Namespace,
    settings: Settings,
    folder: Path,
) -> int | None:
    """Run the guardian until it is told to stop.

    Args:
        command: the command of a server.
        env: the environment of a server.
        host: the ComfyUI.
        options: the options of ``serve``.
        settings: the settings.
        folder: folder for the state of the guardian.

    Returns:
        The exit code; None if ComfyUI has to be started without a guardian.

    Raises:
        Stop: ``ZI-PORT-USED``, ``ZI-ADDRESS``, ``ZI-GUARDIAN-TAKEN`` or ``ZI-ENV-HOME``.
    """
    if not _has_process_descriptors():
        return None
    config = _configure(command, env, host, options, settings, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder / f"{config.name}.lock"):
            adopt = (folder / f"{config.name}.sock").exists()
            guardian = Guardian(config, _sockets(options, settings, adopt), limits(settings))
            outcome = guardian.run()
            _release(guardian.sockets, inherited_from_systemd=settings.listen_fds > 0)
    except ZImageError as error:
        raise Stop(LACKING, error.code, **error.found) from error
    except OSError as error:
        raise Stop(LACKING, "ZI-ENV-HOME", path=folder, found=system.reason(error)) from error
    if outcome is Outcome.PORT_IN_USE:
        raise Stop(LACKING, "ZI-PORT-USED", found=options.port)
    return 0 if outcome is Outcome.STOPPED else None


def _has_process_descriptors() -> bool:
    """Return whether pidfd_open(2) works: old kernels and some containers do not have it."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def _configure(
    command: list[str],
    env: dict[str, str],
    host: Host,
    options: argparse.Namespace,
    settings: Settings,
    folder: Path,
) -> LaunchConfig:
    """Return the configuration of the guardian, and configure its log."""
    name = f"port-{options.port}"
    gpu = "--cpu" not in command
    logs = settings.log_dir or settings.home / "logs"
    env = {key: value for key, value in env.items() if key not in SYSTEMD}
    env["ZIMAGE_GUARDIAN"] = str(folder / f"{name}.sock")
    env["ZIMAGE_LOG_DIR"] = str(logs)
    configure_logging(logs)

    def start(mode: Mode, temporary: Path) -> list[str]:
        return [*command, *more_arguments(mode, temporary, options.rest, names_of(host))]

    return LaunchConfig(
        command=start,
        working_folder=host.path,
        env=env,
        state_folder=folder,
        name=name,
        # Every server empties the temporary folder when it starts; a shared one has one server.
        standby=_standby(options.standby, gpu) and not own_temporary(options.rest),
        gpu=gpu,
        notify_address=settings.notify_socket,
        on_terminal=sys.stderr.isatty(),
        reopen_sockets=lambda: open_all(options.host, options.port),
    )


def _release(sockets: list[socket.socket], inherited_from_systemd: bool) -> None:
    """Close the listening sockets; keep those of systemd for the ComfyUI without a guardian."""
    for listener in sockets:
        if inherited_from_systemd:  # systemd has them open, too, so nobody could bind the port
            listener.set_inheritable(True)
            listener.detach()
        else:
            listener.close()


def limits(settings: Settings) -> Limits:
    """Return the guardian's limits; say which values of ``$ZIMAGE_GUARD`` cannot be used."""
    invalid = [value for value in settings.unfit if value.name == GUARD]
    for name, number in Limits.unusable(settings.guard).items():
        expected = "> 0" if name in POSITIVE else ", ".join(Limits.__annotations__)
        invalid.append(InvalidValue(GUARD, f"{name}={number:g}", expected))
    for value in invalid:
        complain(value.error)
    return Limits.with_changes(settings.guard)


def more_arguments(
    mode: Mode, temporary: Path, given: Sequence[str], names: Sequence[str]
) -> list[str]:
    """Return ComfyUI arguments for one server: its own temporary folder, and those of a mode.

    Args:
        mode: the mode of the server.
        temporary: the temporary folder, unless ``given`` has one.
        given: the user's arguments for ComfyUI.
        names: folder names of this pack, which every mode loads.
    """
    words = [] if own_temporary(given) else ["--temp-directory", str(temporary)]
    if mode is not Mode.NORMAL:
        words += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", *names]
    if mode is Mode.CPU:
        words += ["--cpu"]
    return words


def own_temporary(given: Sequence[str]) -> bool:
    """Return whether ``--temp-directory`` is given; argparse abbreviates."""
    return any(word.startswith("--te") for word in given)


def own_address(given: list[str]) -> bool:
    """Return whether an address is among the arguments for ComfyUI."""
    return any(word.split("=")[0] in {"--listen", "--port"} for word in given)


def _sockets(options: argparse.Namespace, settings: Settings, adopt: bool) -> list[socket.socket]:
    """Return listening sockets; none when a server without its guardian may have them."""
    if settings.listen_fds:
        return inherited(settings.listen_fds)
    try:
        return open_all(options.host, options.port)
    except ZImageError as error:
        if adopt and error.code == "ZI-PORT-USED":
            return []
        raise


def _standby(wish: str, gpu: bool) -> bool:
    """Return whether to keep a standby; ``auto`` needs free memory, and no GPU to share."""
    if wish == "auto":
        return not gpu and psutil.virtual_memory().available > STANDBY_BYTES
    return wish == "on"


def names_of(host: Host) -> list[str]:
    """Return the folder names under which the host loads this pack."""
    names = {LINK_NAME, PACK_DIR.name}
    if host.custom_nodes.is_dir():
        pack = PACK_DIR.resolve()
        names |= {path.name for path in host.custom_nodes.iterdir() if path.resolve() == pack}
    return sorted(names)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ZImageError("ZI-GUARDIAN-TAKEN", path=path) from None
        yield
