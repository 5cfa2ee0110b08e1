"""What ends the bare host is one failed prompt on the hardened one; nothing accepted is lost.

Each weak point is first shown with its hardening switched off.
"""

from __future__ import annotations

import asyncio
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from zimage_comfyui.cli.server import Server
from zimage_comfyui.patches.base.registry import NAMES
from zimage_comfyui.tests.fakes.waiting import wait
from zimage_comfyui.tests.integration.troubled import core_log, ended, graph, health

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(start, tmp_path_factory) -> Iterator[Server]:
    """A hardened server."""
    with start(tmp_path_factory.mktemp("hardened")) as running:
        yield running


@pytest.fixture(scope="module")
def bare(start, tmp_path_factory) -> Iterator[Callable[[], Server]]:
    """Fresh servers without hardening, stopped at the end."""
    opened: list[Server] = []

    def fresh() -> Server:
        opened.append(start(tmp_path_factory.mktemp("bare"), ",".join(NAMES)))
        opened[-1].start()
        return opened[-1]

    yield fresh
    for one in opened:
        one.stop()


def test_every_part_is_active(server) -> None:
    """``/health`` has the published keys and says so."""
    found = server.client.get("/health")
    assert found["status"] == "ok"
    expected = dict.fromkeys(NAMES, "active") | {"guarded": "off"}  # there is no guardian
    assert {name: part["status"] for name, part in found["patches"].items()} == expected
    assert found["uptime_seconds"] > 0
    assert found["gpu_memory_used_mb"] >= 0
    assert found["pending_tasks"] == 0
    assert isinstance(found["models_loaded"], list)
    assert server.client.get("/health/live") == {"status": "ok"}
    assert server.client.get("/api/health/ready") == {"status": "ok", "reasons": []}


def test_the_bare_host_loses_its_worker(bare) -> None:
    """One ``sys.exit`` in a node, and nothing runs again while ``/prompt`` answers 200."""
    server = bare()
    assert server.client.submit(graph("exit"))[0] == 200
    wait(lambda: health(server)["reasons"] == ["worker"])
    assert server.client.request("/health/ready")[0] == 503
    assert server.client.submit(graph("none"))[0] == 200
    assert {part["status"] for part in health(server)["patches"].values()} == {"off"}


@pytest.mark.parametrize("node", ["Trouble", "AsyncTrouble"])
def test_a_node_that_exits_fails_alone(server, node: str) -> None:
    """It fails at that node, with a code, and the next prompt runs."""
    entry = server.client.run(graph("exit", node))
    code = "ZI-NODE-EXIT" if node == "Trouble" else "ZI-WORKER"  # asyncio lets the latter through
    assert f"[{code}]" in entry.error["exception_message"]
    assert server.client.run(graph("none")).succeeded


def test_the_bare_host_dies_of_an_object_in_ui(bare) -> None:
    """With a WebSocket open, which every page has."""
    server = bare()
    client = server.client

    async def submit() -> None:
        url = f"{server.url}/ws?clientId={client.client_id}"
        async with aiohttp.ClientSession() as session, session.ws_connect(url):
            await asyncio.to_thread(client.submit, graph("object in ui"))
            await asyncio.to_thread(server.process.wait, 120)

    asyncio.run(submit())
    assert server.process.returncode is not None


def test_an_object_in_ui_fails_its_node(server) -> None:
    """The server, its history and the next prompt are unharmed."""
    done = server.client.run(graph("object in ui"))
    assert "[ZI-NODE-UI]" in done.error["exception_message"]
    assert server.client.run(graph("none")).succeeded
    assert server.client.get("/history")


async def stall(server: Server, then: Callable[[], Any]) -> Any:
    """Another client's work while one client got a large event and does not read it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(
        b"GET /ws?clientId=stalled HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    body = {"prompt": graph("large ui"), "client_id": "stalled", "prompt_id": os.urandom(8).hex()}
    await asyncio.to_thread(server.client.request, "/prompt", body)
    await asyncio.to_thread(ended, server, body["prompt_id"])
    try:
        return await then()
    finally:
        writer.transport.abort()


def test_the_bare_host_waits_for_a_client_that_does_not_read(bare) -> None:
    """Nobody else hears of anything."""
    server = bare()

    async def first_event() -> bool:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{server.url}/ws?clientId=other") as socket,
        ):
            await socket.receive_json()  # status, which the handler sends by itself
            body = {"prompt": graph("none"), "client_id": "other", "prompt_id": "other"}
            await asyncio.to_thread(server.client.request, "/prompt", body)
            await asyncio.to_thread(ended, server, "other")  # done; all its events were made
            try:
                await asyncio.wait_for(socket.receive(), 1)
            except TimeoutError:
                return False
            return True

    assert asyncio.run(stall(server, first_event)) is False


def test_a_client_that_does_not_read_stalls_nobody(server) -> None:
    """Other clients get all their events meanwhile."""

    async def run() -> bool:
        return (await asyncio.to_thread(server.client.run, graph("none"))).succeeded

    assert asyncio.run(stall(server, run))


def interrupted(server: Server, seconds: float) -> str:
    """A prompt whose node does not look at the interrupt that it got while it ran."""
    id = server.client.submit(graph("sleep", seconds=seconds))[1]["prompt_id"]
    wait(lambda: server.client.get("/queue")["queue_running"])
    assert server.client.request("/interrupt", {"prompt_id": id})[0] == 200
    return id


def test_the_bare_host_cannot_interrupt_a_node_that_blocks(bare) -> None:
    """It runs as long as it likes, and has succeeded then; what waits waits for it."""
    server = bare()
    id = interrupted(server, 4.0)
    after = server.client.submit(graph("none"))[1]["prompt_id"]
    assert ended(server, id)["status"]["completed"]
    assert ended(server, after)["status"]["completed"]
    assert list(server.client.get("/history")) == [id, after]


def test_a_node_that_blocks_is_told_without_a_guardian(start, tmp_path: Path, monkeypatch) -> None:
    """In health while it does, and in the log; nothing else could be done."""
    monkeypatch.setenv("ZIMAGE_INTERRUPT", "0.1")
    with start(tmp_path) as server:
        id = interrupted(server, 4.0)
        wait(lambda: health(server)["reasons"] == ["interrupt"])
        assert ended(server, id)["status"]["completed"]
        wait(lambda: server.client.get("/health/ready")["status"] == "ok")
        assert server.log.read_text(encoding="utf-8").count("[ZI-INTERRUPT]") == 1


BAD = {
    "no JSON": (b"{", "ZI-REQUEST"),
    "bad UTF-8": (b'{"prompt": "\xff"}', "ZI-REQUEST"),
    "deep": (b"[" * 100_000, "ZI-REQUEST"),
    "deep but closed": (b'{"prompt": ' + b"[" * 500 + b"]" * 500 + b"}", "ZI-REQUEST"),
    "a list": (b"[1]", "ZI-REQUEST"),
    "prompt is a list": (b'{"prompt": [1]}', "ZI-REQUEST"),
    "node is a list": (b'{"prompt": {"1": []}}', "ZI-REQUEST"),
    "inputs is a list": (b'{"prompt": {"1": {"class_type": "A", "inputs": []}}}', "ZI-REQUEST"),
    "class is a number": (b'{"prompt": {"1": {"class_type": 5}}}', "ZI-REQUEST"),
    "number is text": (b'{"prompt": {}, "number": "x"}', "ZI-REQUEST"),
    "number is NaN": (b'{"prompt": {}, "number": NaN}', "ZI-REQUEST"),
    "id is a list": (b'{"prompt": {}, "prompt_id": []}', "ZI-REQUEST"),
    "client is an object": (b'{"prompt": {}, "client_id": {}}', "ZI-REQUEST"),
    "extra data is a list": (b'{"prompt": {}, "extra_data": []}', "ZI-REQUEST"),
    "targets is text": (b'{"prompt": {}, "partial_execution_targets": 5}', "ZI-REQUEST"),
    "broken text": (
        json.dumps({"prompt": graph("none", note="a\ufffd")}).encode(), "ZI-REQUEST-TEXT",
    ),
    "far too many pictures": (
        json.dumps({"prompt": {"1": {"class_type": "EmptyImage", "inputs": {
            "width": 16384, "height": 16384, "batch_size": 4096, "color": 0}},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}}).encode(),
        "ZI-REQUEST-WORK",
    ),
    "far too much work": (
        json.dumps({"prompt": {"1": {"class_type": "EmptyLatentImage", "inputs": {
            "width": 2048, "height": 2048, "batch_size": 64}}} | {n: {"class_type": "KSampler",
            "inputs": {"latent_image": ["1", 0], "steps": 200}} for n in "23"}}).encode(),
        "ZI-REQUEST-WORK",
    ),
}  # fmt: skip


def test_the_bare_host_takes_what_it_should_not(bare) -> None:
    """Malformed prompts and an id that comes twice are its own failure, 500; 13 TB of pictures
    are accepted."""
    server = bare()
    for name in ("no JSON", "bad UTF-8", "deep", "prompt is a list"):
        assert status_of(server, BAD[name][0]) == 500, name
    server.client.submit(graph("sleep", seconds=60.0))
    wait(lambda: server.client.get("/queue")["queue_running"])
    twice = json.dumps({"prompt": graph("none"), "prompt_id": "twice", "number": 5}).encode()
    assert [status_of(server, twice) for _ in range(2)] == [200, 500]
    assert status_of(server, BAD["far too many pictures"][0]) == 200
    assert server.client.request("/queue", {"clear": True})[0] == 200  # nobody has that memory


def status_of(server: Server, body: bytes) -> int:
    """Of ``POST /prompt``; the bare host's failures are no JSON."""
    request = urllib.request.Request(server.url + "/prompt", body)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("path", ["/prompt", "/api/prompt"])
@pytest.mark.parametrize(("body", "code"), BAD.values(), ids=BAD)
def test_bad_requests_get_a_code(server, body: bytes, code: str, path: str) -> None:
    """400, never 500; first in the caller's language."""
    for language, chinese in (("zh-CN,zh;q=0.9,en;q=0.5", True), ("en", False)):
        status, answer = post(server, path, body, {"Accept-Language": language})
        assert (status, answer["error"]["type"]) == (400, code)
        first = any("\u4e00" <= character <= "\u9fff" for character in answer["error"]["message"])
        assert first is chinese
        if code == "ZI-REQUEST-TEXT":  # as the host tells it, so that the page marks the node
            ((node, told),) = answer["node_errors"].items()
            assert told["class_type"] == json.loads(body)["prompt"][node]["class_type"]


def post(server: Server, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    """Status and JSON of a POST of raw bytes."""
    request = urllib.request.Request(server.url + path, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.mark.parametrize("path", ["/queue", "/history", "/interrupt", "/free"])
def test_other_requests_get_a_code_too(server, path: str) -> None:
    """What is no JSON object is 400 there as well."""
    assert post(server, path, b"[1", {})[0] == 400


@pytest.mark.parametrize("path", ["/prompt", "/api/queue", "/interrupt"])
def test_another_method_gets_a_code(server, path: str) -> None:
    """405, with what the address takes; elsewhere the host answers as it does."""
    for where, coded in ((path, True), ("/upload/image", False)):
        request = urllib.request.Request(server.url + where, b"{}", method="PUT")
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(request, timeout=60)
        with raised.value as answer:
            assert answer.code == 405
            assert "POST" in answer.headers["Allow"].split(", " if coded else ",")
            body = answer.read()
            assert (b"ZI-REQUEST-METHOD" in body) is coded


def test_a_form_of_another_page_is_refused(server) -> None:
    """A browser sends such without asking first; programs that give no type still work."""
    headers = {"Content-Type": "text/plain", "Origin": f"http://127.0.0.1:{server.port}"}
    body = json.dumps({"prompt": graph("none")}).encode()
    assert post(server, "/prompt", body, headers)[0] == 415
    assert post(server, "/prompt", body, {"Content-Type": "text/plain"})[0] == 200


def test_large_sizes_are_clamped(server) -> None:
    """The answer and the history say so."""
    prompt = {
        "1": {"class_type": "EmptyLatentImage",
              "inputs": {"width": 8192, "height": 64, "batch_size": 1}},
        "2": {"class_type": "SaveLatent", "inputs": {"samples": ["1", 0], "filename_prefix": "x"}},
    }  # fmt: skip
    status, answer = server.client.submit(prompt)
    changed = [{"node": "1", "input": "width", "from": 8192, "to": 4096}]
    assert (status, answer["zimage"]) == (200, {"clamped": changed})
    entry = ended(server, answer["prompt_id"])
    assert entry["prompt"][2]["1"]["inputs"]["width"] == 4096
    assert entry["prompt"][3]["zimage_clamped"] == changed


def test_an_id_is_accepted_once(server) -> None:
    """While its prompt waits or runs, the same id is 409."""
    body = {"prompt": graph("sleep", seconds=1.0), "prompt_id": "twice", "number": 5}
    assert server.client.request("/prompt", body)[0] == 200
    status, answer = server.client.request("/prompt", body)
    assert (status, json.loads(answer)["error"]["type"]) == (409, "ZI-PROMPT-TWICE")
    ended(server, "twice")


def test_refusals_are_logged(server) -> None:
    """One JSON line each, with time, id, trigger and action."""
    headers = {"X-Request-Id": "request-7"}
    post(server, "/prompt", b"[1]", headers)
    text = (server.folder / "user" / "__zimage" / "fuse.jsonl").read_text(encoding="utf-8")
    line = [json.loads(line) for line in text.splitlines()][-1]
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "request_id": "request-7", "path": "/prompt", "trigger": "ZI-REQUEST", "action": "refused",
    }  # fmt: skip


def test_prompts_that_ended_are_logged(server, start, tmp_path: Path) -> None:
    """One JSON line each, with the durable queue and with the host's own; no GPU, no CSV."""
    with start(tmp_path, off="queue") as second:
        for one in (server, second):
            failed = one.client.submit(graph("exit"))[1]["prompt_id"]
            ended(one, failed)
            done = one.client.run(graph("none")).prompt_id
            lines = core_log(one)
            assert (lines[failed]["status"], lines[failed]["code"]) == ("error", "ZI-NODE-EXIT")
            assert (lines[done]["status"], lines[done]["model_name"]) == ("success", None)
            assert lines[done]["duration_ms"] >= 0
            gpu = one.folder / "user" / "__zimage" / "logs" / "gpu.csv"
            assert health(one)["gpu_memory_used_mb"] or not gpu.exists()


def test_metrics_are_told(server) -> None:
    """As Prometheus reads them: a prompt and a refusal more are one more."""

    def read() -> dict[str, float]:
        with urllib.request.urlopen(server.url + "/metrics", timeout=60) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            lines = answer.read().decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    names = ('zimage_prompts_total{status="success"}', "zimage_prompt_seconds_count",
             'zimage_refusals_total{code="ZI-REQUEST"}')  # fmt: skip
    before = read()
    assert server.client.run(graph("none")).succeeded
    post(server, "/prompt", b"[1]", {})
    after = read()
    assert [after[name] - before.get(name, 0) for name in names] == [1, 1, 1]
    assert (after["zimage_up"], after['zimage_patch_active{part="queue"}']) == (1, 1)
