"""Logs of how each prompt ended (``core.jsonl``) and of the memory of the GPU (``gpu.csv``).

The host's own log gets a line with the id, too. Prompts run one after the other, so everything that
nodes wrote there since the previous such line belongs to this prompt.
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
from ..base import comfyui, lifecycle
from ..base.graph import LOADER, Graph
from ..base.hooks import Argument, Function, Patches
from ..base.lifecycle import Subscription
from ..base.prompt_outcome import ENDS
from ..base.registry import About

log = logging.getLogger(__name__)

ABOUT = About(
    part="logs",
    bare_host="Only the history says how a prompt ended, and memory is not recorded.",
    here=(
        "`core.jsonl` has a line for each prompt, `gpu.csv` one every 10 s with CUDA; rotated at"
        " 100 MB, seven files."
    ),
)
CORE = "core.jsonl"
GPU = "gpu.csv"
PERIOD = 10.0
"""Seconds between two lines of :data:`GPU`."""
BEGIN = lifecycle.NEXT_PROMPT.needs("self")
END = lifecycle.PROMPT_ENDS.needs("self", "item_id")
CODE = re.compile(r"\[(ZI-[A-Z0-9-]+)\]")


def create() -> Logs:
    """Return the part for the running server."""
    folder = Settings.from_environment().log_dir or comfyui.folder() / "logs"
    return Logs(folder, comfyui.server().prompt_queue)


class Logs(Patches):
    """Sees prompts start and end, whether the queue is durable or not.

    Args:
        folder: of the logs.
        queue: whose ``quarantined`` prompts ended before this part was applied.
        clock: monotonic time.

    Attributes:
        ended: number of prompts by status (``success``, ``error``, ``interrupted``).
        seconds: for which these ran, in total.
    """

    def __init__(
        self, folder: Path, queue: Any = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(
            Subscription("logs", BEGIN, self.note_start), Subscription("logs", END, self.note_end)
        )
        self.core = Lines(folder / CORE)
        self.gpu = Lines(folder / GPU, "timestamp,used_mb,free_mb")
        self.queue = queue
        self.clock = clock
        self.ended = Counter({"success": 0, "error": 0, "interrupted": 0})
        self.seconds = 0.0
        self._starts: dict[str, float] = {}
        self._unwritten: deque[Callable[[], dict[str, Any]]] = deque()
        self._stop = threading.Event()

    def apply(self) -> None:
        """Subscribe; with CUDA, start the thread that records the GPU's memory."""
        was_active = self.active
        super().apply()
        if was_active:
            return
        for id in getattr(self.queue, "quarantined", ()):
            entry = self.queue.history[id]
            self._record(id, entry["prompt"][2], entry["status"])
        self.settle()
        if _on_cuda():
            self._stop = threading.Event()
            threading.Thread(
                target=self._watch_gpu, args=(self._stop,), name="zimage-gpu-log", daemon=True
            ).start()

    def revert(self) -> None:
        """Leave the events, stop the thread and close the logs."""
        super().revert()
        self._stop.set()
        self.settle()
        for lines in (self.core, self.gpu):
            lines.close()

    def note_start(self, original: Function) -> Function:
        """Stand around the next prompt: write pending lines before it, start its clock after it."""

        def get(*arguments: Any, **named: Any) -> Any:
            self.settle()
            taken = original(*arguments, **named)
            if taken is not None:
                self._starts[taken[0][1]] = self.clock()
            return taken

        return get

    def note_end(self, original: Function) -> Function:
        """Stand around the end of a prompt: record it from its entry in the history."""
        number = Argument(original, "item_id")

        def task_done(*arguments: Any, **named: Any) -> None:
            queue = arguments[0]
            item = queue.currently_running.get(number.of(arguments, named))
            original(*arguments, **named)
            try:
                self._record(item[1], item[2], queue.history[item[1]].get("status"))
            except Exception:
                log.exception("Z-Image: a prompt that ended is not in %s", CORE)

        return task_done

    def _record(self, id: str, prompt: Graph, status: dict[str, Any] | None) -> None:
        outcome, code = verdict(status or {})
        seconds = self.clock() - self._starts.pop(id, self.clock())
        self.ended[outcome] += 1
        self.seconds += seconds
        fields = {"status": outcome, "code": code}
        self._unwritten.append(functools.partial(_line, time.time(), id, seconds, prompt, fields))

    def settle(self) -> None:
        """Write the lines of prompts that have ended; their clients already have the result."""
        while self._unwritten:
            make_line = self._unwritten.popleft()
            try:
                line = make_line()
                self.core.add(json.dumps(line, ensure_ascii=False))
                log.info("Z-Image: %(request_id)s: %(status)s, %(duration_ms)d ms %(code)s", line)
            except Exception:
                log.exception("Z-Image: a prompt that ended is not in %s", CORE)

    def _watch_gpu(self, stop: threading.Event) -> None:
        was_logged = False
        while not stop.is_set():
            try:
                free, total = sys.modules["torch"].cuda.mem_get_info(comfyui.device())
                self.gpu.add(f"{_iso(time.time())},{(total - free) / 2**20:.0f},{free / 2**20:.0f}")
            except Exception:  # for example a GPU with an error; it may recover
                if not was_logged:
                    log.exception("Z-Image: the GPU's memory cannot be read")
                was_logged = True
            stop.wait(PERIOD)


def _line(
    when: float, id: str, seconds: float, prompt: Graph, fields: dict[str, str]
) -> dict[str, Any]:
    return {
        "time": _iso(when),
        "request_id": id,
        "duration_ms": round(seconds * 1000),
        "model_name": model(prompt),
        **fields,
    }


def _iso(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds")


def _on_cuda() -> bool:
    try:
        return comfyui.device().type == "cuda"
    except (KeyError, AttributeError):  # another host
        return False


def verdict(status: dict[str, Any]) -> tuple[str, str]:
    """Return how a prompt ended by the status in its history, and the code or kind of its error."""
    ends = [(event, data) for event, data in status.get("messages", ()) if event in ENDS]
    if not ends:
        return ("success" if status.get("completed") else "error"), ""
    event, data = ends[-1]
    outcome = event.removeprefix("execution_")
    if outcome != "error":
        return outcome, ""
    code = CODE.match(data.get("exception_message", ""))
    return outcome, code[1] if code else data.get("exception_type", "")


def model(prompt: Graph) -> str | None:
    """Return the files of the diffusion models that a prompt loads, None if no node names one."""
    files: dict[str, None] = {}
    for node in prompt.values():
        names = ("model_name",) if node.get("class_type") == LOADER else ("unet_name", "ckpt_name")
        values = (node.get("inputs", {}).get(name) for name in names)
        files |= dict.fromkeys(value for value in values if isinstance(value, str))
    return ", ".join(files) or None
