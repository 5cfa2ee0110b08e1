"""A server under a guardian: waits to be told to go, and serves on the sockets it is handed.

Until then it has imported everything and touched neither the queue nor the database. Without a
guardian, sockets that systemd hands down (``$LISTEN_FDS``) are served, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
from aiohttp import web

from ...config import Settings
from ...errors import ZImageError
from ...guardian.sockets import BACKLOG, inherited
from ..base import comfyui
from ..base.hooks import Argument, HookPoint, Patch, Patches
from ..memory import readings
from .link import Link

log = logging.getLogger(__name__)

DATABASE = HookPoint("__main__", "setup_database", ())
"""Comes after all node packs are loaded and before the host touches what it shares."""
LISTEN = HookPoint(
    "server", "PromptServer.start_multi_address", ("self", "addresses", "call_on_start", "verbose")
)
NEXT = HookPoint("execution", "PromptQueue.get", ("self",))
"""Whoever asks for prompts is the worker."""

LAST_WORDS = 5.0
"""Seconds for a worker whose prompt has ended to tell of it, before the process ends."""


class Guarded(Patches):
    """Both patches and the link.

    Args:
        server: the host's ``PromptServer``.
        settings: where the guardian is, and how many sockets systemd has handed down.
        before_serving: called in the main thread when this server may touch shared things.
        before_ending: called when what ran has ended and the process is about to.
    """

    def __init__(
        self,
        server: Any,
        settings: Settings,
        before_serving: Callable[[], object],
        before_ending: Callable[[], object],
    ) -> None:
        super().__init__(Patch(DATABASE, self._wrap_database), Patch(LISTEN, self._wrap_listen))
        self.server, self.before_serving = server, before_serving
        self.before_ending = before_ending
        self.sockets = inherited(settings.listen_fds) if not settings.guardian else []
        self.link: Link | None = None
        self.next = Patch(NEXT, self._wrap_next)
        self.worker: threading.Thread | None = None
        if settings.guardian:
            self.link = Link(settings.guardian, self._describe, self._drain, settings.guarded)
            self.link.settle = before_ending

    def apply(self) -> None:
        """Patch, then look for the guardian."""
        begun = self.active
        super().apply()
        with contextlib.suppress(ZImageError):  # then nothing is known of the worker
            self.next.apply()
        if self.link and not begun:
            self.link.start()

    def revert(self) -> None:
        """As :meth:`.seam.Patches.revert`."""
        self.next.revert()
        super().revert()

    def _wrap_next(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def get(*rest: Any, **named: Any) -> Any:
            self.worker = threading.current_thread()
            if self.link:
                self.link.between_prompts()
            return original(*rest, **named)

        return get

    def _wrap_database(self, original: Callable[[], Any]) -> Callable[[], Any]:
        def setup(*rest: Any, **named: Any) -> Any:
            if self.link:
                _import_early()
                self.sockets = self.link.wait()
            self.before_serving()
            store = getattr(self.server.prompt_queue, "store", None)
            if self.link and store is not None:
                self.link.tell_notes(store.path)
            return original(*rest, **named)

        return setup

    def _wrap_listen(self, original: Callable[..., Any]) -> Callable[..., Any]:
        names = ("self", "addresses", "call_on_start", "verbose")
        wanted = [Argument(original, name) for name in names]

        async def start(*arguments: Any, **named: Any) -> None:
            if not self.sockets:
                return await original(*arguments, **named)
            values = (argument.of(arguments, named) for argument in wanted)
            server, addresses, call_on_start, verbose = values
            if self.link:
                self.link.loop = asyncio.get_running_loop()
            runner = web.AppRunner(server.app, access_log=None)
            await runner.setup()
            tls = _tls()
            for one in self.sockets:
                await web.SockSite(runner, one, ssl_context=tls, backlog=BACKLOG).start()
            server.address, server.port = addresses[0]
            shown = f"[{server.address}]" if ":" in server.address else server.address
            scheme = "https" if tls else "http"
            if verbose:
                log.info("To see the GUI go to: %s://%s:%s", scheme, shown, server.port)
            if call_on_start is not None:
                call_on_start(scheme, server.address, server.port)
            return None

        return start

    def _describe(self) -> dict[str, Any]:
        queue = self.server.prompt_queue
        return {
            "resident": psutil.Process().memory_info().rss / 2**20,
            "running": len(queue.currently_running),
            "waiting": len(queue.queue),
            "models": comfyui.models(),
            "rest": readings.rest,
            "worker": self.worker and self.worker.is_alive(),
        }

    def _drain(self, seconds: float) -> None:
        """Take nothing more from the queue, let what runs end, then end the process."""
        queue = self.server.prompt_queue
        with contextlib.suppress(AttributeError):  # the host's own queue cannot
            queue.hold()
        busy, until = bool(queue.currently_running), time.monotonic() + seconds
        while queue.currently_running and time.monotonic() < until:
            time.sleep(0.05)
        if busy and not queue.currently_running:
            with contextlib.suppress(AttributeError):
                queue.at_rest.wait(LAST_WORDS)
        self.before_ending()
        os.kill(os.getpid(), signal.SIGTERM)

    def reasons(self) -> list[str]:
        """For ``/health/ready``: what is accepted now runs after the guardian's next start."""
        return ["ending"] if self.link and self.link.last else []

    def details(self) -> dict[str, str]:
        """For ``/health``: how much the guardian has started."""
        return {"mode": self.link.mode} if self.link else {}


class Unguarded:
    """In the place of :class:`Guarded` where ``serve`` had to start ComfyUI without its guardian:
    says why."""

    active = False

    def apply(self) -> None:
        """Refuse.

        Raises:
            ZImageError: ``ZI-PATCH-SEAM`` where the host does not fit, else ``ZI-PATCH-FAILED``.
        """
        for seam in (DATABASE, LISTEN):
            Patch(seam, lambda original: original).check()
        found = "没有看护进程 / no guardian"
        raise ZImageError("ZI-PATCH-FAILED", name="guarded", found=found)

    def revert(self) -> None:
        """Nothing was changed."""


def _import_early() -> None:
    """What the host imports only after the wait, seconds of it, and harmless before."""
    for name in ("app.database.db", "sqlalchemy.dialects.sqlite"):
        with contextlib.suppress(Exception):  # the host will say what is wrong with it
            importlib.import_module(name)


def _tls() -> ssl.SSLContext | None:
    """As the host is asked to, by ``--tls-keyfile`` and ``--tls-certfile``."""
    args = sys.modules["comfy.cli_args"].args
    if not (args.tls_keyfile and args.tls_certfile):
        return None
    context = ssl.SSLContext(protocol=ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certfile=args.tls_certfile, keyfile=args.tls_keyfile)
    return context
