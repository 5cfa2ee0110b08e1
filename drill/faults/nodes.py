"""Faults of nodes and of the queue that hands them prompts."""

from __future__ import annotations

import json
import random
import struct

from ..stage import Stage
from .base import FAULTS, TEMPLATE, Fault, code, fault, node, refused, running, submit


def _fails(kind: str, expected: str, name: str = "Trouble") -> Fault:
    def run(stage: Stage, _dice: random.Random) -> None:
        found = code(stage.entry(submit(stage, node(kind, name))))
        assert expected in found, found

    run.__doc__ = f"It fails alone{', as ' + expected if expected else ''}."
    return run


for _title, _kind, _code, _name in (
    ("a node calls sys.exit", "exit", "[ZI-NODE-EXIT]", "Trouble"),
    ("a coroutine calls sys.exit", "exit", "[ZI-WORKER]", "AsyncTrouble"),
    ("an object in ui", "object in ui", "[ZI-NODE-UI]", "Trouble"),
    ("a node raises", "raise", "trouble", "Trouble"),
    ("a node has no memory", "memory", "", "Trouble"),
    ("a node returns garbage", "garbage", "", "Trouble"),
):
    FAULTS[_title] = _fails(_kind, _code, _name)


@fault
def a_node_that_blocks_the_server(stage: Stage, dice: random.Random) -> None:
    """It is replaced, and the node has failed when it has done so twice."""
    id = submit(stage, node("block"))
    assert "[ZI-PROMPT-DEADLY]" in code(stage.entry(id))
    stage.settle()


def _with_model(data: bytes) -> Fault:
    def run(stage: Stage, dice: random.Random) -> None:
        name = f"drill-{dice.randrange(10**9)}.safetensors"
        (stage.models / name).write_bytes(data)
        graph = json.loads(TEMPLATE.read_text(encoding="utf-8"))
        for one in graph.values():
            if one["class_type"] == "ZImageLoader":
                one["inputs"]["model_name"] = name
        found = code(stage.entry(submit(stage, graph)))
        assert "[ZI-FILE-" in found, found

    run.__doc__ = "The loader fails with a code."
    return run


_ENTRY = {"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
_HEADER = json.dumps(_ENTRY).encode()
FAULTS |= {
    "a header that lies": _with_model(struct.pack("<Q", len(_HEADER)) + _HEADER + bytes(64)),
    "a header without end": _with_model(struct.pack("<Q", 2**60) + b"{" * 64),
    "a pickle as a model": _with_model(b"\x80\x04\x8c\x05posix\x8c\x06system\x93."),
}


@fault
def cancel_a_waiting_prompt(stage: Stage, dice: random.Random) -> None:
    """It never runs; its neighbours do."""
    running(stage, 1.0)
    ids = [submit(stage, node("none", note=f"c{number}")) for number in range(3)]
    stage.post("/queue", json.dumps({"delete": [ids[1]]}).encode())
    assert stage.entry(ids[0])["status"]["completed"]
    assert stage.entry(ids[2])["status"]["completed"]
    assert stage.client.get(f"/history/{ids[1]}") == {}


@fault
def prompts_in_front(stage: Stage, dice: random.Random) -> None:
    """What is put in front runs before what waits."""
    running(stage, 1.0)
    last = submit(stage, node("none", note="last"))
    first = submit(stage, node("none", note="first"), front=True)
    stage.entry(last)
    order = [id for id in stage.client.get("/history") if id in {first, last}]
    assert order == [first, last]


@fault
def the_same_id_twice(stage: Stage, dice: random.Random) -> None:
    """409 while it waits or runs."""
    id = f"twice-{dice.random()}"
    submit(stage, node("sleep", seconds=1.0), prompt_id=id)
    again = json.dumps({"prompt": node("none"), "prompt_id": id}).encode()
    refused(stage, "/prompt", again, 409)
    assert stage.entry(id)["status"]["completed"]
