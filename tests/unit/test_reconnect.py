"""What a client was not sent is sent when it comes back, once, and never without bounds."""

from __future__ import annotations

import asyncio
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base.hooks import Patch
from zimage_comfyui.patches.requests import reconnect
from zimage_comfyui.patches.requests.reconnect import PendingEvents

NOW = 1_000_000.0


class Server:
    """A host's server: sends to whoever is connected, and forgets."""

    def __init__(self) -> None:
        self.prompt_queue = SimpleNamespace(mutex=threading.RLock(), history={})
        self.sockets: dict[str, Any] = {}
        self.sent: list[tuple[str, Any]] = []

    async def send(self, event, data, sid=None):
        if sid in self.sockets:
            self.sent.append((event, data))

    def connect(self, sid: str = "c") -> list[tuple[str, Any]]:
        """What a client is sent when it connects."""
        self.sockets[sid] = SimpleNamespace(closed=False)
        self.sent = []
        asyncio.run(self.send("status", {"status": {}, "sid": sid}, sid))
        return self.sent[1:]

    def run(self, id: str, sid: str = "c", *, back_after: str = "") -> list[tuple[str, Any]]:
        """A prompt that ends; its client is back after one of its events."""
        self.sent = []
        for event, data in outcome(id):
            if event == "executing":
                self.prompt_queue.history[id] = entry(id, sid)
            asyncio.run(self.send(event, data, sid))
            if event == back_after:
                self.sockets[sid] = SimpleNamespace(closed=False)
                asyncio.run(self.send("status", {"sid": sid}, sid))
        return self.sent


def entry(id: str, sid: str | None = "c", ended: float = NOW) -> dict[str, Any]:
    """A prompt in the history."""
    success = ["execution_success", {"prompt_id": id, "timestamp": int(ended * 1000)}]
    return {
        "prompt": (0, id, {}, {} if sid is None else {"client_id": sid}, ["5"]),
        "outputs": {"5": {"images": [id]}},
        "meta": {"5": {"display_node": "4"}},
        "status": {"status_str": "success", "completed": True, "messages": [
            ["execution_start", {"prompt_id": id, "timestamp": 5}], success,
        ]},
    }  # fmt: skip


def outcome(id: str) -> list[tuple[str, Any]]:
    """The events that end it."""
    shown = {"node": "5", "display_node": "4", "output": {"images": [id]}, "prompt_id": id}
    return [
        ("executed", shown),
        ("execution_success", {"prompt_id": id, "timestamp": int(NOW * 1000)}),
        ("executing", {"node": None, "prompt_id": id}),
    ]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server with the patch."""
    module: Any = ModuleType("server")
    module.PromptServer = type("PromptServer", (Server,), {"send": Server.send})
    monkeypatch.setitem(sys.modules, "server", module)
    Patch(reconnect.SEND, PendingEvents(lambda: NOW).wrap).apply()
    return module.PromptServer()


def test_one_that_was_away(server) -> None:
    """Everything that ends the prompt, in order, and once."""
    server.run("a")
    server.run("b")
    assert server.connect() == [*outcome("a"), *outcome("b")]
    assert server.connect() == []


def test_the_history_is_not_read_for_one_that_is_away(server) -> None:
    class Unread(dict[str, Any]):
        def get(self, *_: Any) -> Any:
            raise AssertionError("the history was read")

    server.prompt_queue.history = Unread()
    server.run("a")
    server.prompt_queue.history = {"a": entry("a")}
    assert server.connect() == outcome("a")


def test_one_that_was_there(server) -> None:
    """It has heard it; nothing is kept."""
    server.connect()
    assert server.run("a") == outcome("a")
    assert server.connect() == []


def test_one_whose_socket_is_being_closed(server) -> None:
    """It reads no more."""
    server.sockets["c"] = SimpleNamespace(closed=True)
    server.run("a")
    assert server.connect() == outcome("a")


@pytest.mark.parametrize(
    ("back_after", "events"),
    [
        ("executed", ["execution_success", "executed", "executing"]),
        ("execution_success", ["executed", "execution_success", "executing"]),
        ("executing", ["executed", "execution_success", "executing"]),
    ],
)
def test_one_that_comes_back_in_between(server, back_after: str, events: list[str]) -> None:
    """Each event once, whenever that is; the last one last."""
    sent = server.run("a", back_after=back_after)
    assert [event for event, _ in sent if event != "status"] == events
    assert server.connect() == []


def test_a_prompt_that_goes_on_after_an_error(server) -> None:
    """A blocked branch tells one, too; the end that follows is heard once."""
    asyncio.run(server.send("execution_error", {"prompt_id": "a"}, "c"))
    assert server.connect() == []
    assert server.run("a") == outcome("a")
    assert server.connect() == []


def test_others_hear_nothing(server) -> None:
    """What is owed is owed to one client."""
    server.run("a")
    assert server.connect("other") == []
    assert server.connect() == outcome("a")


def test_a_failed_one(server) -> None:
    """With its error."""
    server.run("a")
    error = ["execution_error", {"prompt_id": "a", "exception_message": "x"}]
    server.prompt_queue.history["a"]["status"]["messages"] = [error]
    assert server.connect()[1] == tuple(error)


def test_history_that_was_deleted(server) -> None:
    """There is nothing to tell any more."""
    server.run("a")
    server.prompt_queue.history.clear()
    assert server.connect() == []


def test_a_history_that_somebody_filled(server, caplog) -> None:
    """It is told in the log, and costs nobody else an event."""
    server.run("a")
    server.run("b")
    server.prompt_queue.history["a"]["outputs"] = [1]
    assert server.connect() == outcome("b")
    assert "could not be sent again" in caplog.text


def test_after_a_restart(server) -> None:
    """What had ended in the last moments of the old process, and no old error for a second time."""
    last = NOW - 60
    ago = last - reconnect.LAST_MOMENTS
    server.prompt_queue.history.update(
        old=entry("old", ended=ago - 1), new=entry("new", ended=ago),
        other=entry("other", "d", ended=last), nobody=entry("nobody", None, ended=last),
        broken={"prompt": (0, 1, 2, [])},
    )  # fmt: skip
    server.connect("e")  # the first event of the process
    assert [data["prompt_id"] for _, data in server.connect()] == ["new"] * 3
    assert server.connect() == []
    assert [data["prompt_id"] for _, data in server.connect("d")] == ["other"] * 3


def test_long_after_a_restart(server) -> None:
    """Nobody waits for a result of yesterday."""
    server.prompt_queue.history["a"] = entry("a", ended=NOW - reconnect.SECONDS - 1)
    server.connect("e")
    assert server.connect() == []


def test_bounds(server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest clients, and the newest prompts of each."""
    monkeypatch.setattr(reconnect, "CLIENTS", 2)
    monkeypatch.setattr(reconnect, "PROMPTS", 3)
    for sid in ("1", "2", "3"):
        for number in range(5):
            server.run(f"{sid}-{number}", sid)
    assert server.connect("1") == []
    found = [data["prompt_id"] for _, data in server.connect("3")]
    assert list(dict.fromkeys(found)) == ["3-2", "3-3", "3-4"]


def test_other_events_pass(server) -> None:
    """Bytes, events for all, and those without a prompt."""
    server.sockets["c"] = SimpleNamespace(closed=False)
    events = [(1, b"preview"), ("status", {"status": {}}), ("progress", {"prompt_id": "a"}),
              ("executing", {"node": "5", "prompt_id": "a"}), ("x", None)]  # fmt: skip
    for event, data in events:
        asyncio.run(server.send(event, data, "c"))
    assert server.sent == events


def test_applied_twice_undone_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As every patch."""
    module: Any = ModuleType("server")
    module.PromptServer = type("PromptServer", (), {"send": Server.send})
    monkeypatch.setitem(sys.modules, "server", module)
    patch = reconnect.create()
    for _ in range(2):
        patch.apply()
        assert patch.active
    patch.revert()
    assert module.PromptServer.send is Server.send
    module.PromptServer.send = lambda self, event: None
    with pytest.raises(ZImageError, match="ZI-PATCH-SEAM"):
        patch.apply()
