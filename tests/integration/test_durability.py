"""Processes that are killed, end in order or come twice: nothing that was accepted is lost."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
from pathlib import Path

import pytest

from zimage_comfyui.cli.server import Server
from zimage_comfyui.cli.terminal import Stop
from zimage_comfyui.patches.base.registry import NAMES
from zimage_comfyui.tests.fakes.small_disk import fill, small_disk
from zimage_comfyui.tests.fakes.waiting import wait
from zimage_comfyui.tests.integration.troubled import core_log, ended, graph, health, message

pytestmark = pytest.mark.slow


def test_the_bare_host_forgets(start, tmp_path: Path) -> None:
    """SIGTERM ends it in the middle of a prompt, SIGKILL as well; then it knows of nothing."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with start(tmp_path, ",".join(NAMES)) as server:
            assert server.client.get("/history") == {}
            assert server.client.get("/queue") == {"queue_running": [], "queue_pending": []}
            assert server.client.run(graph("none")).succeeded
            server.client.submit(graph("sleep", seconds=3600.0))
            server.client.submit(graph("none"))
            wait(lambda server=server: health(server)["queue"]["running"])
            server.process.send_signal(number)
            assert server.process.wait(60) == -number
    with start(tmp_path, ",".join(NAMES)) as server:
        assert server.client.get("/history") == {}
        assert server.client.get("/queue") == {"queue_running": [], "queue_pending": []}


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
        assert core_log(server)[deadly]["code"] == "ZI-PROMPT-DEADLY"
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


def test_two_servers_on_one_folder(start, tmp_path: Path) -> None:
    """The second takes no prompts, says so, and takes over when the first has gone."""
    first, second = start(tmp_path), start(tmp_path)
    second.log = tmp_path / "second.log"
    with first, second:
        found = health(second)
        assert (found["status"], found["reasons"]) == ("unavailable", ["queue"])
        part = found["patches"]["queue"]
        assert (part["status"], part["code"]) == ("refused", "ZI-QUEUE-TAKEN")
        assert str(first.process.pid) in part["zh"]
        assert str(tmp_path) in part["en"]
        assert ready(second) == (503, ["queue"])
        for path in ("/queue", "/history", "/object_info", "/"):
            assert second.client.request(path)[0] == 200
        assert submit(second, "refused") == (503, "ZI-QUEUE-TAKEN")
        done = first.client.run(graph("none")).prompt_id
        assert submit(first, "running", "sleep", seconds=20.0) == (200, "")
        wait(lambda: health(first)["queue"]["running"])
        assert submit(first, "waiting") == (200, "")
        first.process.kill()
        first.process.wait()
        wait(lambda: ready(second) == (200, []))
        wait(lambda: health(second)["queue"]["running"])  # ComfyUI ignores an earlier interrupt
        second.client.request("/interrupt", {"prompt_id": "running"})
        assert ended(second, "waiting")["status"]["completed"]
        assert set(second.client.get("/history")) == {done, "running", "waiting"}
        assert submit(second, "after") == (200, "")
        assert ended(second, "after")["status"]["completed"]
    assert second.log.read_text(encoding="utf-8").count("[ZI-QUEUE-TAKEN]") == 1


@pytest.mark.parametrize("off", ["disk", "disk,fuse"])
def test_a_server_that_starts_on_a_full_disk(start, tmp_path: Path, off: str) -> None:
    """What waits runs, what comes is refused, and with room again all is kept."""
    with small_disk(tmp_path / "disk", "size=24m") as folder:
        first, second, third = (start(folder, off) for _ in range(3))
        for server in (first, second, third):
            server.log = tmp_path / "comfyui.log"
        with first:
            done = first.client.run(graph("none")).prompt_id
            assert submit(first, "running", "sleep", seconds=1.0) == (200, "")
            for number in range(3):
                assert submit(first, f"waiting-{number}") == (200, "")
            wait(lambda: health(first)["queue"]["running"])
            assert submit(first, "running") == (409, "ZI-PROMPT-TWICE")
            first.process.kill()
            first.process.wait()
        ballast = fill(folder, leave=0)
        with second:
            for id in ("running", *(f"waiting-{number}" for number in range(3))):
                assert ended(second, id)["status"]["completed"]
            assert done in second.client.get("/history")
            assert submit(second, "refused") == (507, "ZI-QUEUE-FILE")
            assert ready(second) == (503, ["queue"])
            ballast.unlink()
            assert ready(second) == (200, [])
            assert submit(second, "after") == (200, "")
            kept = {done, "running", "after", *(f"waiting-{number}" for number in range(3))}
            wait(lambda: set(second.client.get("/history")) == kept)
            second.process.kill()
            second.process.wait()
        with third:
            assert set(third.client.get("/history")) == kept
            assert third.client.get("/queue") == {"queue_running": [], "queue_pending": []}


def test_a_queue_that_cannot_be_opened_is_opened_later(start, tmp_path: Path) -> None:
    """Prompts are refused until then; what waited there runs, and the file is as it was."""
    first, second = start(tmp_path), start(tmp_path)
    with first:
        assert submit(first, "running", "sleep", seconds=20.0) == (200, "")
        wait(lambda: health(first)["queue"]["running"])
        assert submit(first, "waiting") == (200, "")
        first.process.kill()
        first.process.wait()
    file = tmp_path / "user" / "__zimage" / "queue.sqlite"
    sqlite3.connect(file).execute("PRAGMA wal_checkpoint(TRUNCATE)")
    good = file.rename(tmp_path / "good")
    file.write_bytes(b"garbage!" * 1000)
    with second:
        assert ready(second) == (503, ["queue"])
        assert health(second)["patches"]["queue"]["code"] == "ZI-QUEUE-FILE"
        assert submit(second, "refused") == (507, "ZI-QUEUE-FILE")
        assert file.read_bytes() == b"garbage!" * 1000
        good.rename(file)
        wait(lambda: ready(second) == (200, []))
        wait(lambda: health(second)["queue"]["running"])  # ComfyUI ignores an earlier interrupt
        second.client.request("/interrupt", {"prompt_id": "running"})
        assert ended(second, "waiting")["status"]["completed"]


def submit(server: Server, id: str, kind: str = "none", **inputs: object) -> tuple[int, str]:
    """Status and error code of a prompt that is submitted."""
    body = {"prompt": graph(kind, note=id, **inputs), "prompt_id": id}
    status, found = server.client.request("/prompt", body)
    return status, json.loads(found).get("error", {}).get("type", "")


def ready(server: Server) -> tuple[int, list[str]]:
    """Status and reasons of ``/health/ready``."""
    status, found = server.client.request("/health/ready")
    return status, json.loads(found)["reasons"]
