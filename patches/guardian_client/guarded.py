"""A server under a guardian: it waits for its activation, and serves on the sockets that it gets.

Until the activation it has imported everything and has not touched the queue or the database.
Without a guardian, the part serves on sockets that systemd passes (``$LISTEN_FDS``).
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
from ..base import comfyui, guardian, lifecycle
from ..base.hooks import Argument, Function, HookPoint, Patch, Patches
from ..base.lifecycle import Subscription
from ..base.registry import About
from .link import Link

log = logging.getLogger(__name__)

ABOUT = About(
    part="guarded",
    bare_host="Nobody starts a server that died or hangs, and its port is closed.",
    here="The [guardian](#the-guardian) starts, watches and replaces it, on its port.",
)
DATABASE = HookPoint("__main__", "setup_database", ())
"""Called after all node packs are loaded, before the host uses files that servers share."""
LISTEN = HookPoint(
    "server", "PromptServer.start_multi_address", ("self", "addresses", "call_on_start", "verbose")
)
NEXT = lifecycle.NEXT_PROMPT.needs("self")
"""The thread that asks for prompts is the worker."""

LAST_MESSAGES_SECONDS = 5.0
"""For a worker whose prompt has ended to send its last events, before the process ends."""


class Guarded(Patches):
    """Both patches and the connection to the guardian.

    Args:
        server: the host's ``PromptServer``.
        settings: where the guardian is, and how many sockets systemd has passed.
        before_serving: called in the main thread when this server may use shared files.
        before_ending: called when the running prompt has ended and the process is about to end.
    """

    def __init__(
        self,
        server: Any,
        settings: Settings,
        before_serving: Callable[[], object],
        before_ending: Callable[[], object],
    ) -> None:
        super().__init__(Patch(DATABASE, self.activate), Patch(LISTEN, self.listen))
        self.server = server
        self.before_serving = before_serving
        self.before_ending = before_ending
        self.sockets = inherited(settings.listen_fds) if not settings.guardian else []
        self.link: Link | None = None
        self.next = Subscription("guarded", NEXT, self.hold_prompts)
        self.worker: threading.Thread | None = None
        if settings.guardian:
            self.link = Link(settings.guardian, self._describe, self._drain, settings.guarded)
            self.link.settle = before_ending

    def apply(self) -> None:
        """Patch, then connect to the guardian."""
        was_active = self.active
        super().apply()
        with contextlib.suppress(ZImageError):  # heartbeats then say nothing about the worker
            self.next.apply()
        if self.link and not was_active:
            self.link.start()

    def revert(self) -> None:
        """Put the host's functions back."""
        self.next.revert()
        super().revert()

    def hold_prompts(self, original: Function) -> Function:
        """Stand around the next prompt: a process that has failed takes none."""

        def get(*arguments: Any, **named: Any) -> Any:
            self.worker = threading.current_thread()
            if self.link:
                self.link.between_prompts()
            return original(*arguments, **named)

        return get

    def activate(self, original: Function) -> Function:
        """Wrap the host's ``setup_database``: wait for the activation before it."""

        def setup_database(*arguments: Any, **named: Any) -> Any:
            if self.link:
                _import_early()
                self.sockets = self.link.wait()
            self.before_serving()
            store = getattr(self.server.prompt_queue, "store", None)
            if self.link and store is not None:
                self.link.send_notes(store.path)
            return original(*arguments, **named)

        return setup_database

    def listen(self, original: Function) -> Function:
        """Wrap the host's ``start_multi_address``: serve on the sockets that were passed."""
        names = ("self", "addresses", "call_on_start", "verbose")
        parameters = [Argument(original, name) for name in names]

        async def start_multi_address(*arguments: Any, **named: Any) -> None:
            if not self.sockets:
                return await original(*arguments, **named)
            return await self._serve(*(each.of(arguments, named) for each in parameters))

        return start_multi_address

    async def _serve(
        self,
        server: Any,
        addresses: list[tuple[str, int]],
        call_on_start: Callable[[str, str, int], object] | None,
        verbose: bool,
    ) -> None:
        if self.link:
            self.link.loop = asyncio.get_running_loop()
        runner = web.AppRunner(server.app, access_log=None)
        await runner.setup()
        tls = _tls()
        for listening in self.sockets:
            await web.SockSite(runner, listening, ssl_context=tls, backlog=BACKLOG).start()
        server.address, server.port = addresses[0]
        host = f"[{server.address}]" if ":" in server.address else server.address
        scheme = "https" if tls else "http"
        if verbose:
            log.info("To see the GUI go to: %s://%s:%s", scheme, host, server.port)
        if call_on_start is not None:
            call_on_start(scheme, server.address, server.port)

    def _describe(self) -> dict[str, Any]:
        queue = self.server.prompt_queue
        return {
            "resident": psutil.Process().memory_info().rss / 2**20,
            "running": len(queue.currently_running),
            "waiting": len(queue.queue),
            "models": comfyui.models(),
            "rest": guardian.memory_at_rest,
            "worker": self.worker and self.worker.is_alive(),
        }

    def _drain(self, seconds: float) -> None:
        """Start no more prompts, let the running one end, then end the process."""
        queue = self.server.prompt_queue
        with contextlib.suppress(AttributeError):  # the host's own queue has no such method
            queue.hold()
        was_busy = bool(queue.currently_running)
        deadline = time.monotonic() + seconds
        while queue.currently_running and time.monotonic() < deadline:
            time.sleep(0.05)
        if was_busy and not queue.currently_running:
            with contextlib.suppress(AttributeError):
                queue.at_rest.wait(LAST_MESSAGES_SECONDS)
        self.before_ending()
        os.kill(os.getpid(), signal.SIGTERM)

    def reasons(self) -> list[str]:
        """Return ``ending`` for ``/health/ready`` while the guardian stops with this server."""
        return ["ending"] if self.link and self.link.last else []

    def details(self) -> dict[str, str]:
        """Return for ``/health`` the mode in which the guardian has started this server."""
        return {"mode": self.link.mode} if self.link else {}


class Unguarded:
    """Stands for :class:`Guarded` when ``serve`` had to start ComfyUI without its guardian.

    Its error says why there is none.
    """

    active = False

    def apply(self) -> None:
        """Refuse.

        Raises:
            ZImageError: ``ZI-PATCH-SEAM`` where the host does not fit, else ``ZI-PATCH-FAILED``.
        """
        for hook in (DATABASE, LISTEN):
            Patch(hook, lambda original: original).check()
        found = "没有守护进程 / no guardian"
        raise ZImageError("ZI-PATCH-FAILED", name="guarded", found=found)

    def revert(self) -> None:
        """Do nothing, because nothing was changed."""


def _import_early() -> None:
    """Import what the host imports only after the activation, which takes seconds."""
    for name in ("app.database.db", "sqlalchemy.dialects.sqlite"):
        with contextlib.suppress(Exception):  # the host reports it when it imports the module
            importlib.import_module(name)


def _tls() -> ssl.SSLContext | None:
    """Return the TLS context of ``--tls-keyfile`` and ``--tls-certfile``, None without them."""
    args = sys.modules["comfy.cli_args"].args
    if not (args.tls_keyfile and args.tls_certfile):
        return None
    context = ssl.SSLContext(protocol=ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certfile=args.tls_certfile, keyfile=args.tls_keyfile)
    return context
