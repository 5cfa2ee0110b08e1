"""A node pack for benchmarks only: inputs of any kind for other packs' nodes, and what they gave.

It runs in ComfyUI's process, so what it says of a result is said in the same way wherever the node
ran that gave it.
"""

import random

import numpy
import torch

from .caught import said
from .made import MAKERS


def forget_seeds():
    """What a node draws without a seed of its own shall differ from start to start."""
    torch.seed()
    random.seed()
    numpy.random.seed()


forget_seeds()


class AnyType(str):
    """Fits every socket."""

    __slots__ = ()

    def __ne__(self, other):
        return False

    __hash__ = str.__hash__


ANY = AnyType("*")
MOST = 24


class BenchMake:
    """A value of one kind, the same in every process; ``salt`` keeps it from being reused."""

    RETURN_TYPES = (ANY,)
    FUNCTION = "make"
    CATEGORY = "bench"

    @classmethod
    def INPUT_TYPES(cls):
        inputs = {"kind": (sorted(MAKERS),), "salt": ("STRING", {}), "one": ("BOOLEAN", {})}
        return {"required": inputs}

    def make(self, kind, salt, one):
        """Make it; ``one`` picture or latent instead of two."""
        with torch.random.fork_rng():
            torch.manual_seed(sum(kind.encode()))
            found = MAKERS[kind]()
        if one and kind in {"IMAGE", "MASK"}:
            found = found[:1]
        elif one and kind == "LATENT":
            found["samples"] = found["samples"][:1]
        return (found,)


class BenchCatch:
    """What came out, as text that two runs can be compared by."""

    RETURN_TYPES = ()
    FUNCTION = "catch"
    OUTPUT_NODE = True
    INPUT_IS_LIST = True
    CATEGORY = "bench"

    @classmethod
    def INPUT_TYPES(cls):
        return {"optional": {f"value{i}": (ANY,) for i in range(MOST)}}

    def catch(self, **values):
        """Say it."""
        forget_seeds()  # nodes leave the generators as they seeded them
        with torch.random.fork_rng(), torch.inference_mode():
            return {"ui": {"caught": [{name: said(one) for name, one in values.items()}]}}


NODE_CLASS_MAPPINGS = {"BenchMake": BenchMake, "BenchCatch": BenchCatch}
