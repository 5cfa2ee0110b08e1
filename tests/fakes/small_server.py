"""A server of a few lines for a guardian: ``python small_server.py CONTROL PACK HOW …``.

It answers with its process id. ``/stop`` stops it (SIGSTOP), ``/block`` blocks what counts as its
event loop, ``/work`` runs for half a second, ``/replace`` asks for another process, ``/start``
answers with a child's process id instead, ``/sleep`` says that its worker has ended, ``/swell``
that it has much memory, as it has while it works. HOW is ``good``, ``dumb`` (says nothing to the
guardian and ends with 7) or ``weak`` (ends with 5 before it is ready).
"""

from __future__ import annotations

import faulthandler
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time


def load(pack: str):
    """The pack's channel, by path."""
    spec = importlib.util.spec_from_file_location(
        "zimage_comfyui", pack + "/__init__.py", submodule_search_locations=[pack]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["zimage_comfyui"] = module
    spec.loader.exec_module(module)
    from zimage_comfyui.guardian import channel

    return channel


class Small:
    """The server."""

    def __init__(self, channel, control: str) -> None:
        from pathlib import Path

        self.channel, self.control = channel, Path(control)
        self.loop_age, self.running, self.state = 0.0, 0, "starting"
        self.mode, self.worker, self.resident = "normal", True, 100
        self.sockets: list[socket.socket] = []

    def connect(self) -> None:
        """To the guardian."""
        self.peer = self.channel.connect(self.control, 0.1)

    def talk(self) -> None:
        """Signs of life; a guardian that is gone is looked for."""
        while True:
            try:
                heard = self.peer.receive()
            except TimeoutError:
                beat = {"loop": self.loop_age, "running": self.running, "models": []}
                beat |= {"worker": self.worker, "resident": self.resident + 5000 * self.running}
                if self.peer.send({"beat": beat}):
                    continue
                heard = None
            if heard is None:
                try:
                    self.connect()
                    self.peer.send({"hello": self.state, "mode": self.mode}, self.sockets)
                except OSError:
                    time.sleep(0.1)
            elif "drain" in heard[0]:
                until = time.monotonic() + heard[0]["drain"]
                while self.running and time.monotonic() < until:
                    time.sleep(0.02)
                os._exit(0)

    def serve(self) -> None:
        """Wait for go, then answer."""
        self.peer.send({"hello": "ready"})
        while True:
            try:
                heard = self.peer.receive()
            except TimeoutError:
                continue
            if heard is None:
                os._exit(1)
            if "go" in heard[0]:
                self.sockets, self.state = heard[1], "active"
                self.mode = heard[0]["mode"]
                break
        threading.Thread(target=self.talk, daemon=True).start()
        self.sockets[0].setblocking(True)
        while True:
            connection, _ = self.sockets[0].accept()
            path = connection.recv(4096).split(b" ")[1].decode()
            answer = self.answer(path)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + answer.encode())
            connection.close()

    def answer(self, path: str) -> str:
        """What a path does."""
        if path == "/stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif path == "/block":
            self.loop_age = 1e6
        elif path == "/swell":
            self.resident = 5000
        elif path == "/sleep":
            self.worker = False
        elif path == "/start":
            return str(subprocess.Popen(["sleep", "1000"]).pid)
        elif path == "/replace":
            self.peer.send({"replace": "asked"})
        elif path == "/work":
            self.running = 1
            threading.Timer(0.5, self.done).start()
        return f"{os.getpid()} {sys.argv[-1]}"

    def done(self) -> None:
        """What ran has ended."""
        self.running = 0
        sys.stderr.write(f"worked {os.getpid()}\n")


def main() -> None:
    """Start."""
    control, pack, how = sys.argv[1:4]
    if how == "dumb":
        sys.exit(7)
    channel = load(pack)
    faulthandler.register(channel.STACKS, all_threads=True)
    small = Small(channel, control)
    small.connect()
    small.peer.send({"hello": "starting"})
    if how == "weak":
        sys.exit(5)
    small.serve()


if __name__ == "__main__":
    main()
