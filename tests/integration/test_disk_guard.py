"""A real ComfyUI on a disk that fills up: it refuses, answers, and comes back by itself."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from zimage_comfyui.cli.server import Server
from zimage_comfyui.patches.base.registry import NAMES
from zimage_comfyui.tests.fakes.listeners import webhook
from zimage_comfyui.tests.fakes.small_disk import fill, small_disk
from zimage_comfyui.tests.fakes.waiting import wait

pytestmark = pytest.mark.slow

KIB, MIB = 2**10, 2**20
MONTH = 30 * 86400


@pytest.fixture
def start(host, pack_dir: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers all of whose folders are on a disk of 16 MiB; their log is on another."""
    with small_disk(tmp_path / "disk", "size=16m") as folder:

        def make(**env: str) -> Server:
            env = {**os.environ, **env}
            return Server(host, pack_dir, folder, env=env, log=tmp_path / "comfyui.log")

        yield make


def pictures(size: int, count: int, seed: int = 0) -> dict[str, Any]:
    """A prompt that saves pictures; another seed makes others of the same size in bytes."""
    image = {"width": size, "height": size, "batch_size": count, "color": 0x010203 + seed}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x/y"}},
    }


def answer(server: Server, path: str) -> tuple[int, Any]:
    """Status and document of a GET."""
    status, body = server.client.request(path)
    return status, json.loads(body)


def code(server: Server, length: int = 0) -> tuple[int, str]:
    """Status and error code of a prompt that is submitted with so many bytes of workflow."""
    body = {"prompt": pictures(64, 1), "extra_data": {"extra_pnginfo": {"workflow": "x" * length}}}
    status, found = server.client.request("/prompt", body)
    return status, json.loads(found).get("error", {}).get("type", "")


def noise(size: int) -> bytes:
    """A picture that does not get smaller by packing it."""
    file = BytesIO()
    Image.frombytes("RGB", (size, size), os.urandom(3 * size * size)).save(file, "PNG")
    return file.getvalue()


def send(server: Server, path: str, body: bytes, **form: str) -> tuple[int, str]:
    """Status and error code of a body as it is, or of an upload: ``image`` is its name."""
    kind = "application/json"
    if form:
        kind = "multipart/form-data; boundary=x"
        name = f'image"; filename="{form.pop("image")}'
        parts = {name: body} | {name: value.encode() for name, value in form.items()}
        head = '--x\r\nContent-Disposition: form-data; name="{}"\r\n\r\n'
        texts = [head.format(name).encode() + part for name, part in parts.items()]
        body = b"\r\n".join([*texts, b"--x--\r\n"])
    request = urllib.request.Request(server.url + path, body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=30) as found:
            return found.status, ""
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["error"]["type"]


def test_uploads_are_refused_and_what_people_write_is_kept(start) -> None:
    """An upload in time, a workflow while it fits; nothing that is there is emptied for nothing."""
    refused, kept = (507, "ZI-DISK-FULL"), (200, "")
    workflow = "/userdata/workflows%2Fmine.json"
    png = noise(8)
    with start() as server:
        (server.folder / "user" / "default" / "workflows").mkdir(parents=True)
        assert send(server, "/upload/image", png, image="a.png") == kept
        assert send(server, workflow, b"[]" + bytes(3 * MIB)) == kept
        fill(server.folder / "output", leave=900 * KIB)
        wait(lambda: server.client.request("/health/ready")[0] == 503)
        for path in ("/upload/image", "/api/upload/image"):
            assert send(server, path, png, image="b.png") == refused
        assert send(server, workflow, b"[1]" + bytes(2 * MIB)) == refused
        assert send(server, workflow, b'{"mine": 1}') == kept
        assert send(server, "/settings", b'{"mine": 1}') == kept
        assert send(server, "/upload/image", b"", image="b.png") == refused
        fill(server.folder / "output", 0, "rest")
        fill(server.folder / "output", 0, "last")
        for path in (workflow, "/settings", "/settings/mine", "/users"):
            assert send(server, path, b'{"mine": 2}') == refused
        assert answer(server, "/settings") == (200, {"mine": 1})
        assert answer(server, workflow) == (200, {"mine": 1})
        assert not (server.folder / "input" / "b.png").exists()


def test_a_disk_that_fills_up_under_an_upload(start) -> None:
    """What the host cannot write is no error of the server."""
    mask = BytesIO()
    Image.new("RGBA", (800, 800)).save(mask, "PNG")
    with start(ZIMAGE_DISK_PERCENT="100") as server:
        assert send(server, "/upload/image", noise(800), image="a.png") == (200, "")
        form = {"original_ref": '{"filename": "a.png", "type": "input"}', "image": "b.png"}
        fill(server.folder / "output", leave=300 * KIB)  # the picture with its mask takes more
        assert send(server, "/upload/mask", mask.getvalue(), **form) == (507, "ZI-DISK-FULL")
        assert server.client.request("/health/live")[0] == 200


def test_a_disk_that_fills_up_and_empties(start) -> None:
    """New prompts are 507, everything else answers, old files go, an alert is sent; and back."""
    with webhook() as (url, events), start(ZIMAGE_ALERT_URL=url, ZIMAGE_KEEP_DAYS="7") as server:
        run = server.client.run(pictures(64, 1))
        (named,) = run.images
        output = server.folder / "output"
        (output / "old.png").touch()
        (output / "young.png").touch()
        for name in ("old.png", f"x/{named['filename']}"):
            os.utime(output / name, (time.time() - MONTH,) * 2)
        ballast = fill(output, leave=600 * KIB)
        wait(lambda: server.client.request("/health/ready")[0] == 503)
        assert answer(server, "/health/ready")[1]["reasons"] == ["disk"]
        assert code(server) == (507, "ZI-DISK-FULL")
        assert server.client.request("/health/live")[0] == 200
        for path in ("/queue", f"/history/{run.prompt_id}", "/system_stats", "/object_info"):
            assert server.client.request(path)[0] == 200, path
        assert server.client.view(named)
        found = answer(server, "/health")[1]
        assert found["patches"]["disk"]["status"] == "active"
        assert found["patches"]["disk"]["percent"]["output"] > 90
        wait(lambda: not (output / "old.png").exists())
        assert (output / "young.png").exists()
        ballast.unlink()
        wait(lambda: server.client.request("/health/ready")[0] == 200)
        assert code(server) == (200, "")
        wait(lambda: len(events) == 2)
        assert [event["event"] for event in events] == ["ZI-DISK-FULL", "ZI-DISK-ROOM"]
    log = server.log.read_text(encoding="utf-8")
    assert log.count("[ZI-DISK-FULL]") == 1
    assert "1 old files deleted" in log


def test_the_bare_host_loses_sight_of_what_it_has_saved(start) -> None:
    """A disk is full in the middle of a batch: files lie there that no history names."""
    with start(ZIMAGE_OFF=",".join(NAMES)) as server:
        output = server.folder / "output"
        first = server.client.run(pictures(2048, 1))
        size = (output / "x" / first.images[0]["filename"]).stat().st_size
        fill(output, leave=3 * size + size // 2)
        broken = server.client.run(pictures(2048, 8, seed=1))
        assert "No space left" in broken.error["exception_message"]
        assert broken.images == []
        assert len(list((output / "x").iterdir())) > len(first.images)


def test_not_one_byte_left(start) -> None:
    """Accepted prompts have one end each, refused ones none; what was saved is in the history."""
    with start(ZIMAGE_DISK_PERCENT="100") as server:
        output = server.folder / "output"
        first = server.client.run(pictures(4096, 1))
        size = (output / "x" / first.images[0]["filename"]).stat().st_size
        ballast = fill(output, leave=3 * size + size // 2)  # the queue wants 64 KiB of it
        broken = server.client.run(pictures(4096, 6, seed=1))
        assert "No space left" in broken.error["exception_message"]
        saved = {path.name for path in (output / "x").iterdir()}
        listed = {image["filename"] for image in (*first.images, *broken.images)}
        assert listed == saved
        assert len(broken.images) >= 1
        assert all(server.client.view(image) for image in broken.images)
        rest = fill(output, 0, "rest")
        assert code(server, MIB) == (507, "ZI-QUEUE-FILE")
        assert set(answer(server, "/history")[1]) == {first.prompt_id, broken.prompt_id}
        assert answer(server, "/queue")[1] == {"queue_running": [], "queue_pending": []}
        ballast.unlink()
        rest.unlink()
        last = server.client.run(pictures(64, 1, seed=2))
        assert last.succeeded
    with start() as server:
        history = answer(server, "/history")[1]
        assert set(history) == {first.prompt_id, broken.prompt_id, last.prompt_id}
        assert history[broken.prompt_id]["outputs"] == broken.history["outputs"]
