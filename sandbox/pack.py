"""One pack in a sandbox: its process, when it may start again, and the calls of its nodes."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import ZImageError
from . import messages as m
from .events import tell
from .process import Died, Process, Remote
from .values import ValueTroubleError

if TYPE_CHECKING:
    from .output import Output
    from .policy import Rule

log = logging.getLogger(__name__)

CRASHES, CRASH_SECONDS = 3, 300.0
"""So many ends in so many seconds, and the pack is quarantined."""
BACKOFF_SECONDS = (0.0, 1.0, 4.0)
GRACE_SECONDS = 5.0
"""After a call was cancelled, until its process is ended."""
LOAD_SECONDS = 180.0
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
    """

    def __init__(
        self,
        name: str,
        rule: Rule,
        start: Callable[[Pack], Process],
        output: Output,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.rule, self.output = name, rule, output
        self._start, self._clock = start, clock
        self._lock = threading.RLock()
        self.process: Process | None = None
        self.info: m.PackInfo | None = None
        self.crashes: deque[float] = deque(maxlen=CRASHES)
        self.quarantined = False
        self.starts = 0
        self.reason = ""
        self.used = clock()
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
                self._buried(process)
            self._wait()
            self.output.begin()
            self.process = self._start(self)
            self.starts += 1
            return self.process

    def _wait(self) -> None:
        recent = [one for one in self.crashes if one > self._clock() - CRASH_SECONDS]
        if recent:
            pause = BACKOFF_SECONDS[min(len(recent), len(BACKOFF_SECONDS)) - 1]
            time.sleep(max(0.0, min(recent[-1] + pause - self._clock(), pause)))

    def _buried(self, process: Process) -> None:
        process.close()
        if self.process is process:
            self.process = None

    def _crashed(self, process: Process, found: str) -> None:
        """Count it, once for each process, and begin anew in the background."""
        with self._lock:
            if self.process is not process:
                return
            self.reason = found
            self.crashes.append(self._clock())
            self._buried(process)
            full = len(self.crashes) == CRASHES
            if full and self.crashes[0] > self._clock() - CRASH_SECONDS:
                self.quarantined = True
                log.error("%s", ZImageError("ZI-SANDBOX-QUARANTINE", pack=self.name, found=found))
                return
        threading.Thread(target=self._again, name="zimage-restart", daemon=True).start()

    def _again(self) -> None:
        try:
            self._describe(self.ready())
        except (Died, Remote, ZImageError) as error:
            log.warning("Z-Image: %s: %s", self.name, error)

    def lift(self) -> None:
        """End a quarantine."""
        with self._lock:
            self.quarantined = False
            self.crashes.clear()

    def stop(self) -> None:
        """End the process; the next call starts another."""
        with self._lock:
            if self.process is not None:
                self._buried(self.process)

    def tend(self) -> None:
        """To be called every second or so: what is due without a call."""
        process = self.process
        if process is None:
            return
        process.drain()
        if process.busy:
            self.used = self._clock()
        elif process.status is not None:
            self._crashed(process, process.end())
        elif self.rule.idle_minutes and self._clock() - self.used > 60 * self.rule.idle_minutes:
            log.info("Z-Image: the sandbox of %s rests", self.name)
            self.stop()

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
            self._crashed(process, error.found)
            raise ZImageError(
                "ZI-SANDBOX-IMPORT", pack=self.name, found=error.found, tail=self.output.last()
            ) from None
        except Remote as error:
            raise ZImageError(
                "ZI-SANDBOX-IMPORT", pack=self.name, found=error, tail=error.trouble.trace[-2000:]
            ) from None
        absurd = _absurd(self.info)
        if absurd:
            raise ZImageError("ZI-SANDBOX-ABSURD", pack=self.name, found=absurd)
        return self.info

    def _describe(self, process: Process) -> m.PackInfo:
        data = process.call(m.Call(0, "describe"), None, Limit(LOAD_SECONDS, LOAD_SECONDS))
        if not isinstance(data, bytes) or len(data) > MOST_BYTES:
            raise Died("bad description")
        return m.pack_info(data)

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
            self._crashed(process, error.found)
            node = context.node if context else ""
            raise ZImageError(
                "ZI-SANDBOX-DIED", pack=self.name, node=f"{name} {node}".strip(),
                found=error.found, tail=self.output.last(),
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
        except (Died, Remote, TimeoutError, ValueError, TypeError) as error:
            log.warning("Z-Image: %s: %s", self.name, error)

    def drop(self, instance: int) -> None:
        """See :class:`proxy.Caller`."""
        if (process := self.process) is not None:
            process.drop(instance)


class Limit:
    """Judges, every tenth of a second, whether a call goes on.

    Args:
        seconds: for the call, 0 for no limit.
        silent: without a sign of life, 0 for no limit.
        call: to be cancelled when ``unwanted`` says so.
        unwanted: whether the user has interrupted.
        give_up: leave the process as it is, and only stop waiting.
    """

    def __init__(
        self,
        seconds: float,
        silent: float,
        call: m.Call | None = None,
        unwanted: Callable[[], bool] = lambda: False,
        give_up: bool = False,
    ) -> None:
        self.seconds, self.silent, self.call = seconds, silent, call
        self.unwanted, self.give_up = unwanted, give_up
        self.began = time.monotonic()
        self.cancelled = 0.0

    def __call__(self, process: Process, silence: float, _begun: bool) -> None:
        """Cancel, or end the process.

        Raises:
            Died: it was ended.
        """
        now = time.monotonic()
        lasted = now - self.began
        if self.seconds and lasted > self.seconds:
            if self.give_up:
                raise TimeoutError(f"no answer in {self.seconds:g} s")
            self._end(process, f"more than {self.seconds:g} s")
        if self.silent and min(silence, lasted) > self.silent:
            self._end(process, f"no sign of life for {self.silent:g} s")
        if self.cancelled and now - self.cancelled > GRACE_SECONDS:
            process.kill("interrupted")
            raise_interrupted()
        if self.call is not None and not self.cancelled and self.unwanted():
            self.cancelled = now
            process.cancel(self.call.number)

    @staticmethod
    def _end(process: Process, why: str) -> None:
        process.kill(why)
        raise Died(why)


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


def interrupted() -> bool:
    """Whether the user has asked ComfyUI to stop."""
    import comfy.model_management

    return comfy.model_management.processing_interrupted()


def raise_interrupted() -> None:
    """As ComfyUI does when a prompt is interrupted."""
    import comfy.model_management

    raise comfy.model_management.InterruptProcessingException()


BUILTIN = {
    one.__name__: one
    for one in (
        ArithmeticError, AssertionError, AttributeError, EOFError, FileNotFoundError,
        FloatingPointError, ImportError, IndexError, KeyError, LookupError, ModuleNotFoundError,
        NameError, NotImplementedError, OSError, OverflowError, PermissionError, RecursionError,
        RuntimeError, TypeError, ValueError, ZeroDivisionError, Exception,
    )
}  # fmt: skip
"""Exceptions that are raised again as themselves; a closed list, by name."""


def translated(pack: str, node: str, trouble: m.Trouble) -> Exception:
    """What to raise in the host for what was raised in a worker."""
    if trouble.kind == "interrupted":
        import comfy.model_management

        return comfy.model_management.InterruptProcessingException()
    log.error("Z-Image: %s, %s:\n%s", pack, node, trouble.trace)
    if trouble.kind == "memory":
        return ZImageError("ZI-SANDBOX-MEMORY", pack=pack, node=node, found=trouble.message)
    if (kind := BUILTIN.get(trouble.type)) is not None:
        return kind(trouble.message)
    return ZImageError(
        "ZI-SANDBOX-RAISED", pack=pack, node=node, found=f"{trouble.type}: {trouble.message}"
    )


def _absurd(info: m.PackInfo) -> str:
    if len(info.nodes) > MOST_NODES:
        return f"{len(info.nodes)} nodes"
    long = [one.name for one in info.nodes if len(one.name) > LONGEST_NAME]
    return f"a name of {len(long[0])} characters" if long else ""
