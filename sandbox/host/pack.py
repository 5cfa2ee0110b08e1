"""One pack in a sandbox: the life of its worker, and the calls of its nodes."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ...errors import ZImageError
from ...errors.bilingual import Bilingual
from ..policy.policy import PackRule
from ..protocol import messages as m
from ..protocol.description_codec import unpack_description
from ..protocol.exceptions import CodecError, WorkerDied, WorkerRaised
from .call_deadline import CallDeadline, user_interrupted
from .class_changes import ClassChanges
from .crash_history import CrashHistory
from .description_cache import state_of
from .description_limits import checked_bytes, implausibility, make_safe, unusable
from .input_refresh import InputRefresh
from .log_capture import Output, clean
from .pack_events import UnsolicitedEvents, forward_event
from .process import WorkerProcess
from .prompt_context import current_context, running_prompts
from .raised import host_exception
from .session import WorkerSession
from .usage import LeakDetector, excess, measure, shared_bytes

log = logging.getLogger(__name__)

INTENDED_ENDS = frozenset({"interrupted", "stopped"})
"""Reasons for the end of a process that are no crash."""
TRIM_SECONDS = 30.0


class Pack:
    """A pack and its worker, which is started when it is needed.

    Args:
        name: of the sandbox, unique.
        rule: what the pack may do.
        start: starts its worker.
        output: receives the worker's standard output.
        clock: seconds, monotonic.
        called: name of the folder or file, to which rules refer. Two packs may have the same.

    Attributes:
        session: with the worker, None while there is none.
        info: description of the pack, once it is known.
        report: by which mechanisms its last worker was confined.
        crashes: of its workers.
        starts: how many workers were started.
        ends: how many workers have ended.
        reason: of the last crash.
        used: when the last call ended, by the clock.
        private: bytes of private memory of the worker.
        changes: node classes that differ from those in ComfyUI; None until the pack is loaded.
    """

    def __init__(
        self,
        name: str,
        rule: PackRule,
        start: Callable[[Pack], WorkerSession],
        output: Output,
        clock: Callable[[], float] = time.monotonic,
        called: str = "",
    ) -> None:
        self.name = name
        self.rule = rule
        self.output = output
        self.called = called or name
        self.unsolicited = UnsolicitedEvents(name)
        self.session: WorkerSession | None = None
        self.info: m.PackInfo | None = None
        self.report: dict[str, dict[str, str]] | None = None
        self.crashes = CrashHistory(clock)
        self.starts = 0
        self.ends = 0
        self.reason: object = ""
        self.used = clock()
        self.private = 0
        self.changes: ClassChanges | None = None
        self._start = start
        self._clock = clock
        self._lock = threading.RLock()
        self._leak_detector = LeakDetector()
        self._inputs = InputRefresh(name, self.use, self.crashed, clock)
        self._generation = 0
        self._users = 0
        self._prompt = ""

    # The life of the worker.

    @property
    def process(self) -> WorkerProcess | None:
        """The worker's process, None while there is none."""
        return None if self.session is None else self.session.process

    @property
    def quarantined(self) -> bool:
        """Whether no worker is started, since too many have crashed."""
        return self.crashes.quarantined

    def ready(self) -> WorkerSession:
        """Return the session with the worker; start one if there is none.

        Raises:
            ZImageError: ``ZI-SANDBOX-QUARANTINE``; ``ZI-SANDBOX-START``.
        """
        with self._lock:
            self._require_no_quarantine()
            if (session := self.session) is not None:
                if session.process.alive:
                    return session
                self.crashed(session, session.process.wait_end(), restart=False)
                self._require_no_quarantine()
            self.crashes.wait()
            try:
                self.session = self._start(self)
            except WorkerDied as error:
                raise ZImageError("ZI-SANDBOX-START", found=error.reason) from None
            self.starts += 1
            if self.changes is not None:
                self.changes.started(self.session)
            return self.session

    def _require_no_quarantine(self) -> None:
        if self.quarantined:
            raise ZImageError("ZI-SANDBOX-QUARANTINE", pack=self.name, found=self.reason)

    @contextlib.contextmanager
    def use(self) -> Iterator[WorkerSession]:
        """Yield the session with the worker, which is not stopped for being idle meanwhile.

        Raises:
            ZImageError: see :meth:`ready`.
        """
        with self._lock:
            session = self.ready()
            self._users += 1
        self.used = self._clock()
        try:
            yield session
        finally:
            self.used = self._clock()
            with self._lock:
                self._users -= 1

    def crashed(self, session: WorkerSession, reason: object, restart: bool = True) -> None:
        """Note the end of a worker, once, and start another in the background.

        Args:
            session: with the worker.
            reason: of its end.
            restart: whether to start another.
        """
        with self._lock:
            if self.session is not session:
                return
            self._remove(session)
            if reason in INTENDED_ENDS:
                restart = False
            else:
                self.reason = reason
                self.crashes.add()
                if self.quarantined:
                    restart = False
                    log.error(
                        "%s", ZImageError("ZI-SANDBOX-QUARANTINE", pack=self.name, found=reason)
                    )
        # The prompt does not wait until the kernel has freed the memory of the process.
        threading.Thread(
            target=self._after_end, args=(session, restart), name="zimage-restart", daemon=True
        ).start()

    def _remove(self, session: WorkerSession) -> None:
        """Forget a worker. ComfyUI must forget cached results if they have objects of it."""
        self._generation += bool(session.objects.handle_count)
        self.ends += 1
        self.session = None

    def _after_end(self, session: WorkerSession, restart: bool) -> None:
        session.close()
        with self._lock:
            if not restart or self.session is not None:  # a call has started one already
                return
            try:
                session = self.ready()
            except ZImageError as error:
                log.warning("Z-Image: %s: %s", self.name, error)
                return
        try:
            self._describe(session, keep_process=True)  # calls meanwhile have their own limits
        except (WorkerDied, WorkerRaised, ZImageError, TimeoutError) as error:
            log.warning("Z-Image: %s: %s", self.name, error)

    def lift(self) -> None:
        """End a quarantine."""
        with self._lock:
            self.crashes.clear()

    def stop(self) -> None:
        """End the worker; the next call starts another."""
        with self._lock:
            if (session := self.session) is not None:
                self._remove(session)
                session.close()

    # What is done every second.

    def tend(self) -> None:
        """Read what has arrived, check limits, and stop a worker that is idle or leaks memory."""
        session = self.session
        if session is None:
            return
        process = session.process
        session.drain()
        self.report = session.report or self.report
        if process.status is None and not session.busy:
            with contextlib.suppress(WorkerDied):
                session.trim(TRIM_SECONDS)
        if session.busy:
            self.used = self._clock()
        if (reason := self._excess(session)) is not None:
            process.kill(reason)
        if process.status is not None and not session.busy:
            self.crashed(session, process.wait_end())
            return
        self._stop_if_unused(session)

    def _excess(self, session: WorkerSession) -> Bilingual | None:
        """Return how the worker exceeds its limits, for a person; None if it does not."""
        process = session.process
        usage = measure(process.pid)
        if process.first_private_bytes is None:
            process.first_private_bytes = usage.private
            self._leak_detector = LeakDetector()
        self.private = max(0, usage.private - process.first_private_bytes)
        if not session.busy:
            self._leak_detector.add(self.private, session.call_count)
        shared = functools.partial(shared_bytes, process.pid)
        return excess(usage, self.private, self.rule.memory, self.rule.tasks, shared)

    def _stop_if_unused(self, session: WorkerSession) -> None:
        with self._lock:  # no call begins meanwhile
            if session.busy or self._users or session.objects.handle_count:
                return
            idle = self._clock() - self.used > 60 * self.rule.idle_minutes
            leaks = self._leak_detector.leaks() and self._prompt not in running_prompts()
            if (self.rule.idle_minutes and idle) or leaks:
                log.info("Z-Image: the sandbox of %s %s", self.name, "is idle" if idle else "leaks")
                self.stop()

    # Description.

    def discover(self) -> m.PackInfo:
        """Import the pack in its worker and return its description.

        Raises:
            ZImageError: ``ZI-SANDBOX-IMPORT``, ``ZI-SANDBOX-START``, ``ZI-SANDBOX-ABSURD``.
        """
        session = self.ready()
        try:
            self.info = self._describe(session)
        except WorkerDied as error:
            self.crashed(session, error.reason)
            raise ZImageError(
                "ZI-SANDBOX-IMPORT",
                pack=self.name,
                found=error.reason,
                tail=session.process.last_output(),
            ) from None
        except WorkerRaised as error:
            tail = error.error.trace[-2000:]
            raise ZImageError("ZI-SANDBOX-IMPORT", pack=self.name, found=error, tail=tail) from None
        if reason := implausibility(self.info):
            raise ZImageError("ZI-SANDBOX-ABSURD", pack=self.name, found=reason)
        return self.info

    def loaded(self, info: m.PackInfo, digest: Callable[[], str], before: str) -> None:
        """Compare later workers with the description of the loaded nodes.

        Args:
            info: the description.
            digest: computes the digest of the pack's files.
            before: that digest before the description was made.
        """
        self.info = info
        describe = functools.partial(self._describe, keep_process=True)
        self.changes = ClassChanges(self.name, info, digest, before, describe)

    def store_description(self, store: Callable[[m.PackInfo], None]) -> None:
        """Set the function that stores a description whose inputs have changed."""
        self._inputs.store = store

    def _describe(self, session: WorkerSession, keep_process: bool = False) -> m.PackInfo:
        seconds = self.rule.load_seconds
        deadline = CallDeadline(seconds, seconds, keep_process=keep_process)
        data = session.call(m.Call(0, "describe"), None, deadline)
        try:
            info = make_safe(m.pack_info(checked_bytes(data)))
        except (msgspec.DecodeError, RecursionError) as error:
            raise WorkerDied(unusable(clean(str(error))[:500])) from None
        info.state = state_of(info.looked_at)
        return info

    # For the node classes in ComfyUI, see :class:`proxy_nodes.Caller`.

    def node(
        self, name: str, function: str, instance: int, arguments: Any, hidden: Any = None
    ) -> Any:
        """Call a method of a node in the worker.

        Args:
            name: of the node class.
            function: name of the method.
            instance: number of the node's instance.
            arguments: of the method.
            hidden: ComfyUI's hidden inputs.

        Raises:
            ZImageError: ``ZI-SANDBOX-DIED``, ``ZI-SANDBOX-VALUE`` and others.
            Exception: a builtin exception of the node; any other becomes ``ZI-SANDBOX-RAISED``.
        """
        context = current_context()
        self._prompt = context.prompt if context else self._prompt
        call = m.Call(0, "node", 0, name, function, instance, context=context)
        with self.use() as session:
            try:
                return self._call_node(session, call, arguments, hidden)
            except WorkerDied as error:
                self.crashed(session, error.reason)
                raise ZImageError(
                    "ZI-SANDBOX-DIED",
                    pack=self.name,
                    node=f"{name} {context.node if context else ''}".strip(),
                    found=error.reason,
                    tail=session.process.last_output(),
                ) from None
            except WorkerRaised as error:
                raise host_exception(self.name, name, error.error) from None
            except CodecError as error:
                raise ZImageError(
                    "ZI-SANDBOX-VALUE", pack=self.name, node=name, found=error
                ) from None

    def _call_node(self, session: WorkerSession, call: m.Call, arguments: Any, hidden: Any) -> Any:
        call.arguments = session.objects.codec.pack(arguments)
        call.hidden = session.objects.codec.pack(hidden)
        deadline = CallDeadline(
            self.rule.call_seconds, self.rule.silent_seconds, call, user_interrupted
        )
        return session.call(
            call, lambda kind, value: forward_event(kind, value, call.context), deadline
        )

    def inputs(self, name: str) -> Any:
        """Return inputs and V3 information of a node class, updated if that is quick."""
        info = self.info or m.PackInfo(False, [])
        if not self.quarantined:
            self._inputs.refresh(info, self.session is not None, self.rule.load_seconds)
        node = next(node for node in info.nodes if node.name == name)
        return unpack_description(node.inputs), unpack_description(node.info)

    def generation(self) -> int:
        """Return a number that changes when cached results refer to an ended worker."""
        return self._generation

    def drop(self, instance: int) -> None:
        """Note that an instance of a node is not used any more."""
        if (session := self.session) is not None:
            session.objects.drop_instance(instance)
