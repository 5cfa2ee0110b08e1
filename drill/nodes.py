"""A node pack that makes trouble; ComfyUI loads this file as a pack of its own."""

import os
import signal
import sys
import threading
import time
from typing import Any

GIB = 2**30
CLOCK = time.time
LEAKED: list[bytes] = []


def die() -> None:
    """At once, as a process that the kernel has no memory for."""
    os.kill(os.getpid(), signal.SIGKILL)


def first(path: str) -> bool:
    """Whether nobody has been here before, in this process or another."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def queue() -> Any:
    """The server's."""
    return sys.modules["server"].PromptServer.instance.prompt_queue


def die_once_accepted(id: str) -> None:
    """When the next prompt of that id is on disk, and nobody has been told; nothing else is
    written meanwhile."""
    found = queue()
    before = found.store.accept

    def accept(prompts: Any) -> Any:
        with found.mutex:
            seqs = before(prompts)
            if any(prompt.id == id for prompt in prompts):
                die()
            return seqs

    found.store.accept = accept


class Trouble:
    """Does what ``kind`` says, then returns ``kind``."""

    CATEGORY = "trouble"
    FUNCTION = "run"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"kind": ("STRING", {"default": "none"})},
            "optional": {
                "seconds": ("FLOAT", {"default": 0.0}),
                "note": ("STRING", {"default": ""}),
            },
        }

    @classmethod
    def IS_CHANGED(cls, **_inputs):
        return time.monotonic()

    def run(self, kind, seconds=0.0, note="") -> Any:
        if kind == "exit":
            sys.exit(3)
        if kind == "die":
            die()
        if kind == "die before its end" and first(note):
            queue().task_done = lambda *_rest, **_named: die()
        if kind == "die once accepted":
            die_once_accepted(note)
        if kind == "block":
            loop = sys.modules["server"].PromptServer.instance.loop
            loop.call_soon_threadsafe(time.sleep, 3600)
            threading.Event().wait(3600)
        if kind == "object in ui":
            return {"ui": {"text": [object()]}}
        if kind == "large ui":
            return {"ui": {"text": ["x" * 20_000_000]}}
        if kind == "raise":
            raise RuntimeError("trouble")
        if kind == "memory":
            raise MemoryError
        if kind == "allocate":
            bytearray(GIB)
        if kind == "leak":
            LEAKED.append(b"x" * (GIB // 2))
        if kind == "clock":
            queue().store.clock = time.time = lambda: CLOCK() + seconds
        if kind == "garbage":
            return 5
        if kind == "sleep":
            threading.Event().wait(seconds)
        if kind == "where":
            note = str(os.getpid())
        return {"ui": {"text": [kind, note]}}


class AsyncTrouble(Trouble):
    """The same in a coroutine."""

    async def run(self, kind, seconds=0.0, note=""):
        return Trouble.run(self, kind, seconds, note)


NODE_CLASS_MAPPINGS = {"Trouble": Trouble, "AsyncTrouble": AsyncTrouble}
