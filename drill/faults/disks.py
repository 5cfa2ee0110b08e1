"""Faults of disks and files."""

from __future__ import annotations

import json
import os
import random
import resource
import struct
import subprocess
from pathlib import Path
from typing import Any

from ..stage import Stage, until
from .base import Skipped, code, fault, limited, node, refused, running, submit
from .processes import all_killed


def saving(stage: Stage, folder: str, pictures: int) -> dict[str, Any]:
    """Run a prompt that saves pictures below the output folder; return its entry of the history."""
    image = {"width": 1500, "height": 1500, "batch_size": pictures, "color": 0}
    save = {"images": ["1", 0], "filename_prefix": f"{folder}/picture"}
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "SaveImage", "inputs": save},
    }
    return stage.entry(submit(stage, prompt))


@fault
def a_disk_that_fills_up(stage: Stage, rng: random.Random) -> None:
    """Fill the disk while a prompt saves; its history lists the saved files (needs root)."""
    name = f"small-{rng.randrange(10**9)}"
    folder = stage.folder / "output" / name
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False, timeout=60).returncode:
        folder.rmdir()
        raise Skipped("a small tmpfs cannot be mounted without root")
    try:
        entry = saving(stage, name, 40)
        assert "No space left on device" in code(entry), code(entry)
        files = {Path(image["filename"]).name for image in entry["outputs"]["2"]["images"]}
        assert files == set(os.listdir(folder))
        assert files
        assert stage.client.run(node("none", note=name)).succeeded
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=60)
        folder.rmdir()


@fault
def a_folder_nothing_can_be_saved_in(stage: Stage, rng: random.Random) -> None:
    """Save to a folder that even root cannot write; the prompt fails, the next one succeeds."""
    name = f"unwritable-{rng.randrange(10**9)}"
    link = stage.folder / "output" / name
    link.symlink_to("/sys/kernel")
    try:
        message = code(saving(stage, name, 1))
    finally:
        link.unlink()
    assert "Errno" in message, message
    assert stage.client.run(node("none", note=name)).succeeded


@fault
def a_disk_that_takes_nothing(stage: Stage, rng: random.Random) -> None:
    """Fail every write of the server: new prompts get 507, the running one ends, requests work."""
    id = running(stage, 1.0)
    with limited(stage.active, resource.RLIMIT_FSIZE, 0):
        for number in range(3):
            body = json.dumps({"prompt": node("none", note=str(number))}).encode()
            refused(stage, "/prompt", body, 507)
        assert stage.entry(id)["status"]["completed"]
        assert stage.client.answers()
    assert stage.client.run(node("none", note="room again")).succeeded
    assert stage.entry(id)["status"]["completed"]


@fault
def a_cut_off_log_of_the_queue(stage: Stage, rng: random.Random) -> None:
    """Truncate the write-ahead log, as in a power cut: accepted prompts remain, others do not."""
    id = f"cut-{rng.randrange(10**9)}"
    with all_killed(stage, accepting=id):
        cut(stage.folder / "user" / "__zimage" / "queue.sqlite-wal", rng)
    stage.settle()
    assert stage.client.get(f"/history/{id}") == {}
    queue = stage.client.get("/queue")
    assert id not in {item[1] for items in queue.values() for item in items}
    assert stage.client.get("/health")["patches"]["queue"]["status"] == "active"


def cut(path: Path, rng: random.Random) -> None:
    """Truncate a write-ahead log within its last transaction.

    Frames after it are stale or rolled back. A frame is valid if its checksum covers all frames
    before it (sqlite.org/fileformat2.html#walformat).
    """
    data = path.read_bytes()
    magic, size = struct.unpack(">I4xI", data[:12])
    order = "<" if magic == 0x377F0682 else ">"
    sums = _sums(data[:24], (0, 0), order)
    end = offset = 32
    while len(data) >= offset + 24 + size:
        head = data[offset : offset + 24]
        page = data[offset + 24 : offset + 24 + size]
        sums = _sums(page, _sums(head[:8], sums, order), order)
        if head[8:16] != data[16:24] or struct.unpack(">II", head[16:]) != sums:
            break
        offset += 24 + size
        if any(head[4:8]):  # the last frame of a transaction
            end = offset
    assert end > 32, "an empty log"
    os.truncate(path, end - rng.randint(1, size + 23))


def _sums(data: bytes, before: tuple[int, int], order: str) -> tuple[int, int]:
    """Return SQLite's checksum of data that follows a checksum."""
    first, second = before
    for even, odd in struct.iter_unpack(f"{order}II", data):
        first = (first + even + second) % 2**32
        second = (second + odd + first) % 2**32
    return first, second


@fault
def a_second_server_on_the_queue(stage: Stage, rng: random.Random) -> None:
    """Start a second server on the same queue; it reports the conflict and refuses prompts."""
    with stage.second_server() as client:
        part = json.loads(client.request("/health")[1])["patches"]["queue"]
        assert (part["status"], part["code"]) == ("refused", "ZI-QUEUE-TAKEN"), part
        status, body = client.request("/prompt", {"prompt": node("none", note="beside")})
        assert (status, json.loads(body)["error"]["type"]) == (503, "ZI-QUEUE-TAKEN"), body
    assert stage.client.run(node("none", note="after")).succeeded
    until(lambda: stage.client.get("/health")["patches"]["queue"]["status"] == "active", "a queue")
