"""Attempts on the host, through the connection that every worker has."""

import contextlib
import gc
import os
import sys
import threading
import time

import torch
from server import PromptServer


def inside():
    """The module of the worker, its connection and the worker itself."""
    m = sys.modules["zimage_sandbox.protocol.messages"]
    worker = sys.modules["zimage_sandbox.worker.worker"]
    found = next(one for one in gc.get_objects() if type(one) is worker.Worker)
    return m, worker, found


def garbage(**_):
    _m, _, worker = inside()
    worker.connection.send_bytes(os.urandom(500))
    threading.Event().wait(60)


def oversized(**_):
    _m, _, worker = inside()
    os.write(worker.connection.fileno(), b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff")
    threading.Event().wait(60)


def half_a_frame(**_):
    _m, _, worker = inside()
    os.write(worker.connection.fileno(), (1000).to_bytes(4, "big"))
    threading.Event().wait(60)


def frame_by_drops(**_):
    _m, _, worker = inside()
    os.write(worker.connection.fileno(), (100_000).to_bytes(4, "big"))
    for _ in range(600):
        os.write(worker.connection.fileno(), b"x")
        time.sleep(0.1)


def _flood():
    while True:
        os.write(1, b"\n" * 65536)


def report_forged(**_):
    _m, _, worker = inside()
    threading.Thread(target=_flood, daemon=True).start()
    os.write(worker.descriptors.socket.fileno(), b"Fatal Python error: Segmentation fault\n")
    threading.Event().wait(60)


def report_of_nothing(**_):
    _m, _, worker = inside()
    threading.Thread(target=_flood, daemon=True).start()
    os.write(worker.descriptors.socket.fileno(), b"x")
    threading.Event().wait(60)


def deep(**_):
    _m, _, worker = inside()
    worker.connection.send_bytes(b"\x91" * 5_000_000)
    threading.Event().wait(60)


def unknown_type(**_):
    import msgspec

    _m, _, worker = inside()
    worker.connection.send_bytes(msgspec.msgpack.encode({"@": "pickle", "data": b"cos\nsystem\n"}))
    threading.Event().wait(60)


def reply_naming_code(**_):
    import msgspec

    _m, module, worker = inside()
    frame = {"@": "done", "number": module.running.get(), "value": {"@": "os.system", "a": "id"}}
    worker.connection.send_bytes(msgspec.msgpack.encode(frame))
    threading.Event().wait(60)


def tensor_nowhere(**_):
    m, module, worker = inside()
    tensor = m.Tensor("torch", "float32", [1000], buffer=m.BufferRef(77, 2**40, 4000, 1))
    worker.send(m.Done(module.running.get(), m.Tuple([tensor])))
    threading.Event().wait(60)


def tensor_too_long(**_):
    m, module, worker = inside()
    place = worker.put(torch.zeros(20_000), 80_000)
    longer = m.BufferRef(place.chunk, place.offset, 2**45, place.lease)
    tensor = m.Tensor("torch", "uint8", [2**45], buffer=longer)
    worker.send(m.Done(module.running.get(), m.Tuple([tensor])))
    threading.Event().wait(60)


def _places(worker, count, step):
    """So many places of one tensor of 32 MiB, each a little further."""
    m, size = sys.modules["zimage_sandbox.protocol.messages"], 32 * 2**20
    place = worker.put(torch.zeros(size, dtype=torch.uint8), size)
    return [
        m.Tensor("torch", "uint8", [size - step * i],
                 buffer=m.BufferRef(place.chunk, place.offset + step * i, size - step * i, 1))
        for i in range(count)
    ]  # fmt: skip


def one_place_many_times(**_):
    m, module, worker = inside()
    found = m.List(_places(worker, 300, 0))
    got = m.Dict([("got", m.List(["handed over"]))])
    worker.send(m.Done(module.running.get(), m.Dict([("ui", got), ("result", found)])))
    return {}


def places_that_overlap(**_):
    m, module, worker = inside()
    worker.send(m.Done(module.running.get(), m.List(_places(worker, 300, 1))))
    threading.Event().wait(60)


def objects_without_end(**_):
    kept = []
    for _number in range(300):
        options = {"big": torch.zeros(8 * 2**20)}
        kept.append(ask("comfy.samplers.ksampler", arguments=[["euler", options], {}]))
    return kept


def keys_that_collide(**_):
    m, module, worker = inside()
    found = m.Set([m.BigInt(hex((2**61 - 1) * number)) for number in range(20, 100_000)])
    worker.send(m.Done(module.running.get(), found))
    threading.Event().wait(60)


def error_of_many_lines(**_):
    raise RuntimeError("first\n[sandboxes] ERROR forged\n\x1b[2J" + "x" * 5_000_000)


def dtype_naming_code(**_):
    m, module, worker = inside()
    worker.send(m.Done(module.running.get(), m.Tensor("torch", "load", [1], data=b"1234")))
    threading.Event().wait(60)


def ask(name, target=None, arguments=None):
    m, _module, worker = inside()
    found = [[], {}] if arguments is None else arguments
    return worker.ask(None if target is None else m.HostRef(target, "MODEL"), name, found)


def function_of_the_system(**_):
    return ask("os.system", arguments=[["touch /tmp/hostile"], {}])


def function_import(**_):
    return ask("__import__", arguments=[["os"], {}])


def function_eval(**_):
    return ask("eval", arguments=[["1+1"], {}])


def guessed_objects(**_):
    for number in range(1, 1000):
        ask("clone", target=number)


def hidden_attribute(**_):
    return ask("__class__", target=1)


def huge_arena(**_):
    return ask("arena", arguments=[2**50])


def negative_arena(**_):
    return ask("arena", arguments=[-1])


def result_of_another_call(**_):
    m, module, worker = inside()
    for number in range(module.running.get() + 1, module.running.get() + 50):
        worker.send(m.Done(number, "forged"))
    raise PermissionError("there is no such call")


def leases_of_others(**_):
    m, _, worker = inside()
    worker.send(m.Returned([*range(1, 500), 2**62]))
    worker.send(m.Forget([(number, 10**9) for number in range(1, 500)]))
    worker.send(m.Forget([(1, -(10**9))]))
    raise PermissionError("they mean nothing")


def event_of_another_prompt(**_):
    PromptServer.instance.send_sync("execution_success", {"prompt_id": "not mine"})
    PromptServer.instance.send_sync("status", {"status": {"exec_info": {"queue_remaining": 77}}})
    raise PermissionError("left out")


def event_that_is_no_json(**_):
    PromptServer.instance.send_sync("hostile", {"object": object()})
    raise PermissionError("left out")


def many_events(**_):
    for number in range(20_000):
        PromptServer.instance.send_sync("hostile.flood", {"number": number})
    raise PermissionError("they harm nobody")


def lines_in_the_log(**_):
    print("innocent\n\x1b[31m[sandboxes] ERROR forged\r\nTraceback \x9b2J \u202e reversed")
    raise PermissionError("harmless")


def flood_of_output(**_):
    for _number in range(200):
        sys.stdout.write("x" * 100_000 + "\n")
    raise PermissionError("left out")


def output_without_end(**_):
    sys.stdout.write("y" * 20_000_000)
    sys.stdout.flush()
    raise PermissionError("cut")


class Bomb:
    def __reduce__(self):
        return os.system, ("touch /tmp/hostile-pickle",)


def object_with_a_reduce(**_):
    return {"ui": {"got": ["handed over"]}, "result": (Bomb(),)}


def picture_changed_afterwards(**_):
    """Writes into the shared memory for a while after it was handed over."""
    _m, _, worker = inside()
    picture = torch.full((1, 256, 256, 3), 0.25)

    def tamper():
        end = threading.Event()
        for _number in range(2000):
            for chunk in list(worker._arena.chunks.values()):
                with contextlib.suppress(Exception):
                    chunk.memory[: 256 * 256 * 3 * 4] = b"\xff" * (256 * 256 * 3 * 4)
            end.wait(0.001)

    threading.Timer(0.3, tamper).start()
    return {"ui": {"got": ["handed over"]}, "result": (picture,)}


def path_in_a_result(secret_file, **_):
    image = {"filename": secret_file, "subfolder": "../../../../..", "type": "temp"}
    return {"ui": {"images": [image], "got": ["handed over"]}, "result": (None,)}


def closed_connection(**_):
    _m, _, worker = inside()
    os.close(worker.connection.fileno())
    threading.Event().wait(60)


SKIPPED = {"inside", "ask", "_flood", "_places"}
ATTEMPTS = {
    name: one
    for name, one in globals().items()
    if callable(one) and name.islower() and name not in SKIPPED
}
