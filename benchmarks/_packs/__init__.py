"""A node pack for benchmarks: inputs of any kind for nodes, and fingerprints of their results.

It runs in ComfyUI's process, so fingerprints do not depend on where the tested node runs.
"""

import random

import numpy
import torch

from .fingerprint import fingerprint
from .inputs import MAKERS


def forget_seeds():
    """Seed the generators randomly, so that nodes without a seed differ between runs."""
    torch.seed()
    random.seed()
    numpy.random.seed()


forget_seeds()


class AnyType(str):
    """A type that matches every other type."""

    __slots__ = ()

    def __ne__(self, other):
        return False

    __hash__ = str.__hash__


ANY = AnyType("*")
MOST = 24


class BenchMake:
    """Makes a value of a kind, the same in every process; ``salt`` prevents caching."""

    RETURN_TYPES = (ANY,)
    FUNCTION = "make"
    CATEGORY = "bench"

    @classmethod
    def INPUT_TYPES(cls):
        inputs = {"kind": (sorted(MAKERS),), "salt": ("STRING", {}), "one": ("BOOLEAN", {})}
        return {"required": inputs}

    def make(self, kind, salt, one):
        """Make the value; with ``one``, a single picture or latent instead of two."""
        with torch.random.fork_rng():
            torch.manual_seed(sum(kind.encode()))
            value = MAKERS[kind]()
        if one and kind in {"IMAGE", "MASK"}:
            value = value[:1]
        elif one and kind == "LATENT":
            value["samples"] = value["samples"][:1]
        return (value,)


class BenchCatch:
    """Returns fingerprints of values, to compare two runs."""

    RETURN_TYPES = ()
    FUNCTION = "catch"
    OUTPUT_NODE = True
    INPUT_IS_LIST = True
    CATEGORY = "bench"

    @classmethod
    def INPUT_TYPES(cls):
        return {"optional": {f"value{i}": (ANY,) for i in range(MOST)}}

    def catch(self, **values):
        """Return the fingerprint of each value."""
        forget_seeds()  # a node may have seeded the generators
        with torch.random.fork_rng(), torch.inference_mode():
            return {
                "ui": {"caught": [{name: fingerprint(value) for name, value in values.items()}]}
            }


NODE_CLASS_MAPPINGS = {"BenchMake": BenchMake, "BenchCatch": BenchCatch}
