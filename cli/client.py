"""A small client of ComfyUI's HTTP and WebSocket interface, for the command line and the tests."""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""The server is on this machine: a proxy from the environment would not reach it."""

PREVIEW_IMAGE = b"\0\0\0\1"
"""First bytes of a binary message with a picture; four bytes with its format follow."""

Event = dict[str, Any]
"""A WebSocket message: ``{"type": …, "data": {…}}``."""


@dataclass(frozen=True)
class Run:
    """A finished prompt.

    Attributes:
        prompt_id: the server's id.
        history: its entry in ``/history`` (``outputs``, ``status``, …).
        seconds: from the submission to the end.
        events: every WebSocket message about it, in order.
        previews: every preview picture, JPEG or PNG bytes, in order.
    """

    prompt_id: str
    history: dict[str, Any]
    seconds: float
    events: list[Event]
    previews: list[bytes] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Whether the server reports success."""
        return self.history.get("status", {}).get("status_str") == "success"

    @property
    def error(self) -> dict[str, Any] | None:
        """The ``execution_error`` message of a failed run, with ``exception_message``."""
        for name, data in self.history.get("status", {}).get("messages", []):
            if name == "execution_error":
                return data
        return None

    @property
    def interrupted(self) -> bool:
        """Whether the run was interrupted."""
        messages = self.history.get("status", {}).get("messages", [])
        return any(name == "execution_interrupted" for name, _ in messages)

    @property
    def images(self) -> list[dict[str, str]]:
        """Every saved image: ``{"filename", "subfolder", "type"}``, in node order."""
        outputs = self.history.get("outputs", {}).values()
        return [image for output in outputs for image in output.get("images", [])]


_ADDRESS = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}(?:/.*)?", re.ASCII)


def with_scheme(address: str) -> str:
    """Return an address like ``127.0.0.1:8188`` with ``http://``, any other unchanged."""
    return f"http://{address}" if _ADDRESS.fullmatch(address) else address


class Client:
    """Talks to one server; ``url`` has no slash at the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client_id = uuid.uuid4().hex

    def request(self, path: str, body: object = None, timeout: float = 30) -> tuple[int, bytes]:
        """GET, or POST ``body`` as JSON; return the status and the response body."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data is not None else {}
        request = urllib.request.Request(self.url + path, data, headers)  # noqa: S310 - http only
        try:
            with _OPENER.open(request, timeout=timeout) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def get(self, path: str) -> Any:
        """Get a JSON document; a status other than 200 raises ``OSError``."""
        status, body = self.request(path)
        if status != 200:
            raise OSError(f"GET {path}: {status} {body[:200]!r}")
        return json.loads(body)

    def answers(self) -> bool:
        """Return whether the server responds."""
        try:
            return self.request("/system_stats", timeout=5)[0] == 200
        except (OSError, HTTPException):
            return False

    def submit(self, graph: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Post a prompt; return the status and the response (``prompt_id`` or ``error``)."""
        status, body = self.request("/prompt", {"prompt": graph, "client_id": self.client_id})
        try:
            return status, json.loads(body)
        except ValueError as error:  # a proxy's page, or the host's own bare 500
            raise ConnectionError(f"POST /prompt: {status} {body[:200]!r}") from error

    def view(self, image: dict[str, str]) -> bytes:
        """Return the bytes of an image from :attr:`Run.images`."""
        status, body = self.request("/view?" + urllib.parse.urlencode(image))
        if status != 200:
            raise OSError(f"GET /view {image}: {status}")
        return body

    def run(
        self,
        graph: dict[str, Any],
        timeout: float = 600,
        on_event: Callable[[Event], None] | None = None,
    ) -> Run:
        """Submit a graph and wait for its end, failed or not.

        Raises:
            RefusedError: the server did not accept the graph.
            TimeoutError: the graph did not end within ``timeout`` seconds.
        """
        return asyncio.run(asyncio.wait_for(self._run(graph, on_event), timeout))

    async def _run(self, graph: dict[str, Any], on_event: Callable[[Event], None] | None) -> Run:
        import aiohttp

        events: list[Event] = []
        previews: list[bytes] = []
        address = f"{self.url}/ws?clientId={self.client_id}"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(address, max_msg_size=0) as socket,
        ):
            start = time.monotonic()
            status, answer = await asyncio.to_thread(self.submit, graph)
            if status != 200:
                raise RefusedError(status, answer)
            prompt_id = answer["prompt_id"]
            async for message in socket:
                if message.type == aiohttp.WSMsgType.BINARY:
                    if message.data[:4] == PREVIEW_IMAGE:
                        previews.append(message.data[8:])
                    continue
                if message.type != aiohttp.WSMsgType.TEXT:
                    raise ConnectionError(str(message.data))
                event = json.loads(message.data)
                if event.get("data", {}).get("prompt_id") != prompt_id:
                    continue
                events.append(event)
                if on_event:
                    on_event(event)
                if _ends(event):
                    break
            seconds = time.monotonic() - start
        history = await asyncio.to_thread(self.get, f"/history/{prompt_id}")
        return Run(prompt_id, history.get(prompt_id, {}), seconds, events, previews)


def _ends(event: Event) -> bool:
    # "executing" with no node comes last, after the history entry has been written.
    return event["type"] == "executing" and event["data"].get("node") is None


class RefusedError(Exception):
    """An error response of ``POST /prompt``.

    Attributes:
        status: the HTTP status.
        answer: the JSON response: ``{"error": …, "node_errors": …}``.
    """

    def __init__(self, status: int, answer: dict[str, Any]) -> None:
        super().__init__(f"{status}: {json.dumps(answer, ensure_ascii=False)[:500]}")
        self.status = status
        self.answer = answer
