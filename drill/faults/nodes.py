"""Faults of nodes and of the queue."""

from __future__ import annotations

import json
import random
import resource
import struct
import time
from pathlib import Path

from ..stage import Stage, until
from .base import FAULTS, TEMPLATE, Fault, code, fault, limited, node, refused, running, submit


def _fails(kind: str, expected: str, name: str = "Trouble") -> Fault:
    """Return a fault that runs a node, whose prompt must fail with a message."""

    def run(stage: Stage, _rng: random.Random) -> None:
        message = code(stage.entry(submit(stage, node(kind, name))))
        assert expected in message, message

    run.__doc__ = f"Run the node; only its prompt fails{', with ' + expected if expected else ''}."
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
def a_node_that_blocks_the_server(stage: Stage, rng: random.Random) -> None:
    """Block the event loop; the server is replaced, and the prompt fails after two attempts."""
    id = submit(stage, node("block"))
    assert "[ZI-PROMPT-DEADLY]" in code(stage.entry(id))
    stage.settle()


@fault
def a_node_that_ignores_an_interrupt(stage: Stage, rng: random.Random) -> None:
    """Ignore an interrupt; the server is replaced, the prompt is interrupted, the next one runs."""
    before = stage.active
    id = running(stage, 3600.0)
    after = submit(stage, node("none", note="behind"))
    stage.post("/interrupt", json.dumps({"prompt_id": id}).encode())
    messages = stage.entry(id)["status"]["messages"]
    assert messages[-1][0] == "execution_interrupted", messages
    assert stage.entry(after)["status"]["completed"]
    until(lambda: not stage.runs(before), "the end of the server")
    stage.settle()


@fault
def no_memory_for_a_node(stage: Stage, rng: random.Random) -> None:
    """Limit the server to 0.5 GiB more; only the prompt of a node that needs 1 GiB fails."""
    pid = stage.active
    mapped = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    with limited(pid, resource.RLIMIT_AS, mapped + 2**29):
        failed = stage.entry(submit(stage, node("allocate")))
        assert dict(failed["status"]["messages"])["execution_error"]["exception_type"].endswith(
            "MemoryError"
        ), failed["status"]
        assert stage.client.run(node("none", note="beside")).succeeded
    assert stage.entry(submit(stage, node("allocate")))["status"]["completed"]
    assert stage.active == pid


@fault
def a_node_that_leaks(stage: Stage, rng: random.Random) -> None:
    """Leak 0.5 GiB twice; the server is replaced without a lost prompt."""
    stage.settle()  # the guardian needs an earlier reading to detect growth
    pid = stage.active
    # A single growth could be a model that the pack loads.
    for _ in range(2):
        assert stage.entry(submit(stage, node("leak")))["status"]["completed"]
        time.sleep(1.5)  # longer than the heartbeat, so that the guardian sees both
    until(lambda: not stage.runs(pid), "the end of the server")
    assert [line for line in stage.log() if f"[{pid}]" in line and "memory +" in line]
    stage.settle()
    time.sleep(25)  # a new server is not replaced for growth again before that


@fault
def a_clock_that_jumps(stage: Stage, rng: random.Random) -> None:
    """Shift the server's clock by days, and back; prompts run in their order."""
    days = rng.choice([-1, 1]) * rng.uniform(1, 5)
    ids = []
    for offset in (days * 86400, 0.0):
        stage.entry(submit(stage, node("clock", seconds=offset)))
        ids.append(submit(stage, node("none", note=str(offset))))
        timestamp = stage.entry(ids[-1])["status"]["messages"][0][1]["timestamp"] / 1000
        assert abs(timestamp - time.time() - offset) < 3600
    assert [id for id in stage.client.get("/history") if id in ids] == ids
    assert stage.client.get("/health/ready")["status"] == "ok"


def _with_model(data: bytes) -> Fault:
    """Return a fault that loads a broken model file."""

    def run(stage: Stage, rng: random.Random) -> None:
        name = f"drill-{rng.randrange(10**9)}.safetensors"
        (stage.models / name).write_bytes(data)
        graph = json.loads(TEMPLATE.read_text(encoding="utf-8"))
        for entry in graph.values():
            if entry["class_type"] == "ZImageLoader":
                entry["inputs"]["model_name"] = name
        message = code(stage.entry(submit(stage, graph)))
        assert "[ZI-FILE-" in message, message

    run.__doc__ = "Load the file; the loader fails with a code."
    return run


_ENTRY = {"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
_HEADER = json.dumps(_ENTRY).encode()
FAULTS |= {
    "a header that lies": _with_model(struct.pack("<Q", len(_HEADER)) + _HEADER + bytes(64)),
    "a header without end": _with_model(struct.pack("<Q", 2**60) + b"{" * 64),
    "a pickle as a model": _with_model(b"\x80\x04\x8c\x05posix\x8c\x06system\x93."),
}


@fault
def cancel_a_waiting_prompt(stage: Stage, rng: random.Random) -> None:
    """Delete a waiting prompt; only the other prompts run."""
    running(stage, 1.0)
    ids = [submit(stage, node("none", note=f"c{number}")) for number in range(3)]
    stage.post("/queue", json.dumps({"delete": [ids[1]]}).encode())
    assert stage.entry(ids[0])["status"]["completed"]
    assert stage.entry(ids[2])["status"]["completed"]
    assert stage.client.get(f"/history/{ids[1]}") == {}


@fault
def prompts_in_front(stage: Stage, rng: random.Random) -> None:
    """Submit a prompt with ``front``; it runs before the waiting ones."""
    running(stage, 1.0)
    last = submit(stage, node("none", note="last"))
    first = submit(stage, node("none", note="first"), front=True)
    stage.entry(last)
    order = [id for id in stage.client.get("/history") if id in {first, last}]
    assert order == [first, last]


@fault
def the_same_id_twice(stage: Stage, rng: random.Random) -> None:
    """Submit an id that is waiting or running again; the response is 409."""
    id = f"twice-{rng.random()}"
    submit(stage, node("sleep", seconds=1.0), prompt_id=id)
    again = json.dumps({"prompt": node("none"), "prompt_id": id}).encode()
    refused(stage, "/prompt", again, 409)
    assert stage.entry(id)["status"]["completed"]
