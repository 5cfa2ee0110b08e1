"""A pack whose nodes end, hang and leak, as packs do."""

import ctypes
import os
import sys
import time

import torch


class Work:
    """Half a second of work on a picture."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "seed": ("INT", {"default": 0})}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "faults"

    def run(self, image, seed):
        until = time.monotonic() + 0.2
        while time.monotonic() < until:
            image = 1 - (1 - image)
        return (image,)


class Fault:
    kept = []  # noqa: RUF012

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"kind": ("STRING",), "seed": ("INT", {"default": 0})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "run"
    CATEGORY = "faults"
    OUTPUT_NODE = True

    def run(self, kind, seed):
        getattr(self, kind)()
        return (seed,)

    def segfault(self):
        ctypes.string_at(0)

    def abort(self):
        os.abort()

    def exit(self):
        os._exit(1)

    def loop(self):
        while True:
            pass

    def loop_with_the_gil(self):
        ctypes.PyDLL(None).sleep(3600)

    def leak(self):
        self.kept.append(torch.ones(50 * 2**20 // 4))

    def flood(self):
        for _number in range(2000):
            sys.stdout.write("x" * 10_000 + "\n")


NODE_CLASS_MAPPINGS = {"FaultsWork": Work, "FaultsFault": Fault}
