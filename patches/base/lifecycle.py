"""The life of a prompt: the functions of the host that surround it, and which parts use them.

Each of these functions is replaced once. A call of the function is an event. Parts that subscribe
to the event stand around the call as middlewares stand around a request: a part sees the call
before the parts that are listed below it, and the result after them.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...errors import ZImageError
from .hooks import Function, HookPoint


@dataclass(frozen=True)
class Event:
    """The calls of one function of the host.

    Attributes:
        module: the module of the function.
        path: its attribute path there.
        parts: names of the parts that can subscribe, the outermost first.
    """

    module: str
    path: str
    parts: tuple[str, ...]

    def needs(self, *parameters: str) -> HookPoint:
        """Return the hook point of a subscriber that reads or changes these parameters."""
        return HookPoint(self.module, self.path, parameters)


# In the order in which they happen. The durable queue is not a subscriber: it is a queue whose own
# methods call NEXT_PROMPT and PROMPT_ENDS, so it stands outside of all parts there. Functions that
# only one part replaces are not listed here: disk_guard replaces PromptQueue.put; node_results,
# model_swap and sampler_steps replace functions of nodes, models and samplers.
WORKER_RUNS = Event(
    "__main__",
    "prompt_worker",
    (
        "worker",  # starts the loop again after an error that would end the thread
    ),
)
NEXT_PROMPT = Event(
    "execution",
    "PromptQueue.get",
    (
        "logs",  # writes the last lines before the guardian may end the process; starts the clock
        "guarded",  # keeps a process that has failed from taking a prompt
        "memory",  # returns memory last, because it may ask the host twice for a prompt
    ),
)
PROMPT_RUNS = Event(
    "execution",
    "PromptExecutor.execute",
    (
        "deadline",  # adds its error to the messages of a prompt that has ended
        "memory",  # makes room directly before the prompt runs, or refuses it
    ),
)
NODE_RUNS = Event(
    "execution",
    "_async_map_node_over_list",
    (
        "deadline",  # its time includes everything that a node does
        "worker",  # turns an exit of the node into an error before another part sees it
    ),
)
PROMPT_ENDS = Event(
    "execution",
    "PromptQueue.task_done",
    (
        "logs",  # reads the entry of the history that all others have completed
        "leftovers",  # adds files to the result before the host stores it
    ),
)
CACHES_RESET = Event(
    "execution",
    "PromptExecutor.reset",
    (
        "tokenizer",  # drops its objects before free memory is returned
        "residency",  # returns memory once the host has dropped its caches
    ),
)
EVENTS = (WORKER_RUNS, NEXT_PROMPT, PROMPT_RUNS, NODE_RUNS, PROMPT_ENDS, CACHES_RESET)

_lock = threading.Lock()


class Subscription:
    """The place of one part around an event; a change like :class:`.hooks.Patch`.

    Args:
        part: name of the part.
        hook: from :meth:`Event.needs`.
        wrap: returns what stands around a function that takes the arguments of the event. It is
            called again when other parts subscribe or leave.
    """

    def __init__(self, part: str, hook: HookPoint, wrap: Callable[[Function], Function]) -> None:
        self.hook = hook
        self.wrap = wrap
        self.position = _order(hook).index(part)
        self._dispatcher: _Dispatcher | None = None

    @property
    def active(self) -> bool:
        """True while a call of the host's function gets here."""
        try:
            dispatcher = _find_dispatcher(self.hook.function())
        except ZImageError:
            return False
        return dispatcher is not None and self in dispatcher.subscriptions

    def check(self) -> None:
        """Check that the host's function fits.

        Raises:
            ZImageError: ``ZI-PATCH-SEAM`` with what was found and expected.
        """
        self.hook.verify(self.hook.function())

    def apply(self) -> None:
        """Subscribe; a second call has no effect.

        Raises:
            ZImageError: ``ZI-PATCH-SEAM``; nothing was changed then.
        """
        with _lock:
            if self._dispatcher is not None:
                return
            self.check()
            function = self.hook.function()
            dispatcher = _find_dispatcher(function) or _Dispatcher(function)
            dispatcher.set_subscriptions([*dispatcher.subscriptions, self])
            self._dispatcher = dispatcher
            if function is dispatcher.original:
                setattr(self.hook.owner(), self.hook.name, dispatcher.function)

    def revert(self) -> None:
        """Leave; the last subscriber that leaves puts the host's function back.

        Where another pack has replaced the function since, its replacement stays and gets to the
        host's function without any part of ours.
        """
        with _lock:
            dispatcher, self._dispatcher = self._dispatcher, None
            if dispatcher is None:
                return
            rest = [other for other in dispatcher.subscriptions if other is not self]
            dispatcher.set_subscriptions(rest)
            owner = self.hook.owner()
            if not rest and vars(owner).get(self.hook.name) is dispatcher.function:
                setattr(owner, self.hook.name, dispatcher.original)


class _Dispatcher:
    """The replacement of a function of the host.

    Attributes:
        original: the host's function, perhaps already replaced by another pack.
        function: what the host calls instead.
        subscriptions: in the order of their positions.
    """

    def __init__(self, original: Function) -> None:
        self.original = original
        self.subscriptions: list[Subscription] = []
        self._chain = original

        def call(*arguments: Any, **named: Any) -> Any:
            return self._chain(*arguments, **named)

        async def call_async(*arguments: Any, **named: Any) -> Any:
            return await self._chain(*arguments, **named)

        replacement = call_async if inspect.iscoroutinefunction(original) else call
        self.function: Any = functools.wraps(original)(replacement)
        self.function.zimage_dispatcher = self

    def set_subscriptions(self, subscriptions: list[Subscription]) -> None:
        """Replace all subscriptions, for calls that begin from now on."""
        ordered = sorted(subscriptions, key=lambda subscription: subscription.position)
        chain = self.original
        for subscription in reversed(ordered):
            chain = functools.wraps(chain)(subscription.wrap(chain))
        self.subscriptions = ordered
        self._chain = chain


def _find_dispatcher(function: Any) -> _Dispatcher | None:
    """Return the dispatcher that calls of a function reach, through wrappers of other packs."""
    while function is not None:
        dispatcher = getattr(function, "zimage_dispatcher", None)
        # functools.wraps of another pack copies the attribute; another copy of this pack has its
        # own class.
        if isinstance(dispatcher, _Dispatcher) and dispatcher.function is function:
            return dispatcher
        function = getattr(function, "__wrapped__", None)
    return None


def _order(hook: HookPoint) -> tuple[str, ...]:
    places = {(event.module, event.path): event.parts for event in EVENTS}
    return places[hook.module, hook.path]
