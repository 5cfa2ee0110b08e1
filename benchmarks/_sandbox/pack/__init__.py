"""The pack that ``bench sandbox`` runs: nodes of ComfyUI, which are plain functions to others."""

import ctypes

import torch


def echo(value):
    """What came."""
    return value


def first(tensor):
    """One element, so that something is read."""
    return float(tensor.view(-1)[0])


def add(tensor):
    """A new tensor of the same size."""
    return tensor + 1


def die():
    """Read where nothing is: the process ends with SIGSEGV."""
    ctypes.string_at(0)


def ask(host, count):
    """Have the host answer so many questions; the host's object is the one of ``bench sandbox``."""
    for _ in range(count):
        host.get_node("answer")


def serve(host, count):
    """Have the host call a function of this pack so many times."""
    host.get_node("call", echo, count)


def _node(function, **inputs):
    class Node:
        RETURN_TYPES, CATEGORY, FUNCTION = ("*",), "bench", "run"

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {name: (kind,) for name, kind in inputs.items()}}

        def run(self, **arguments):
            with torch.no_grad():
                return (function(**arguments),)

    Node.__name__ = Node.__qualname__ = function.__name__.title()
    return Node


Echo, First = _node(echo, value="INT"), _node(first, tensor="IMAGE")
Add, Die = _node(add, tensor="IMAGE"), _node(die)
Ask, Serve = _node(ask, host="*", count="INT"), _node(serve, host="*", count="INT")
NODES = (Echo, First, Add, Die, Ask, Serve)
NODE_CLASS_MAPPINGS = {node.__name__: node for node in NODES}
