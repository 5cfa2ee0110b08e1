"""What a guardian starts, and where its servers keep their files."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from .mode import Mode


@dataclass(frozen=True)
class LaunchConfig:
    """How to start servers.

    Attributes:
        command: returns the command line of a server from its mode and its temporary folder.
        working_folder: the working directory of servers.
        env: their environment.
        state_folder: the folder of the control socket and of temporary folders.
        name: tells the guardians of one state folder apart.
        standby: whether a second server is kept ready.
        gpu: whether servers use a GPU.
        notify_address: ``$NOTIFY_SOCKET``, "" without systemd.
        on_terminal: whether a terminal runs the guardian; SIGHUP then means its end.
        reopen_sockets: opens the listening sockets; raises ``ZI-PORT-USED`` while another process
            has the port.
    """

    command: Callable[[Mode, Path], Sequence[str]]
    working_folder: Path
    env: dict[str, str]
    state_folder: Path
    name: str
    standby: bool
    gpu: bool = False
    notify_address: str = ""
    on_terminal: bool = False
    reopen_sockets: Callable[[], list[socket.socket]] | None = None

    @property
    def control(self) -> Path:
        """The control socket, to which servers connect."""
        return self.state_folder / f"{self.name}.sock"

    @property
    def temporary(self) -> TemporaryFolders:
        """The temporary folders of servers."""
        return TemporaryFolders(self.state_folder / f"{self.name}-temp")


@dataclass(frozen=True)
class TemporaryFolders:
    """One temporary folder for each server, since ComfyUI empties its own at every start.

    Attributes:
        folder: their parent.
    """

    folder: Path

    def folder_of(self, number: int) -> Path:
        """Return the folder in which a server makes its ``temp``.

        Args:
            number: the server's number.
        """
        return self.folder / str(number)

    def highest_number(self) -> int:
        """Return the highest number of an earlier guardian's servers, one of which may run."""
        return max((int(folder.name) for folder in self._numbered()), default=0)

    def hand_over(self, number: int, running: Collection[int]) -> None:
        """Move the files of the previous server to the next; clients still ask for its pictures.

        Args:
            number: the number of the next server.
            running: numbers of servers that run and keep their files.
        """
        target = self.folder_of(number) / "temp"
        with contextlib.suppress(OSError):
            others = [folder for folder in self._numbered() if int(folder.name) != number]
            existing = [folder / "temp" for folder in others if (folder / "temp").exists()]
            newest = max(existing, key=lambda path: path.stat().st_mtime, default=None)
            if newest and int(newest.parent.name) not in running:
                target.parent.mkdir(parents=True, exist_ok=True)
                newest.rename(target)

    def remove(self) -> None:
        """Delete all temporary folders."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _numbered(self) -> list[Path]:
        return [folder for folder in self.folder.glob("*") if folder.name.isdecimal()]
