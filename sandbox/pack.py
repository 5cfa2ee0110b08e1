"""One pack in a sandbox: its process, when it may start again, and the calls of its nodes."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import ZImageError
from . import messages as m
from .events import Asides, tell
from .handles import Died, Remote
from .limit import Limit, interrupted
from .policy import GIB
from .process import Process
from .raised import translated
from .values import ValueTroubleError
from .watch import Slope, use_of

if TYPE_CHECKING:
    from .output import Output
    from .policy import Rule

log = logging.getLogger(__name__)

CRASHES, CRASH_SECONDS = 3, 300.0
"""So many ends in so many seconds, and the pack is quarantined."""
WANTED = frozenset({"interrupted", "stopped"})
"""Ends that are nobody's fault."""
TRIM_SECONDS = 30.0
BACKOFF_SECONDS = (0.0, 1.0, 4.0)
INPUTS_SECONDS = 1.0
"""How long ``/object_info`` waits for lists of files; then it says what they were."""
MOST_NODES, LONGEST_NAME, MOST_BYTES = 5000, 256, 32 * 2**20


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
    """

    def __init__(
        self,
        name: str,
        rule: Rule,
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
        self.crashes: deque[float] = deque(maxlen=CRASHES)
        self.quarantined = False
        self.starts = 0
        self.reason = ""
        self.used = clock()
        self.private = 0
        self._slope = Slope()
        self.ends = self._generation = 0
        self._inputs: dict[str, tuple[Any, Any]] = {}
        self._asked = float("-inf")

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
            except Died as error:
                raise ZImageError("ZI-SANDBOX-START", found=error.found) from None
            self.starts += 1
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
        except (Died, Remote, ZImageError, TimeoutError) as error:
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
        if process.status is None and not process.busy:
            with contextlib.suppress(Died):
                process.trim(TRIM_SECONDS)
        if process.busy:
            self.used = self._clock()
        if (found := self._excess(process)) is not None:
            process.kill(found)
        if process.status is not None and not process.busy:
            self.crashed(process, process.end())
        elif not process.busy and not process.handles:
            idle = self._clock() - self.used > 60 * self.rule.idle_minutes
            if (self.rule.idle_minutes and idle) or self._slope.leaks():
                log.info("Z-Image: the sandbox of %s %s", self.name, "rests" if idle else "leaks")
                self.stop()

    def _excess(self, process: Process) -> str | None:
        """What it takes of the machine beyond its limits, in words."""
        use = use_of(process.pid)
        if process.first is None:
            process.first, self._slope = use.private, Slope()
        own = self.private = max(0, use.private - process.first)
        if not process.busy:
            self._slope.add(own, process.calls)
        if self.rule.memory and own > self.rule.memory * GIB:
            return f"{own / GIB:.1f} GiB of memory, {self.rule.memory:g} are granted"
        if self.rule.tasks and use.tasks > self.rule.tasks:
            return f"{use.tasks} threads and processes, {self.rule.tasks} are granted"
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
        except Died as error:
            self.crashed(process, error.found)
            raise ZImageError(
                "ZI-SANDBOX-IMPORT", pack=self.name, found=error.found, tail=process.last()
            ) from None
        except Remote as error:
            raise ZImageError(
                "ZI-SANDBOX-IMPORT", pack=self.name, found=error, tail=error.trouble.trace[-2000:]
            ) from None
        absurd = _absurd(self.info)
        if absurd:
            raise ZImageError("ZI-SANDBOX-ABSURD", pack=self.name, found=absurd)
        return self.info

    def _describe(self, process: Process, give_up: bool = False) -> m.PackInfo:
        seconds = self.rule.load_seconds
        limit = Limit(seconds, seconds, give_up=give_up)
        data = process.call(m.Call(0, "describe"), None, limit)
        if not isinstance(data, bytes) or len(data) > MOST_BYTES:
            raise Died("bad description")
        try:
            return m.pack_info(data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Died(f"bad description: {str(error)[:500]}") from None

    def node(
        self, name: str, function: str, instance: int, arguments: Any, hidden: Any = None
    ) -> Any:
        """See :class:`proxy.Caller`.

        Raises:
            ZImageError: ``ZI-SANDBOX-DIED`` when the process ended, and others; what the node
                raised, as far as it is a builtin exception, else ``ZI-SANDBOX-RAISED``.
        """
        self.used = self._clock()
        context = surroundings()
        process = self.ready()
        try:
            call = m.Call(0, "node", 0, name, function, instance, context=context)
            call.arguments = process.codec.pack(arguments)
            call.hidden = process.codec.pack(hidden)
            limit = Limit(self.rule.call_seconds, self.rule.silent_seconds, call, interrupted)
            value = process.call(call, lambda kind, told: tell(kind, told, context), limit)
        except Died as error:
            self.crashed(process, error.found)
            node = context.node if context else ""
            raise ZImageError(
                "ZI-SANDBOX-DIED", pack=self.name, node=f"{name} {node}".strip(),
                found=error.found, tail=process.last(),
            ) from None  # fmt: skip
        except Remote as error:
            raise translated(self.name, name, error.trouble) from None
        except ValueTroubleError as error:
            raise ZImageError("ZI-SANDBOX-VALUE", pack=self.name, node=name, found=error) from None
        finally:
            self.used = self._clock()
        return value

    def inputs(self, name: str) -> Any:
        """See :class:`proxy.Caller`: at most once a second, and never waited for for long."""
        known = {one.name: one for one in self.info.nodes} if self.info else {}
        if self._clock() - self._asked > 1.0 and not self.quarantined:
            self._asked = self._clock()
            self._refresh([one.name for one in known.values() if one.dynamic])
        if name in self._inputs:
            return self._inputs[name]
        from .describe import PLAIN

        return PLAIN.unpack(known[name].inputs), PLAIN.unpack(known[name].info)

    def _refresh(self, names: list[str]) -> None:
        from .describe import PLAIN

        process = self.process
        if process is None or process.busy or process.dead is not None:
            return
        try:
            call = m.Call(0, "inputs", arguments=process.codec.pack(names))
            data = process.call(call, None, Limit(INPUTS_SECONDS, INPUTS_SECONDS, give_up=True))
            for name, (found, info) in m.inputs(data).items():
                self._inputs[name] = PLAIN.unpack(found), PLAIN.unpack(info)
        except (Died, Remote, TimeoutError, ValueError, TypeError, RecursionError) as error:
            log.warning("Z-Image: %s: %s", self.name, error)

    def generation(self) -> int:
        """See :class:`proxy.Caller`."""
        return self._generation

    def drop(self, instance: int) -> None:
        """See :class:`proxy.Caller`."""
        if (process := self.process) is not None:
            process.drop(instance)


def surroundings() -> m.Context | None:
    """What ComfyUI knows of the node that runs here."""
    from comfy_execution.graph_utils import GraphBuilder
    from comfy_execution.utils import get_executing_context
    from server import PromptServer

    found = get_executing_context()
    if found is None:
        return None
    prefix = [
        GraphBuilder._default_prefix_root,
        GraphBuilder._default_prefix_call_index,
        GraphBuilder._default_prefix_graph_index,
    ]
    client = getattr(getattr(PromptServer, "instance", None), "client_id", None)
    return m.Context(found.prompt_id, found.node_id, found.list_index, client, prefix)


def _absurd(info: m.PackInfo) -> str:
    if len(info.nodes) > MOST_NODES:
        return f"{len(info.nodes)} nodes"
    long = [one.name for one in info.nodes if len(one.name) > LONGEST_NAME]
    return f"a name of {len(long[0])} characters" if long else ""
