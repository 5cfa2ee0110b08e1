"""Faults of disks and of what lies on them."""

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
    """The entry of a prompt that saves pictures below the output folder, whatever becomes of it."""
    image = {"width": 1500, "height": 1500, "batch_size": pictures, "color": 0}
    save = {"images": ["1", 0], "filename_prefix": f"{folder}/picture"}
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "SaveImage", "inputs": save},
    }
    return stage.entry(submit(stage, prompt))


@fault
def a_disk_that_fills_up(stage: Stage, dice: random.Random) -> None:
    """The prompt fails while it saves, and its history names what is on the disk (needs root)."""
    name = f"small-{dice.randrange(10**9)}"
    folder = stage.folder / "output" / name
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False, timeout=60).returncode:
        folder.rmdir()
        raise Skipped("no small disk: mounting a tmpfs needs root")
    try:
        entry = saving(stage, name, 40)
        assert "No space left on device" in code(entry), code(entry)
        files = {Path(one["filename"]).name for one in entry["outputs"]["2"]["images"]}
        assert files == set(os.listdir(folder))
        assert files
        assert stage.client.run(node("none", note=name)).succeeded
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=60)
        folder.rmdir()


@fault
def a_folder_nothing_can_be_saved_in(stage: Stage, dice: random.Random) -> None:
    """Not even by root; the prompt fails, the next one does not."""
    name = f"unwritable-{dice.randrange(10**9)}"
    link = stage.folder / "output" / name
    link.symlink_to("/sys/kernel")
    try:
        found = code(saving(stage, name, 1))
    finally:
        link.unlink()
    assert "Errno" in found, found
    assert stage.client.run(node("none", note=name)).succeeded


@fault
def a_disk_that_takes_nothing(stage: Stage, dice: random.Random) -> None:
    """Every write of the server fails: new prompts get 507, what runs ends, all answers."""
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
def a_cut_off_log_of_the_queue(stage: Stage, dice: random.Random) -> None:
    """As by a power cut: what was being accepted is not there, what was promised is."""
    id = f"cut-{dice.randrange(10**9)}"
    with all_killed(stage, accepting=id):
        cut(stage.folder / "user" / "__zimage" / "queue.sqlite-wal", dice)
    stage.settle()
    assert stage.client.get(f"/history/{id}") == {}
    queue = stage.client.get("/queue")
    assert id not in {item[1] for items in queue.values() for item in items}
    assert stage.client.get("/health")["patches"]["queue"]["status"] == "active"


def cut(path: Path, dice: random.Random) -> None:
    """Take the end off the last transaction of a write-ahead log.

    What comes after it is of earlier times or was taken back: the sums in the heads of frames are
    of all that is before them (sqlite.org/fileformat2.html#walformat).
    """
    data = path.read_bytes()
    magic, size = struct.unpack(">I4xI", data[:12])
    order = "<" if magic == 0x377F0682 else ">"
    sums, end, here = _sums(data[:24], (0, 0), order), 32, 32
    while len(data) >= here + 24 + size:
        head, page = data[here : here + 24], data[here + 24 : here + 24 + size]
        sums = _sums(page, _sums(head[:8], sums, order), order)
        if head[8:16] != data[16:24] or struct.unpack(">II", head[16:]) != sums:
            break
        here += 24 + size
        if any(head[4:8]):  # the last of its transaction
            end = here
    assert end > 32, "an empty log"
    os.truncate(path, end - dice.randint(1, size + 23))


def _sums(data: bytes, before: tuple[int, int], order: str) -> tuple[int, int]:
    first, second = before
    for one, two in struct.iter_unpack(f"{order}II", data):
        first = (first + one + second) % 2**32
        second = (second + two + first) % 2**32
    return first, second


@fault
def a_second_server_on_the_queue(stage: Stage, dice: random.Random) -> None:
    """It says that the queue is another's, and takes no prompt that would be lost."""
    with stage.second() as client:
        part = json.loads(client.request("/health")[1])["patches"]["queue"]
        assert (part["status"], part["code"]) == ("refused", "ZI-QUEUE-TAKEN"), part
        status, found = client.request("/prompt", {"prompt": node("none", note="beside")})
        assert (status, json.loads(found)["error"]["type"]) == (503, "ZI-QUEUE-TAKEN"), found
    assert stage.client.run(node("none", note="after")).succeeded
    until(lambda: stage.client.get("/health")["patches"]["queue"]["status"] == "active", "a queue")
