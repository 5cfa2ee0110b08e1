"""A node pack that keeps every model it sees, on a machine that has no RAM to spare.

ComfyUI loads this file as a pack of its own. How much RAM there is cannot be had otherwise: what
the hardening measures is answered with nothing.
"""

import sys
from typing import Any

KEPT: list[Any] = []


class Keep:
    """Hands a model on and never lets go of it."""

    CATEGORY = "trouble"
    FUNCTION = "run"
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def run(self, model):
        for name, module in list(sys.modules.items()):
            if name.endswith(".patches.base.ram"):
                module.available = lambda: 0
        KEPT.append(model)
        return (model,)


NODE_CLASS_MAPPINGS = {"Keep": Keep}
