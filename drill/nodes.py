"""A node pack that makes trouble; ComfyUI loads this file as a pack of its own."""

import os
import signal
import sys
import threading
import time
from typing import Any


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
        if kind == "thread error":
            sys.modules["execution"].PromptExecutor.add_message = None  # breaks the executor itself
        if kind == "die":
            os.kill(os.getpid(), signal.SIGKILL)
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
        if kind == "garbage":
            return 5
        if kind == "sleep":
            threading.Event().wait(seconds)
        return {"ui": {"text": [kind, note]}}


class AsyncTrouble(Trouble):
    """The same in a coroutine."""

    async def run(self, kind, seconds=0.0, note=""):
        return Trouble.run(self, kind, seconds, note)


NODE_CLASS_MAPPINGS = {"Trouble": Trouble, "AsyncTrouble": AsyncTrouble}
