"""A node pack with faults; ComfyUI loads this file as a pack."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

GIB = 2**30
CLOCK = time.time
LEAKED: list[bytes] = []


def die() -> None:
    """Kill this process, as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def first(path: str) -> bool:
    """Return whether this is the first call for a path, in all processes; create the file."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def queue() -> Any:
    """Return the server's prompt queue."""
    return sys.modules["server"].PromptServer.instance.prompt_queue


def die_once_accepted(id: str) -> None:
    """Kill the server once the next prompt with an id is on disk, before the response is sent.

    The mutex of the queue is held meanwhile, so that no other prompt is written.
    """
    prompt_queue = queue()
    original = prompt_queue.store.accept

    def accept(prompts: Any) -> Any:
        with prompt_queue.mutex:
            seqs = original(prompts)
            if any(prompt.id == id for prompt in prompts):
                die()
            return seqs

    prompt_queue.store.accept = accept


def block_event_loop() -> None:
    """Block the server's event loop and this thread for an hour."""
    loop = sys.modules["server"].PromptServer.instance.loop
    loop.call_soon_threadsafe(time.sleep, 3600)
    threading.Event().wait(3600)


def shift_clock(seconds: float) -> None:
    """Shift the clock of this process by some seconds."""
    queue().store.clock = time.time = lambda: CLOCK() + seconds


def die_before_end(path: str) -> None:
    """Kill the server, at the first call for a path, when the prompt has run but not ended."""
    if first(path):
        queue().task_done = lambda *_rest, **_named: die()


def harm(kind: str, seconds: float, note: str) -> None:
    """Do the faults that act on the process; do nothing for any other kind."""
    actions: dict[str, Callable[[], object]] = {
        "exit": lambda: sys.exit(3),
        "die": die,
        "die before its end": lambda: die_before_end(note),
        "die once accepted": lambda: die_once_accepted(note),
        "block": block_event_loop,
        "allocate": lambda: bytearray(GIB),
        "leak": lambda: LEAKED.append(b"x" * (GIB // 2)),
        "clock": lambda: shift_clock(seconds),
        "sleep": lambda: threading.Event().wait(seconds),
    }
    if kind in actions:
        actions[kind]()


class Trouble:
    """Does the fault ``kind``, then returns ``kind`` and ``note`` as text."""

    CATEGORY = "trouble"
    FUNCTION = "run"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        """Return the node's inputs, as ComfyUI expects them."""
        return {
            "required": {"kind": ("STRING", {"default": "none"})},
            "optional": {
                "seconds": ("FLOAT", {"default": 0.0}),
                "note": ("STRING", {"default": ""}),
            },
        }

    @classmethod
    def IS_CHANGED(cls, **_inputs):
        """Return another value each time, so that ComfyUI does not cache the result."""
        return time.monotonic()

    def run(self, kind, seconds=0.0, note="") -> Any:
        """Do a fault.

        Args:
            kind: name of the fault.
            seconds: for "sleep" and "clock".
            note: text of the result; a path or the id of a prompt for some faults.
        """
        if kind == "raise":
            raise RuntimeError("trouble")
        if kind == "memory":
            raise MemoryError
        if kind == "garbage":
            return 5
        if kind == "object in ui":
            return {"ui": {"text": [object()]}}
        if kind == "large ui":
            return {"ui": {"text": ["x" * 20_000_000]}}
        harm(kind, seconds, note)
        if kind == "where":
            note = str(os.getpid())
        return {"ui": {"text": [kind, note]}}


class AsyncTrouble(Trouble):
    """The same faults in a coroutine."""

    async def run(self, kind, seconds=0.0, note=""):
        """Do a fault, see :meth:`Trouble.run`."""
        return Trouble.run(self, kind, seconds, note)


NODE_CLASS_MAPPINGS = {"Trouble": Trouble, "AsyncTrouble": AsyncTrouble}
