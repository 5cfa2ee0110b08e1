"""Memory around every prompt: room is made before, settings are frozen during, all is given back.

Before: see :mod:`.reserve`. During: no kernels are chosen by trying, no gradients are kept. After,
when the client has been told: if memory has moved, what nobody uses is collected and given back,
and what is then in use more than before, and by no model, is told. A little is only given back once
no other prompt has come for a moment: it would be fetched again at once, 3 µs for each page.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import ZImageError
from ..base import comfyui
from ..base.hooks import Argument, Function, HookPoint, Patch, Patches
from . import ram, readings
from .admission import Reserve, refuse

log = logging.getLogger(__name__)

EXECUTE = HookPoint(
    "execution",
    "PromptExecutor.execute",
    ("self", "prompt", "prompt_id", "extra_data"),
)
NEXT = HookPoint("execution", "PromptQueue.get", ("self", "timeout"))
MOVED, MUCH = 8 * 2**20, 64 * 2**20
"""Bytes by which memory has to differ before collecting is worth its time, and before it is done
between prompts that follow each other. glibc itself keeps as much for the next time."""
PAUSE = 1.0
"""Seconds without a prompt, after which none follows."""
MOST_LEFT = 0.03


def create() -> Memory:
    """The protocol of the running server."""
    return Memory()


class Memory(Patches):
    """Wraps the host's executor, and listens when its worker asks for the next prompt."""

    def __init__(self) -> None:
        super().__init__(Patch(EXECUTE, self._wrap), Patch(NEXT, self._wrap_next))
        self.counts = {"prompts": 0, "refused": 0, "released": 0, "deviations": 0}
        self.last = 0.0
        self.reserve = Reserve()
        self.level: readings.Reading | None = None  # when memory was last given back
        self.levels: dict[Any, readings.Reading] = {}  # the same by what was loaded then
        self._due: tuple[str, readings.Reading | None] | None = None
        self._since: readings.Reading | None = None  # before prompts that followed each other

    def details(self) -> dict[str, float]:
        """For ``/health``: prompts that ran, were refused, moved memory, and left some in use.

        One counts once its memory has been given back, or the next has begun.
        """
        swaps = {"swaps": self.reserve.swaps, "incomplete": self.reserve.incomplete}
        return {**self.counts, **swaps, "last_deviation": round(self.last, 4)}

    def revert(self) -> None:
        """As :meth:`.seam.Patches.revert`."""
        super().revert()
        self._due = self._since = None
        readings.thaw()

    def _wrap(self, original: Function) -> Function:
        graph = Argument(original, "prompt")
        id = Argument(original, "prompt_id")
        extra = Argument(original, "extra_data")

        def execute(*arguments: Any, **named: Any) -> Any:
            executor, prompt = arguments[0], graph.of(arguments, named)
            prompt_id, extra_data = id.of(arguments, named), extra.of(arguments, named) or {}
            arguments, named = extra.replaced(arguments, named, extra_data)
            self._go_on()
            try:
                self.reserve.make_room(executor, prompt)
            except ZImageError as error:
                self.counts["refused"] += 1
                return refuse(executor, prompt, prompt_id, extra_data, error)
            except Exception:
                log.exception("Z-Image: what a prompt needs is not known")
            before = self._begin()
            try:
                with frozen():
                    return original(*arguments, **named)
            finally:
                self._due = prompt_id, before
                queue = getattr(executor.server, "prompt_queue", None)
                if "get" in getattr(queue, "__dict__", ()):  # a pack's own, which may not call ours
                    self._give_back(MOVED)

        return execute

    def _wrap_next(self, original: Function) -> Function:
        timeout = Argument(original, "timeout")

        def get(*arguments: Any, **named: Any) -> Any:
            if not self._give_back(MUCH):
                brief, brief_named = timeout.replaced(arguments, named, PAUSE)
                taken = original(*brief, **brief_named)
                if taken is not None:
                    return taken
                self._give_back(MOVED)
            return original(*arguments, **named)

        return get

    def _begin(self) -> readings.Reading | None:
        try:
            before = readings.Reading.take()
        except Exception:  # a GPU in an error, say; the prompt will tell
            log.exception("Z-Image: memory cannot be measured")
            return None
        if self.level is None:
            readings.freeze()
            self.level = before
        return before

    def _give_back(self, least: int) -> bool:
        """What the prompt before took; in the worker's thread, as all of this.

        Returns:
            False when memory has moved, but by less than ``least``, or models have come or gone:
            freed memory moves only when it is given back. Then nothing is done.
        """
        if self._due is None:
            return True
        if not self._end(*self._due, least):
            return False
        self._due = self._since = None
        self._rest()
        return True

    def _go_on(self) -> None:
        """Another prompt begins; a little is left to when that has ended."""
        if self._due is not None and not self._give_back(MUCH):
            self._since = self._since or self._due[1]
            self._due = None
            self._rest()

    def _rest(self) -> None:
        """A prompt's memory is accounted for; this is what the guardian sees of it."""
        self.counts["prompts"] += 1
        readings.rest = {
            "prompts": self.counts["prompts"], "resident": ram.resident() / 2**20,
            "models": comfyui.models(),
        }  # fmt: skip

    def _end(self, prompt_id: str, before: readings.Reading | None, least: int) -> bool:
        try:
            after = readings.Reading.take()
            if before is None or self.level is None:
                return True
            moved = max(after.moved(before), after.moved(self.level))
            if moved < MOVED and after.loaded == self.level.loaded:
                return True
            if moved < least and least > MOVED:
                return False
            readings.collect()
            self.counts["released"] += 1
            self.level = after = readings.Reading.take()
        except Exception:
            log.exception("Z-Image: memory could not be given back")
            return True
        before = self._since or before
        if after.loaded != before.loaded:
            before = self.levels.get(after.loaded, after)
        self.levels[after.loaded] = after
        self._compare(prompt_id, before, after)
        return True

    def _compare(self, prompt_id: str, before: readings.Reading, after: readings.Reading) -> None:
        """With the start; where models came or went, with the last time that these were loaded.

        A model takes more than its weights (a tokenizer, say), and how much is not known.
        """
        self.last = after.left_since(before)
        if abs(self.last) > MOST_LEFT:
            self.counts["deviations"] += 1
            mib = (after.others - before.others) / 2**20
            log.warning("Z-Image: prompt %s left %+.0f MiB in use (%+.1f %%)", prompt_id, mib,
                        100 * self.last)  # fmt: skip


@contextmanager
def frozen() -> Iterator[None]:
    """The same kernels for the same shapes, and no gradients; as before afterwards.

    Who started the host with ``--fast autotune`` keeps the kernels that are chosen by trying.
    """
    torch = sys.modules["torch"]
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark
    if before and not _autotune():
        cudnn.benchmark = False
    try:
        with torch.no_grad():
            yield
    finally:
        if cudnn.benchmark != before:  # setting costs more than asking
            cudnn.benchmark = before


def _autotune() -> bool:
    arguments = getattr(sys.modules.get("comfy.cli_args"), "args", None)
    return any(getattr(one, "value", one) == "autotune" for one in getattr(arguments, "fast", ()))
