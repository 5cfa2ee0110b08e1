"""One pack in a sandbox: its process, when it may start again, and the calls of its nodes."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from ...errors import Said, ZImageError
from ..changes import Changes
from ..loading.description_cache import state_of
from ..loading.description_limits import MOST_PATHS, absurd, bad, judged, sound
from ..loading.prompt_context import prompts, surroundings
from ..policy.policy import GIB
from ..protocol import messages as m
from ..protocol.codec import ValueTroubleError
from ..protocol.description_codec import unpack_description
from ..web.events import Asides, tell
from .call_deadline import Limit, interrupted
from .log_capture import clean
from .object_table import WorkerDied, WorkerRaised
from .process import Process
from .raised import translated
from .usage import Slope, shared_of, use_of

if TYPE_CHECKING:
    from ..policy.policy import PackRule
    from .log_capture import Output

log = logging.getLogger(__name__)

CRASHES, CRASH_SECONDS = 3, 300.0
"""So many ends in so many seconds, and the pack is quarantined."""
WANTED = frozenset({"interrupted", "stopped"})
"""Ends that are nobody's fault."""
TRIM_SECONDS = 30.0
BACKOFF_SECONDS = (0.0, 1.0, 4.0)
INPUTS_SECONDS = 1.0
"""How long ``/object_info`` waits for lists of files; then it says what they were."""
SLOW_SECONDS = 60.0
"""How long they may take all the same, for the next time."""


class Pack:
    """A pack and its process, started when it is needed.

    Args:
        name: of its folder or file.
        rule: what it may do.
        start: makes its process.
        output: what it prints.
        clock: seconds, monotonic.
        called: what its folder or file is called, which rules go by; the name of a second pack
            that is called so is another one.

    Attributes:
        report: how its last process is confined.
        keep: stores its description, which has changed.
        changes: node classes that differ from those in ComfyUI; None until it is loaded.
    """

    def __init__(
        self,
        name: str,
        rule: PackRule,
        start: Callable[[Pack], Process],
        output: Output,
        clock: Callable[[], float] = time.monotonic,
        called: str = "",
    ) -> None:
        self.name, self.rule, self.output = name, rule, output
        self.called = called or name
        self.asides = Asides(name)
        self._start, self._clock = start, clock
        self._lock = threading.RLock()
        self.process: Process | None = None
        self.info: m.PackInfo | None = None
        self.report: dict[str, dict[str, str]] | None = None
        self.crashes: deque[float] = deque(maxlen=CRASHES)
        self.quarantined = False
        self.starts = 0
        self.reason = ""
        self.used = clock()
        self.private = 0
        self._slope = Slope()
        self.ends = self._generation = 0
        self.keep: Callable[[m.PackInfo], None] = lambda _info: None
        self.changes: Changes | None = None
        self._asked = float("-inf")
        self._looking: threading.Thread | None = None
        self._entered = 0
        self._prompt = ""

    # Its process.

    def ready(self) -> Process:
        """The process, started if there is none.

        Raises:
            ZImageError: ``ZI-SANDBOX-QUARANTINE``; ``ZI-SANDBOX-START``.
        """
        with self._lock:
            if self.quarantined:
                raise ZImageError("ZI-SANDBOX-QUARANTINE", pack=self.name, found=self.reason)
            if (process := self.process) is not None:
                if process.status is None and process.dead is None:
                    return process
                self.crashed(process, process.end(), again=False)
                if self.quarantined:
                    return self.ready()
            self._wait()
            try:
                self.process = self._start(self)
            except WorkerDied as error:
                raise ZImageError("ZI-SANDBOX-START", found=error.found) from None
            self.starts += 1
            if self.changes is not None:
                self.changes.started(self.process)
            return self.process

    def _wait(self) -> None:
        recent = [one for one in self.crashes if one > self._clock() - CRASH_SECONDS]
        if recent:
            pause = BACKOFF_SECONDS[min(len(recent), len(BACKOFF_SECONDS)) - 1]
            time.sleep(max(0.0, min(recent[-1] + pause - self._clock(), pause)))

    def _forget(self, process: Process) -> None:
        self._generation += bool(process.handles)
        self.ends += 1
        self.process = None

    def crashed(self, process: Process, found: str, again: bool = True) -> None:
        """Count it, once for each process, and begin anew in the background."""
        with self._lock:
            if self.process is not process:
                return
            self._forget(process)
            if found in WANTED:
                again = False
            else:
                self.reason = found
                self.crashes.append(self._clock())
                full = len(self.crashes) == CRASHES
                if full and self.crashes[0] > self._clock() - CRASH_SECONDS:
                    self.quarantined, again = True, False
                    error = ZImageError("ZI-SANDBOX-QUARANTINE", pack=self.name, found=found)
                    log.error("%s", error)
        # The prompt need not wait for the kernel to take the process apart.
        threading.Thread(
            target=self._after, args=(process, again), name="zimage-restart", daemon=True
        ).start()

    def _after(self, process: Process, again: bool) -> None:
        process.close()
        with self._lock:
            if not again or self.process is not None:  # a call was faster, and imports the pack
                return
            try:
                process = self.ready()
            except ZImageError as error:
                log.warning("Z-Image: %s: %s", self.name, error)
                return
        try:
            self._describe(process, give_up=True)  # a call that came meanwhile has its own limits
        except (WorkerDied, WorkerRaised, ZImageError, TimeoutError) as error:
            log.warning("Z-Image: %s: %s", self.name, error)

    def lift(self) -> None:
        """End a quarantine."""
        with self._lock:
            self.quarantined = False
            self.crashes.clear()

    def stop(self) -> None:
        """End the process; the next call starts another."""
        with self._lock:
            if (process := self.process) is not None:
                self._forget(process)
                process.close()

    def tend(self) -> None:
        """To be called every second or so: what is due without a call."""
        process = self.process
        if process is None:
            return
        process.drain()
        self.report = process.report or self.report
        if process.status is None and not process.busy:
            with contextlib.suppress(WorkerDied):
                process.trim(TRIM_SECONDS)
        if process.busy:
            self.used = self._clock()
        if (found := self._excess(process)) is not None:
            process.kill(found)
        if process.status is not None and not process.busy:
            self.crashed(process, process.end())
            return
        with self._lock:  # nobody begins a call meanwhile
            if process.busy or self._entered or process.handles:
                return
            idle = self._clock() - self.used > 60 * self.rule.idle_minutes
            leaks = self._slope.leaks() and self._prompt not in prompts()
            if (self.rule.idle_minutes and idle) or leaks:
                log.info("Z-Image: the sandbox of %s %s", self.name, "rests" if idle else "leaks")
                self.stop()

    @contextlib.contextmanager
    def use(self) -> Iterator[Process]:
        """The process, which nobody recycles meanwhile.

        Raises:
            ZImageError: see :meth:`ready`.
        """
        with self._lock:
            process = self.ready()
            self._entered += 1
        self.used = self._clock()
        try:
            yield process
        finally:
            self.used = self._clock()
            with self._lock:
                self._entered -= 1

    def _excess(self, process: Process) -> str | None:
        """What it takes of the machine beyond its limits, in words."""
        use = use_of(process.pid)
        if process.first is None:
            process.first, self._slope = use.private, Slope()
        own = self.private = max(0, use.private - process.first)
        if not process.busy:
            self._slope.add(own, process.calls)
        most = self.rule.memory * GIB
        if most and own + use.shared > most:
            own += min(use.shared, shared_of(process.pid))
        if most and own > most:
            taken, granted = f"{own / GIB:.1f}", f"{self.rule.memory:g}"
            return Said(
                f"{taken} GiB of memory, {granted} are granted",
                f"用了 {taken} GiB 内存，允许 {granted} GiB",
            )
        if self.rule.tasks and use.tasks > self.rule.tasks:
            return Said(
                f"{use.tasks} threads and processes, {self.rule.tasks} are granted",
                f"有 {use.tasks} 个线程和进程，允许 {self.rule.tasks} 个",
            )
        return None

    # Its nodes.

    def discover(self) -> m.PackInfo:
        """Import it, in its process, and see what it has.

        Raises:
            ZImageError: ``ZI-SANDBOX-IMPORT``, ``ZI-SANDBOX-START``, ``ZI-SANDBOX-ABSURD``.
        """
        process = self.ready()
        try:
            self.info = self._describe(process)
        except WorkerDied as error:
            self.crashed(process, error.found)
            raise ZImageError(
                "ZI-SANDBOX-IMPORT", pack=self.name, found=error.found, tail=process.last()
            ) from None
        except WorkerRaised as error:
            raise ZImageError(
                "ZI-SANDBOX-IMPORT", pack=self.name, found=error, tail=error.trouble.trace[-2000:]
            ) from None
        if found := absurd(self.info):
            raise ZImageError("ZI-SANDBOX-ABSURD", pack=self.name, found=found)
        return self.info

    def loaded(self, info: m.PackInfo, digest: Callable[[], str], before: str) -> None:
        """Compare later processes with this description, which is that of the loaded nodes.

        Args:
            info: the description.
            digest: of the pack's files.
            before: that digest before the description was made.
        """
        self.info = info
        describe = functools.partial(self._describe, give_up=True)
        self.changes = Changes(self.name, info, digest, before, describe)

    def _describe(self, process: Process, give_up: bool = False) -> m.PackInfo:
        seconds = self.rule.load_seconds
        limit = Limit(seconds, seconds, give_up=give_up)
        data = process.call(m.Call(0, "describe"), None, limit)
        try:
            info = sound(m.pack_info(judged(data)))
        except (msgspec.DecodeError, RecursionError) as error:
            raise WorkerDied(bad(clean(str(error))[:500])) from None
        info.state = state_of(info.looked_at)
        return info

    def node(
        self, name: str, function: str, instance: int, arguments: Any, hidden: Any = None
    ) -> Any:
        """See :class:`proxy.Caller`.

        Raises:
            ZImageError: ``ZI-SANDBOX-DIED`` when the process ended, and others; what the node
                raised, as far as it is a builtin exception, else ``ZI-SANDBOX-RAISED``.
        """
        context = surroundings()
        self._prompt = context.prompt if context else self._prompt
        with self.use() as process:
            return self._node(process, context, name, function, instance, arguments, hidden)

    def _node(
        self, process: Process, context: m.Context | None, name: str, function: str,
        instance: int, arguments: Any, hidden: Any,
    ) -> Any:  # fmt: skip
        try:
            call = m.Call(0, "node", 0, name, function, instance, context=context)
            call.arguments = process.codec.pack(arguments)
            call.hidden = process.codec.pack(hidden)
            limit = Limit(self.rule.call_seconds, self.rule.silent_seconds, call, interrupted)
            return process.call(call, lambda kind, told: tell(kind, told, context), limit)
        except WorkerDied as error:
            self.crashed(process, error.found)
            node = context.node if context else ""
            raise ZImageError(
                "ZI-SANDBOX-DIED", pack=self.name, node=f"{name} {node}".strip(),
                found=error.found, tail=process.last(),
            ) from None  # fmt: skip
        except WorkerRaised as error:
            raise translated(self.name, name, error.trouble) from None
        except ValueTroubleError as error:
            raise ZImageError("ZI-SANDBOX-VALUE", pack=self.name, node=name, found=error) from None

    def inputs(self, name: str) -> Any:
        """See :class:`proxy.Caller`: at most once a second, and never waited for for long.

        Without a process one is started only if a file or folder that the lists depend on is not
        what it was.
        """
        info = self.info or m.PackInfo(False, [])
        if self._clock() - self._asked > 1.0 and not self.quarantined:
            self._asked = self._clock()
            if self.process is not None or state_of(info.looked_at) != info.state:
                self._look(info)
        found = next(one for one in info.nodes if one.name == name)
        return unpack_description(found.inputs), unpack_description(found.info)

    def _look(self, info: m.PackInfo) -> None:
        """Where ComfyUI asks everybody waits, so it is done beside, and once at a time."""
        if self._looking is not None and self._looking.is_alive():
            return
        self._looking = threading.Thread(
            target=self._refresh, args=(info,), name="zimage-inputs", daemon=True
        )
        self._looking.start()
        self._looking.join(INPUTS_SECONDS)

    def _refresh(self, info: m.PackInfo) -> None:
        names = [one.name for one in info.nodes if one.dynamic]
        process = None
        try:
            with self.use() as process:
                call = m.Call(0, "inputs", arguments=process.codec.pack(names))
                limit = Limit(SLOW_SECONDS + self.rule.load_seconds, 0, give_up=True)
                data = process.call(call, None, limit)
            found = m.inputs(judged(data))
            del found.looked_at[MOST_PATHS:]
            for node in info.nodes:
                if node.name in found.nodes:
                    given, about = found.nodes[node.name]
                    for one in (given, about):
                        unpack_description(one)  # or it is no description
                    node.inputs, node.info = given, about
            state, before = state_of(found.looked_at), info.state
            info.looked_at, info.state = found.looked_at, state
            if state != before:
                self.keep(info)
        except WorkerDied as error:
            log.warning("Z-Image: %s: %s", self.name, error)
            if process is not None:
                self.crashed(process, error.found)
        except Exception as error:  # noqa: BLE001  whatever a worker says
            log.warning("Z-Image: %s: %s", self.name, clean(str(error)))

    def generation(self) -> int:
        """See :class:`proxy.Caller`."""
        return self._generation

    def drop(self, instance: int) -> None:
        """See :class:`proxy.Caller`."""
        if (process := self.process) is not None:
            process.drop(instance)
