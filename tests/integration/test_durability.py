"""Processes that are killed, end in order or come twice: nothing that was accepted is lost."""

from __future__ import annotations

import contextlib
import json
import signal
from pathlib import Path

import pytest

from zimage_comfyui.cli.terminal import Stop
from zimage_comfyui.tests.fakes.waiting import wait
from zimage_comfyui.tests.integration.troubled import core_log, ended, graph, health, message

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(start, tmp_path_factory):
    """A hardened server."""
    with start(tmp_path_factory.mktemp("hardened")) as running:
        yield running


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


def test_two_servers_on_one_folder(start, server) -> None:
    """The second says that the queue is taken, and works without it."""
    second = start(server.folder)
    second.log = server.folder / "second.log"
    with second:
        part = health(second)["patches"]["queue"]
        assert (part["status"], part["code"]) == ("refused", "ZI-QUEUE-TAKEN")
        assert second.client.run(graph("none")).succeeded
    assert server.client.run(graph("none")).succeeded
