"""A node pack for guarded servers; ComfyUI loads this file as a pack of its own."""

import multiprocessing
import time

LEAKED = []


class Odd:
    """Does what ``kind`` says, then tells ``note``."""

    CATEGORY = "trouble"
    FUNCTION = "run"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"kind": ("STRING",)}, "optional": {"seconds": ("FLOAT",)}}

    @classmethod
    def IS_CHANGED(cls, **_inputs):
        return time.monotonic()

    def run(self, kind, seconds=0.0):
        told = kind
        time.sleep(seconds)
        if kind == "leak":
            LEAKED.append(b"x" * (60 << 20))
        if kind == "gpu":
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA …")
        if kind == "fork":
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
            child.start()
            told = str(child.pid)
        return {"ui": {"text": [told]}}


NODE_CLASS_MAPPINGS = {"Odd": Odd}
