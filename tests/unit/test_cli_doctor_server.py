"""``doctor`` and a server that runs: ours, somebody's, or none."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from zimage_comfyui.cli import validate
from zimage_comfyui.cli.client import with_scheme
from zimage_comfyui.cli.doctor_server import report
from zimage_comfyui.cli.server import free_port

Serve = Callable[[int, bytes], str]
ACTIVE = {"status": "active"}
SEAM = {"status": "refused", "code": "ZI-PATCH-SEAM", "zh": "不合", "en": "does not fit"}


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server that answers every request alike; gives its URL."""
    running: list[ThreadingHTTPServer] = []

    def start(status: int, body: bytes) -> str:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def answer(**more: Any) -> bytes:
    """As ``/health`` gives it."""
    found = {"status": "ok", "reasons": [], "patches": {"queue": ACTIVE, "sockets": ACTIVE}}
    return json.dumps(found | more).encode()


def test_no_server_is_no_problem() -> None:
    """Most of the time none runs."""
    url = f"http://127.0.0.1:{free_port()}"
    assert report(url) == {"url": url, "running": False, "problems": []}


@pytest.mark.parametrize(("written", "meant"), [
    ("127.0.0.1:8188", "http://127.0.0.1:8188"), ("[::1]:8188", "http://[::1]:8188"),
    ("my-host.lan:80/object_info", "http://my-host.lan:80/object_info"),
    ("https://a:1", "https://a:1"), ("info.json", "info.json"), ("C:\\a", "C:\\a"),
    ("./a:8188", "./a:8188"), ("名:8188", "名:8188"),
])  # fmt: skip
def test_addresses_as_people_write_them(written: str, meant: str) -> None:
    """A host and a port; files and whole addresses stay as they are."""
    assert with_scheme(written) == meant


def test_an_address_without_http_is_one(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For ``doctor --server`` and for ``--object-info``, where a file of that name goes first."""
    info = json.dumps({"Known": {"input": {}}}).encode()
    address = serve(200, info).removeprefix("http://")
    assert report(address)["running"]
    assert list(validate._knowledge(address).names()) == ["Known"]
    monkeypatch.chdir(tmp_path)
    Path(address).write_bytes(info.replace(b"Known", b"File"))
    assert list(validate._knowledge(address).names()) == ["File"]


def test_every_part_is_told(serve: Serve) -> None:
    """A part that does not fit says what was found."""
    url = serve(200, answer(patches={"queue": ACTIVE, "sockets": SEAM}))
    found = report(url)
    assert (found["running"], found["status"]) == (True, "ok")
    assert found["patches"] == {"queue": "active", "sockets": "refused"}
    told = {"level": "note", "code": "ZI-PATCH-SEAM", "zh": "不合", "en": "does not fit"}
    assert found["problems"] == [told]


def test_a_server_that_would_not_run_a_prompt_says_why(serve: Serve) -> None:
    """503 with reasons."""
    url = serve(503, answer(status="unavailable", reasons=["disk: 95 %"]))
    found = report(url)
    assert found["status"] == "unavailable"
    assert [one["code"] for one in found["problems"]] == ["ZI-SERVER-UNREADY"]
    assert "disk: 95 %" in found["problems"][0]["en"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"404: Not Found"), (200, b"<html>"), (200, b"[1]"), (200, b"\xff"),
        (200, b'{"status": "ok", "reasons": [], "patches": ["queue"]}'),
        (200, b'{"status": "ok", "reasons": 1, "patches": {}}'),
        (200, b'{"status": "ok", "reasons": [], "patches": {"a": {"status": "x", "code": "y"}}}'),
    ],
)  # fmt: skip
def test_somebody_else_s_server_is_told_apart(serve: Serve, status: int, body: bytes) -> None:
    """Whatever it answers."""
    found = report(serve(status, body))
    assert [one["code"] for one in found["problems"]] == ["ZI-SERVER-FOREIGN"]
    assert "patches" not in found


@pytest.mark.parametrize("url", ["nonsense", "http://[", "file:///etc/passwd"])
def test_an_address_that_is_none(url: str) -> None:
    """Nothing runs there."""
    assert not report(url)["running"]
