"""Memory around every prompt: make room before it, fix settings during it, return memory after it.

- Before: see :mod:`.admission`.
- During: the same kernels for the same shapes, and no gradients.
- After, when the client has the result: if memory has moved, unused memory is collected and
  returned. What is then in use more than before, and by no model, is logged. A small amount is
  returned only when no other prompt has come for a moment, because a prompt that follows would
  fetch it again (3 µs for each page).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import ZImageError
from ..base import comfyui, guardian, lifecycle, ram
from ..base.hooks import Argument, Function, Patches
from ..base.lifecycle import Subscription
from ..base.registry import About
from . import readings
from .admission import Admission, refuse

log = logging.getLogger(__name__)

ABOUT = About(
    part="memory",
    bare_host=(
        "Memory of a prompt stays with the process. What can never fit fails halfway, or the kernel"
        " kills the process."
    ),
    here=(
        "What never fits is refused at its node (`ZI-MEMORY`) before anything is loaded. Kernels"
        " are fixed during the prompt. After it, all memory is returned once the client has its"
        " result; up to 64 MiB of it only if no other prompt follows within a second. More than 3 %"
        " left is logged. All threads share one heap, because glibc never shrinks the heaps of"
        " threads."
    ),
)
RUN = lifecycle.PROMPT_RUNS.needs("self", "prompt", "prompt_id", "extra_data")
NEXT = lifecycle.NEXT_PROMPT.needs("self", "timeout")
MOVED = 8 * 2**20
"""Bytes by which memory has to differ before it is worth the time to collect."""
MUCH = 64 * 2**20
"""The same between prompts that follow each other. glibc itself keeps as much for later."""
PAUSE = 1.0
"""Seconds without a prompt after which no prompt is taken to follow."""
MAX_LEFT = 0.03
"""Part of the memory in use that a prompt may leave without a warning."""


def create() -> Memory:
    """Return the part."""
    return Memory()


class Memory(Patches):
    """Stands around the host's executor, and around its worker's request for the next prompt.

    Attributes:
        counts: prompts that ran, were refused, had memory returned, and left some in use.
        last: part of the memory in use that the last prompt left.
        admission: makes room.
        level: reading when memory was last returned.
        levels: the same by what was loaded then.
    """

    def __init__(self) -> None:
        super().__init__(
            Subscription("memory", RUN, self.run), Subscription("memory", NEXT, self.return_before)
        )
        self.counts = {"prompts": 0, "refused": 0, "released": 0, "deviations": 0}
        self.last = 0.0
        self.admission = Admission()
        self.level: readings.Reading | None = None
        self.levels: dict[Any, readings.Reading] = {}
        self._pending: tuple[str, readings.Reading | None] | None = None
        self._since: readings.Reading | None = None  # before prompts that followed each other

    def details(self) -> dict[str, float]:
        """Return the counts for ``/health``.

        A prompt counts once its memory has been returned, or the next one has started.
        """
        swaps = {"swaps": self.admission.swaps, "incomplete": self.admission.incomplete}
        return {**self.counts, **swaps, "last_deviation": round(self.last, 4)}

    def revert(self) -> None:
        """Leave the events."""
        super().revert()
        self._pending = None
        self._since = None
        readings.thaw()

    def run(self, original: Function) -> Function:
        """Stand around a prompt: make room or refuse it, fix settings, and measure."""
        graph = Argument(original, "prompt")
        id = Argument(original, "prompt_id")
        extra = Argument(original, "extra_data")

        def execute(*arguments: Any, **named: Any) -> Any:
            executor, prompt = arguments[0], graph.of(arguments, named)
            prompt_id = id.of(arguments, named)
            extra_data = extra.of(arguments, named) or {}
            arguments, named = extra.replaced(arguments, named, extra_data)
            self._follow_on()
            try:
                self.admission.make_room(executor, prompt)
            except ZImageError as error:
                self.counts["refused"] += 1
                return refuse(executor, prompt, prompt_id, extra_data, error)
            except Exception:
                log.exception("Z-Image: it is not known what a prompt needs")
            before = self._measure_start()
            try:
                with fixed_settings():
                    return original(*arguments, **named)
            finally:
                self._pending = prompt_id, before
                queue = getattr(executor.server, "prompt_queue", None)
                if "get" in getattr(queue, "__dict__", ()):  # of a pack; it may not call the host's
                    self._return_memory(MOVED)

        return execute

    def return_before(self, original: Function) -> Function:
        """Stand around the next prompt: return the memory of the previous one before it.

        A small amount is returned only if the host has no prompt within :data:`PAUSE`.
        """
        timeout = Argument(original, "timeout")

        def get(*arguments: Any, **named: Any) -> Any:
            if not self._return_memory(MUCH):
                brief, brief_named = timeout.replaced(arguments, named, PAUSE)
                taken = original(*brief, **brief_named)
                if taken is not None:
                    return taken
                self._return_memory(MOVED)
            return original(*arguments, **named)

        return get

    def _measure_start(self) -> readings.Reading | None:
        try:
            before = readings.Reading.take()
        except Exception:  # for example a GPU with an error, which the prompt will report
            log.exception("Z-Image: memory cannot be measured")
            return None
        if self.level is None:
            readings.freeze()
            self.level = before
        return before

    def _return_memory(self, threshold: int) -> bool:
        """Return the memory of the previous prompt; runs in the worker's thread.

        Args:
            threshold: bytes; memory that has moved by less is left for the prompt that follows.

        Returns:
            False when memory was left. Also memory that models have used counts as moved, because
            freed memory moves only when it is returned.
        """
        if self._pending is None:
            return True
        if not self._settle_prompt(*self._pending, threshold):
            return False
        self._pending = None
        self._since = None
        self._report()
        return True

    def _follow_on(self) -> None:
        """Start another prompt; a small amount is returned when that one has ended."""
        if self._pending is not None and not self._return_memory(MUCH):
            self._since = self._since or self._pending[1]
            self._pending = None
            self._report()

    def _report(self) -> None:
        """Report to the guardian what is in use now that a prompt has ended."""
        self.counts["prompts"] += 1
        guardian.report_memory(
            {
                "prompts": self.counts["prompts"],
                "resident": ram.resident() / 2**20,
                "models": comfyui.models(),
            }
        )

    def _settle_prompt(
        self, prompt_id: str, before: readings.Reading | None, threshold: int
    ) -> bool:
        """Return memory that has moved and compare; return False where it was left."""
        try:
            after = readings.Reading.take()
            if before is None or self.level is None:
                return True
            moved = max(after.moved(before), after.moved(self.level))
            if moved < MOVED and after.loaded == self.level.loaded:
                return True
            if moved < threshold and threshold > MOVED:
                return False
            readings.collect()
            self.counts["released"] += 1
            self.level = after = readings.Reading.take()
        except Exception:
            log.exception("Z-Image: memory could not be returned")
            return True
        before = self._since or before
        if after.loaded != before.loaded:
            before = self.levels.get(after.loaded, after)
        self.levels[after.loaded] = after
        self._compare(prompt_id, before, after)
        return True

    def _compare(self, prompt_id: str, before: readings.Reading, after: readings.Reading) -> None:
        """Log what a prompt left in use.

        Args:
            prompt_id: the prompt.
            before: at its start. Where other models are loaded now: when the same models were
                loaded last, because a model takes more than its weights (a tokenizer, for example),
                and how much is not known.
            after: now.
        """
        self.last = after.left_since(before)
        if abs(self.last) > MAX_LEFT:
            self.counts["deviations"] += 1
            mib = (after.others - before.others) / 2**20
            percent = 100 * self.last
            log.warning(
                "Z-Image: prompt %s left %+.0f MiB in use (%+.1f %%)", prompt_id, mib, percent
            )


@contextmanager
def fixed_settings() -> Iterator[None]:
    """Use the same kernels for the same shapes, and no gradients, in this context.

    With ``--fast autotune``, the kernels that torch chooses by trying stay allowed.
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
        if cudnn.benchmark != before:  # to set it takes longer than to read it
            cudnn.benchmark = before


def _autotune() -> bool:
    arguments = getattr(sys.modules.get("comfy.cli_args"), "args", None)
    fast = getattr(arguments, "fast", ())
    return any(getattr(option, "value", option) == "autotune" for option in fast)
