"""What a guardian guards, and the folders that its servers have to themselves."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from .restart_policy import Mode


@dataclass(frozen=True)
class Plan:
    """What to guard.

    Attributes:
        command: arguments for a server of a mode with a temporary folder of its own.
        folder: its working directory.
        env: its environment.
        state: folder for the control socket and temporary folders.
        name: tells several guardians in one folder apart.
        standby: whether a second server waits.
        gpu: whether servers use one.
        notify: ``$NOTIFY_SOCKET``.
        terminal: whether this is somebody's terminal, whose end (SIGHUP) is then the end.
        reopen: gives listening sockets; raises ``ZI-PORT-USED`` while somebody has the port.
    """

    command: Callable[[Mode, Path], Sequence[str]]
    folder: Path
    env: dict[str, str]
    state: Path
    name: str
    standby: bool
    gpu: bool = False
    notify: str = ""
    terminal: bool = False
    reopen: Callable[[], list[socket.socket]] | None = None

    @property
    def control(self) -> Path:
        """The socket that servers connect to."""
        return self.state / f"{self.name}.sock"

    @property
    def temporary(self) -> Temporary:
        """Folders for what servers write."""
        return Temporary(self.state / f"{self.name}-temp")


@dataclass(frozen=True)
class Temporary:
    """One folder for each server, by its number: the host empties its own when it starts."""

    folder: Path

    def of(self, number: int) -> Path:
        """Where a server makes its ``temp``."""
        return self.folder / str(number)

    def used(self) -> int:
        """The highest number of an earlier guardian's servers; one of them may still run."""
        return max((int(one.name) for one in self._numbered()), default=0)

    def hand_over(self, number: int, alive: Collection[int]) -> None:
        """Give a server what the last one has left, whose pictures are still wanted.

        Args:
            alive: numbers of servers that run; theirs stay where they are.
        """
        mine = self.of(number) / "temp"
        with contextlib.suppress(OSError):
            left = [one / "temp" for one in self._numbered() if int(one.name) != number]
            found = [path for path in left if path.exists()]
            newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
            if newest and int(newest.parent.name) not in alive:
                mine.parent.mkdir(parents=True, exist_ok=True)
                newest.rename(mine)

    def remove(self) -> None:
        """All of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _numbered(self) -> list[Path]:
        return [one for one in self.folder.glob("*") if one.name.isdecimal()]
