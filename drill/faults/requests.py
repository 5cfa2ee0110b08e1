"""Faults of requests: malformed, excessive or forged ones."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Callable

from ..stage import Stage
from .base import FAULTS, Fault, fault, node, refused


def _refused_body(data: Callable[[random.Random], bytes], *statuses: int) -> Fault:
    """Return a fault that submits a body, which must be refused (400 by default)."""

    def run(stage: Stage, rng: random.Random) -> None:
        refused(stage, "/prompt", data(rng), *(statuses or (400,)))

    expected = ", ".join(map(str, statuses or (400,)))
    run.__doc__ = f"Submit the body; it is refused with {expected} and a code."
    return run


def _picture(rng: random.Random) -> bytes:
    """Return a prompt with EmptyImage of 16384 x 16384 x 4096."""
    inputs = {"width": 16384, "height": 16384, "batch_size": 4096, "color": rng.randrange(9)}
    return json.dumps({"prompt": {"1": {"class_type": "EmptyImage", "inputs": inputs}}}).encode()


FAULTS |= {
    "malformed JSON": _refused_body(lambda rng: b'{"prompt": ' + rng.randbytes(9).hex().encode()),
    "bad UTF-8": _refused_body(lambda rng: b'{"prompt": "\xff\xfe"}'),
    "deep JSON": _refused_body(lambda rng: b"[" * rng.randint(500, 200_000)),
    "a list as prompt": _refused_body(lambda rng: b'{"prompt": [1, 2]}'),
    "wrong types": _refused_body(lambda rng: b'{"prompt": {"1": {"inputs": 5}}, "number": "x"}'),
    "a huge body": _refused_body(lambda rng: b" " * (33 * 2**20), 413),
    "pictures without end": _refused_body(_picture),
    "broken text": _refused_body(
        lambda rng: json.dumps({"prompt": node("none", note="a\ufffdb")}).encode()
    ),
    "random bytes": _refused_body(lambda rng: b"\0" + rng.randbytes(rng.randint(1, 5000))),
}


@fault
def a_page_without_origin(stage: Stage, rng: random.Random) -> None:
    """Submit a prompt with ``Origin: null``; it is refused with 403."""
    data = json.dumps({"prompt": node("none")}).encode()
    refused(stage, "/prompt", data, 403, Origin="null", **{"Content-Type": "application/json"})


@fault
def a_forged_host(stage: Stage, rng: random.Random) -> None:
    """Submit with a foreign Host and Origin that match (DNS rebinding); it is refused with 403."""
    data = json.dumps({"prompt": node("none")}).encode()
    name = f"evil.example:{stage.port}"
    refused(
        stage,
        "/prompt",
        data,
        403,
        Origin=f"http://{name}",
        Host=name,
        **{"Content-Type": "application/json"},
    )


@fault
def paths_that_lead_elsewhere(stage: Stage, rng: random.Random) -> None:
    """Request files outside the input folder, by ``/view`` and a node; both are refused."""
    for name in ("../user/comfyui.db", "/etc/hostname"):
        status, _ = stage.client.request(f"/view?filename={name}&type=input")
        assert status in {400, 403, 404}, status
        load = {
            "1": {"class_type": "LoadImage", "inputs": {"image": name}},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        }
        status, _ = stage.post("/prompt", json.dumps({"prompt": load}).encode())
        assert status == 400, status


@fault
def a_picture_bomb(stage: Stage, rng: random.Random) -> None:
    """View a small file of 13300 x 13300 pixels; it is refused by its header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    side = 13_300
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * (side * (side // 8 + 1)), 9)
    name = f"bomb-{rng.randrange(10**9)}.png"
    (stage.folder / "input" / name).write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )
    status, _ = stage.client.request(f"/view?filename={name}&type=input&channel=rgb")
    assert status == 400, status


@fault
def a_model_that_is_not_there(stage: Stage, rng: random.Random) -> None:
    """Submit a prompt with a missing model; it is refused with 400."""
    inputs = {"model_name": f"{rng.random()}.safetensors", "text_encoder": "x", "vae": "x"}
    prompt = {"1": {"class_type": "ZImageLoader", "inputs": inputs}}
    status, _ = stage.post("/prompt", json.dumps({"prompt": prompt}).encode())
    assert status == 400, status
