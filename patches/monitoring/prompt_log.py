"""Logs of how each prompt ended (``core.jsonl``) and of what the GPU holds (``gpu.csv``).

The host's own log has a line with the id as well: prompts run one after the other, so what nodes
wrote there since the line before is this prompt's.
"""

from __future__ import annotations

import functools
import json
import logging
import re
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...config import Settings
from ...rotating_log import Lines
from ..base import comfyui
from ..base.hooks import Argument, Function, HookPoint, Patch, Patches
from ..memory import readings
from ..memory.sampling_jobs import LOADER, Graph
from ..queue.prompt_events import ENDS

log = logging.getLogger(__name__)

CORE, GPU = "core.jsonl", "gpu.csv"
PERIOD = 10.0
"""Seconds between two lines of :data:`GPU`."""
BEGIN = HookPoint("execution", "PromptQueue.get", ("self",))
END = HookPoint("execution", "PromptQueue.task_done", ("self", "item_id"))
CODED = re.compile(r"\[(ZI-[A-Z0-9-]+)\]")


def create() -> Logs:
    """The logs of the running server."""
    folder = Settings.from_environment().log_dir or comfyui.folder() / "logs"
    return Logs(folder, comfyui.server().prompt_queue)


class Logs(Patches):
    """Listens where the host's queue gives a prompt out and takes it back, durable or not.

    Args:
        folder: where the logs lie.
        queue: whose prompts may have ended before anybody listened (``quarantined``).
        clock: monotonic time.

    Attributes:
        ended: prompts by status (``success``, ``error``, ``interrupted``).
        seconds: for which these ran, all together.
    """

    def __init__(
        self, folder: Path, queue: Any = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(Patch(BEGIN, self._wrap_begin), Patch(END, self._wrap_end))
        self.core = Lines(folder / CORE)
        self.gpu = Lines(folder / GPU, "timestamp,used_mb,free_mb")
        self.queue, self.clock = queue, clock
        self.ended = Counter({"success": 0, "error": 0, "interrupted": 0})
        self.seconds = 0.0
        self._began: dict[str, float] = {}
        self._unwritten: deque[Callable[[], dict[str, Any]]] = deque()
        self._stop = threading.Event()

    def apply(self) -> None:
        """As :meth:`.seam.Patches.apply`; with CUDA, the GPU is looked at from now on."""
        begun = self.active
        super().apply()
        if begun:
            return
        for id in getattr(self.queue, "quarantined", ()):
            entry = self.queue.history[id]
            self._note(id, entry["prompt"][2], entry["status"])
        self.settle()
        if _on_cuda():
            self._stop, about = threading.Event(), {"name": "zimage-gpu-log", "daemon": True}
            threading.Thread(target=self._watch, args=(self._stop,), **about).start()

    def revert(self) -> None:
        """As :meth:`.seam.Patches.revert`."""
        super().revert()
        self._stop.set()
        self.settle()
        for lines in (self.core, self.gpu):
            lines.close()

    def _wrap_begin(self, original: Function) -> Function:
        def get(*arguments: Any, **named: Any) -> Any:
            self.settle()
            taken = original(*arguments, **named)
            if taken is not None:
                self._began[taken[0][1]] = self.clock()
            return taken

        return get

    def _wrap_end(self, original: Function) -> Function:
        number = Argument(original, "item_id")

        def task_done(*arguments: Any, **named: Any) -> None:
            queue = arguments[0]
            item = queue.currently_running.get(number.of(arguments, named))
            original(*arguments, **named)
            try:
                self._note(item[1], item[2], queue.history[item[1]].get("status"))
            except Exception:
                log.exception("Z-Image: a prompt that ended is not in %s", CORE)

        return task_done

    def _note(self, id: str, prompt: Graph, status: dict[str, Any] | None) -> None:
        how, code = verdict(status or {})
        seconds = self.clock() - self._began.pop(id, self.clock())
        self.ended[how] += 1
        self.seconds += seconds
        about = {"status": how, "code": code}
        self._unwritten.append(functools.partial(_line, time.time(), id, seconds, prompt, about))

    def settle(self) -> None:
        """Lines of what has ended; its client is told before they are made and written."""
        while self._unwritten:
            line = self._unwritten.popleft()
            try:
                about = line()
                self.core.add(json.dumps(about, ensure_ascii=False))
                log.info("Z-Image: %(request_id)s: %(status)s, %(duration_ms)d ms %(code)s", about)
            except Exception:
                log.exception("Z-Image: a prompt that ended is not in %s", CORE)

    def _watch(self, stop: threading.Event) -> None:
        told = False
        while not stop.is_set():
            try:
                free, total = sys.modules["torch"].cuda.mem_get_info(readings.device())
                self.gpu.add(f"{_iso(time.time())},{(total - free) / 2**20:.0f},{free / 2**20:.0f}")
            except Exception:  # a GPU in an error, say; it may come back
                if not told:
                    log.exception("Z-Image: the GPU's memory cannot be read")
                told = True
            stop.wait(PERIOD)


def _line(
    when: float, id: str, seconds: float, prompt: Graph, about: dict[str, str]
) -> dict[str, Any]:
    return {
        "time": _iso(when), "request_id": id, "duration_ms": round(seconds * 1000),
        "model_name": model(prompt), **about,
    }  # fmt: skip


def _iso(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds")


def _on_cuda() -> bool:
    try:
        return readings.device().type == "cuda"
    except (KeyError, AttributeError):  # another host
        return False


def verdict(status: dict[str, Any]) -> tuple[str, str]:
    """How a prompt ended by the status in its history, and the code, or kind, of its error."""
    ends = [(event, data) for event, data in status.get("messages", ()) if event in ENDS]
    if not ends:
        return ("success" if status.get("completed") else "error"), ""
    event, data = ends[-1]
    how = event.removeprefix("execution_")
    if how != "error":
        return how, ""
    coded = CODED.match(data.get("exception_message", ""))
    return how, coded[1] if coded else data.get("exception_type", "")


def model(prompt: Graph) -> str | None:
    """Files of the diffusion models that a prompt loads; None where its nodes do not say."""
    found: dict[str, None] = {}
    for node in prompt.values():
        names = ("model_name",) if node.get("class_type") == LOADER else ("unet_name", "ckpt_name")
        values = (node.get("inputs", {}).get(name) for name in names)
        found |= dict.fromkeys(value for value in values if isinstance(value, str))
    return ", ".join(found) or None
