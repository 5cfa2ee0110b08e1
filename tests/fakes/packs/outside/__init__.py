"""A pack as people write them, for tests of sandboxes: nodes of both kinds, and some that fail."""

import asyncio
import ctypes
import os
import sys
import threading
import time

import folder_paths
import torch
from comfy.utils import ProgressBar
from comfy_api.latest import ComfyExtension, io

from . import growing, started


class Anything(str):
    def __ne__(self, other):
        return False


class Thing:
    def __init__(self, number):
        self.number = number


class Echo:
    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"value": ("INT", {"default": 1, "min": -(2**40), "max": 2**40})},
            "hidden": {"listed": ["nobody", "fills", "this"]},
        }

    RETURN_TYPES = ("INT",)
    FUNCTION = "run"
    CATEGORY = "outside"
    OUTPUT_NODE = True

    def run(self, value):
        return {"ui": {"value": [value]}, "result": (value,)}


class Where:
    """Which process it runs in, and what that process sees."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seed": ("INT", {"default": 0})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "run"
    CATEGORY = "outside"
    OUTPUT_NODE = True

    def run(self, seed):
        print("printed \x1b[2J from a node")
        found = {
            "pid": os.getpid(),
            "script": started.RAN,
            "environment": sorted(os.environ),
            "temp": folder_paths.get_temp_directory(),
        }
        return {"ui": {"where": [found]}, "result": (os.getpid(),)}


class Invert:
    DESCRIPTION = "反色"
    RETURN_TYPES = ("IMAGE", "MASK")
    RETURN_NAMES = ("picture", "dark")
    OUTPUT_TOOLTIPS = ("the picture", "what is dark")
    FUNCTION = "run"
    CATEGORY = "outside/图像"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"image": ("IMAGE",), "strength": ("FLOAT", {"default": 1.0, "step": 0.1})},
            "optional": {"file": (sorted(os.listdir(folder_paths.get_input_directory())),)},
            "hidden": {"unique_id": "UNIQUE_ID", "prompt": "PROMPT"},
        }

    def run(self, image, strength, unique_id=None, prompt=None, file=None):
        return (image * (1 - strength) + (1 - image) * strength, image.mean(dim=-1))


class Keep:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"number": ("INT", {"default": 3})}}

    RETURN_TYPES = ("THING",)
    FUNCTION = "run"
    CATEGORY = "outside"

    def run(self, number):
        return (Thing(number),)


class Use:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"thing": ("THING",), "any": (Anything("*"),)}}

    RETURN_TYPES = (Anything("*"),)
    FUNCTION = "run"
    CATEGORY = "outside"
    OUTPUT_NODE = True

    def run(self, thing, any):
        return {"ui": {"number": [thing.number]}, "result": (any,)}


class Trouble:
    @classmethod
    def INPUT_TYPES(cls):
        kinds = ["segv", "abort", "exit", "raise", "loop", "sleep", "quit", "kill", "odd",
                 "later"]  # fmt: skip
        return {"required": {"kind": (kinds,), "seed": ("INT", {"default": 0})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "run"
    CATEGORY = "outside"
    OUTPUT_NODE = True

    def run(self, kind, seed):
        print("last words before", kind, flush=True)
        if kind == "segv":
            ctypes.string_at(0)
        elif kind == "later":
            threading.Timer(1.0, ctypes.string_at, [0]).start()
        elif kind == "abort":
            os.abort()
        elif kind == "exit":
            os._exit(7)
        elif kind == "quit":
            sys.exit(3)
        elif kind == "kill":
            os.kill(os.getpid(), 9)
        elif kind == "raise":
            raise ValueError("不行 no good")
        elif kind == "odd":
            raise type("Peculiar", (Exception,), {})("odd one")
        elif kind == "loop":
            while True:
                pass
        elif kind == "sleep":
            time.sleep(3600)
        return (seed,)


class Steps:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"steps": ("INT", {"default": 4})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "run"
    CATEGORY = "outside"
    OUTPUT_NODE = True

    def run(self, steps):
        bar = ProgressBar(steps)
        for _ in range(steps):
            bar.update(1)
        return (steps,)


class NewStyle(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="OutsideNewStyle",
            display_name="New style 新",
            category="outside",
            description="V3",
            inputs=[
                io.Image.Input("image"),
                io.Combo.Input("mode", options=["double", "halve"], default="halve"),
                io.Int.Input("times", default=1, min=1, max=9, optional=True, tooltip="how often"),
            ],
            outputs=[io.Image.Output(display_name="done"), io.Int.Output(display_name="count")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, mode, **kwargs):
        return True if mode in ("double", "halve") else "unknown mode"

    @classmethod
    async def execute(cls, image, mode, times=1):
        await asyncio.sleep(0)
        factor = (2.0 if mode == "double" else 0.5) ** times
        return io.NodeOutput(
            torch.clamp(image * factor, 0, 1), times, ui={"id": [cls.hidden.unique_id]}
        )


NODE_CLASS_MAPPINGS = {
    "OutsideEcho": Echo,
    "OutsideWhere": Where,
    "OutsideInvert": Invert,
    "OutsideKeep": Keep,
    "OutsideUse": Use,
    "OutsideTrouble": Trouble,
    "OutsideSteps": Steps,
    "OutsideNewStyle": NewStyle,
    **growing.NODES,
}
NODE_DISPLAY_NAME_MAPPINGS = {"OutsideInvert": "反色 Invert", "OutsideEcho": "Echo"}


class Extension(ComfyExtension):
    async def get_node_list(self):
        return [NewStyle]
