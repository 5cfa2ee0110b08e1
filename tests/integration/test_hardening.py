"""What ends the bare host is one failed prompt on the hardened one; nothing accepted is lost.

Each weak point is first shown with its hardening switched off.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from zimage_comfyui.cli.server import Server, write_paths
from zimage_comfyui.cli.terminal import Stop
from zimage_comfyui.drill import nodes as trouble_nodes
from zimage_comfyui.patches.registry import NAMES
from zimage_comfyui.tests.fakes.waiting import wait

pytestmark = pytest.mark.slow


def graph(kind: str, node: str = "Trouble", **inputs: object) -> dict[str, Any]:
    """A prompt of one node that makes trouble."""
    return {"1": {"class_type": node, "inputs": {"kind": kind, **inputs}}}


@pytest.fixture(scope="module")
def start(host, pack_dir: Path, tmp_path_factory) -> Callable[..., Server]:
    """Starts a ComfyUI with the troublesome pack; ``off`` names hardening to leave out."""
    packs = tmp_path_factory.mktemp("packs")
    shutil.copy(trouble_nodes.__file__, packs / "trouble.py")
    write_paths(packs / "paths.yaml", {"custom_nodes": str(packs)})
    arguments = ("--extra-model-paths-config", str(packs / "paths.yaml"))

    def make(folder: Path, off: str = "") -> Server:
        env = {**os.environ, "ZIMAGE_OFF": off}
        return Server(host, pack_dir, folder, arguments, env=env)

    return make


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


def ended(server: Server, id: str) -> dict[str, Any]:
    """The history entry of a prompt, once there is one."""
    return wait(lambda: server.client.get(f"/history/{id}"))[id]


def message(entry: dict[str, Any]) -> str:
    """Why a prompt failed."""
    assert entry["status"]["status_str"] == "error"
    return dict(entry["status"]["messages"])["execution_error"]["exception_message"]


def health(server: Server) -> dict[str, Any]:
    """``/health``, whatever its status."""
    return json.loads(server.client.request("/health")[1])


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
            "width": 16384, "height": 16384, "batch_size": 4096, "color": 0}}}}).encode(),
        "ZI-REQUEST-WORK",
    ),
}  # fmt: skip


@pytest.mark.parametrize("path", ["/prompt", "/api/prompt"])
@pytest.mark.parametrize(("body", "code"), BAD.values(), ids=BAD)
def test_bad_requests_get_a_code(server, body: bytes, code: str, path: str) -> None:
    """400, never 500; first in the caller's language."""
    for language, chinese in (("zh-CN,zh;q=0.9,en;q=0.5", True), ("en", False)):
        status, answer = post(server, path, body, {"Accept-Language": language})
        assert (status, answer["error"]["type"]) == (400, code)
        first = any("\u4e00" <= character <= "\u9fff" for character in answer["error"]["message"])
        assert first is chinese


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
            logs = one.folder / "user" / "__zimage" / "logs"
            text = (logs / "core.jsonl").read_text(encoding="utf-8")
            lines = {line["request_id"]: line for line in map(json.loads, text.splitlines())}
            assert len(lines) == len(text.splitlines())
            assert (lines[failed]["status"], lines[failed]["code"]) == ("error", "ZI-NODE-EXIT")
            assert (lines[done]["status"], lines[done]["model_name"]) == ("success", None)
            assert lines[done]["duration_ms"] >= 0
            assert health(one)["gpu_memory_used_mb"] or not (logs / "gpu.csv").exists()


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


def test_nothing_is_lost_when_the_process_is_killed(start, tmp_path: Path) -> None:
    """Waiting prompts keep their order, the running one runs again, history stays."""
    first = start(tmp_path)
    with first as server:
        done = server.client.run(graph("none", note="before")).prompt_id
        running = server.client.submit(graph("sleep", seconds=20.0))[1]["prompt_id"]
        wait(lambda: health(server)["queue"]["running"])
        waiting = [
            server.client.submit(graph("none", note=str(number)))[1]["prompt_id"]
            for number in range(5)
        ]
        front = {"prompt": graph("none", note="front"), "front": True}
        urgent = json.loads(server.client.request("/prompt", front)[1])["prompt_id"]
        secret = {"prompt": graph("none"), "extra_data": {"api_key_comfy_org": "s3cr3t-k3y"}}
        server.client.request("/prompt", secret)
        server.client.request("/queue", {"delete": [waiting.pop(2)]})
        server.process.kill()
        server.process.wait()
    files = [path for path in (tmp_path / "user" / "__zimage").rglob("*") if path.is_file()]
    stored = b"".join(path.read_bytes() for path in files)
    assert b"s3cr3t-k3y" not in stored
    with start(tmp_path) as server:
        wait(lambda: health(server)["queue"]["running"])
        queue = server.client.get("/queue")
        assert {item[1] for item in queue["queue_running"]} <= {running, urgent}
        server.client.request("/interrupt", {"prompt_id": running})
        for id in (urgent, *waiting):
            assert ended(server, id)["status"]["completed"]
        history = server.client.get("/history")
        assert history[done]["outputs"]["1"]["text"] == ["none", "before"]
        order = [id for id in history if id in {urgent, *waiting}]
        assert order == [urgent, *waiting]


def test_a_deadly_prompt_is_run_twice_and_no_more(start, tmp_path: Path) -> None:
    """Then it has failed, with a code, and what waited behind it runs."""
    with start(tmp_path) as server:
        first = server.client.submit(graph("sleep", seconds=2.0))[1]["prompt_id"]
        deadly = server.client.submit(graph("die"))[1]["prompt_id"]
        after = server.client.submit(graph("none"))[1]["prompt_id"]
        server.process.wait(120)
    second = start(tmp_path)
    with contextlib.suppress(Stop):  # it may die before it has answered
        second.start()
    assert second.process.wait(120) == -signal.SIGKILL
    with start(tmp_path) as server:
        assert "[ZI-PROMPT-DEADLY]" in message(ended(server, deadly))
        assert ended(server, after)["status"]["completed"]
        assert ended(server, first)["status"]["completed"]


def test_an_orderly_end_is_no_death(start, tmp_path: Path) -> None:
    """SIGTERM as often as you like: the running prompt waits for the next server."""
    id = None
    for _ in range(3):
        with start(tmp_path) as server:
            body = {"prompt": graph("sleep", seconds=20.0), "prompt_id": "long"}
            if id is None:
                id = json.loads(server.client.request("/prompt", body)[1])["prompt_id"]
            wait(lambda server=server: health(server)["queue"]["running"])
            assert server.client.get("/queue")["queue_running"][0][1] == id
            assert server.client.get("/history") == {}
            server.process.terminate()
            assert server.process.wait(60) == -signal.SIGTERM


def test_two_servers_on_one_folder(start, server) -> None:
    """The second says that the queue is taken, and works without it."""
    second = start(server.folder)
    second.log = server.folder / "second.log"
    with second:
        part = health(second)["patches"]["queue"]
        assert (part["status"], part["code"]) == ("refused", "ZI-QUEUE-TAKEN")
        assert second.client.run(graph("none")).succeeded
    assert server.client.run(graph("none")).succeeded
