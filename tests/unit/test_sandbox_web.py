"""Requests for packs: which path may be theirs, and what crosses the border."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from zimage_comfyui.cli.doctor_sandbox import sandboxes as doctor
from zimage_comfyui.errors import ZImageError
from zimage_comfyui.errors.bilingual import english as in_english
from zimage_comfyui.patches.base import sandbox_source
from zimage_comfyui.patches.monitoring.metrics import sandbox_families
from zimage_comfyui.sandbox.protocol import messages as m
from zimage_comfyui.sandbox.protocol.exceptions import WorkerDied, WorkerRaised
from zimage_comfyui.sandbox.web import header_filter, links
from zimage_comfyui.sandbox.web.folders import Folders
from zimage_comfyui.sandbox.web.forward import MAX_AT_ONCE, Deadline, Forwarder
from zimage_comfyui.sandbox.web.route_match import claims
from zimage_comfyui.sandbox.web.routes import PREFIX, Routes

HOSTILE = "/" + "a" * 8000


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/a", "/a", True),
        ("/a", "/a/", False),
        ("/a", "/ab", False),
        ("/a/", "/a/", True),
        ("/a/{x}", "/a/b", True),
        ("/a/{x}", "/a/", False),
        ("/a/{x}", "/a/b/c", False),
        ("/a/{x}/c", "/a/b/c", True),
        ("/a/{x}/c", "/a/b/d", False),
        ("/a/{x}.{y}", "/a/b.c", True),
        ("/a/{x}.{y}", "/a/b.", False),
        ("/a/{x}.{y}", "/a/bc", False),
        ("/{x}-{y}-{z}", "/1-2-3", True),
        ("/a/x{n}y", "/a/x1y", True),
        ("/a/x{n}y", "/a/xy", False),
        ("/a/{rest:.*}", "/a/", True),
        ("/a/{rest:.*}", "/a/b/c", True),
        ("/a/{rest:.*}", "/a", False),
        ("/a/{rest:.*}", "/b/c", False),
        ("/a/{n:[0-9]{2,3}}/b", "/a/12/b", True),
        ("/a/n{n:\\d+}", "/a/n1", True),
        ("/a/n{n:\\d+}", "/a/m1", False),
        ("/{x}/{rest:.*}", "/q/w/e", True),
        ("/a%20b/{x}", "/a b/c", True),
        ("/中/{x}", "/中/文", True),
        ("/{x:(a+)+b}", HOSTILE, True),
        ("/" + "{x}a" * 50, HOSTILE + "b", False),
        ("/a/{x}", "/a/b%2Fc", True),
        ("/a/{x}", "/%61/%E4%B8%AD", True),
    ],
)
def test_which_paths_a_route_may_mean(pattern: str, path: str, expected: bool) -> None:
    """Exactly for literal text and plain variables, generously for expressions, fast for all."""
    began = time.perf_counter()
    assert claims(pattern, path) is expected
    assert time.perf_counter() - began < 0.5


class Pack:
    """A pack without a process, as far as requests ask for it."""

    def __init__(self, answer: Any = None) -> None:
        self.name, self.answer = "p", answer
        self.asked: list[dict[str, Any]] = []


class Direct(Forwarder):
    """Answers by itself."""

    async def ask(self, pack: Any, asked: dict[str, Any]) -> Any:
        """See :class:`Forwarder`."""
        pack.asked.append(asked)
        return pack.answer


def exchange(
    tmp_path: Path, pack: Pack, paths: list[tuple[str, str]], static: dict[str, str], *asked: Any
) -> list[tuple[int, bytes]]:
    """Status and body of each request to a server like ComfyUI's, page included."""
    (tmp_path / "index.html").write_text("page")

    async def run() -> list[tuple[int, bytes]]:
        routes = Routes(Direct())
        routes.add(pack, m.PackInfo(True, [], routes=paths), static)  # type: ignore[arg-type]
        app = web.Application(middlewares=[routes.middleware], client_max_size=100 * 2**20)

        async def host(_request: web.Request) -> web.Response:
            return web.Response(text="host")

        app.router.add_get("/host", host)
        app.router.add_route("*", PREFIX + "/{pack}/{rest:.*}", routes.direct)
        app.router.add_static("/", tmp_path)
        found = []
        async with TestClient(TestServer(app)) as client:
            for method, path, *more in asked:
                async with client.request(method, path, **(more[0] if more else {})) as answer:
                    found.append((answer.status, await answer.read()))
        return found

    return asyncio.run(run())


OWN = {"status": 201, "headers": [["Content-Type", "text/x"]], "body": b"pack"}


def test_a_pack_has_what_nobody_else_has(tmp_path: Path) -> None:
    """Its own path, with and without ``/api``; never the host's, and no file of the page."""
    paths = [("GET", "/host"), ("GET", "/index.html"), ("GET", "/own"), ("*", "/any/{x:.*}")]
    pack = Pack(OWN)
    found = exchange(
        tmp_path,
        pack,
        paths,
        {},
        ("GET", "/host"),
        ("GET", "/index.html"),
        ("GET", "/own"),
        ("GET", "/api/own"),
        ("DELETE", "/any/thing"),
        ("POST", "/own"),
        ("GET", "/nothing"),
        ("GET", PREFIX + "/p/host"),
        ("GET", PREFIX + "/p//evil"),
        ("GET", PREFIX + "/q/own"),
    )
    expected = [200, 200, 201, 201, 201, 405, 404, 201, 404, 404]
    assert [status for status, _ in found] == expected
    assert found[0][1] == b"host"
    assert found[1][1] == b"page"
    assert [one["target"] for one in pack.asked] == ["/own", "/own", "/any/thing", "/host"]
    assert json.loads(found[-1][1])["error"]["code"] == "ZI-SANDBOX-UNKNOWN"


def test_what_of_a_request_reaches_a_pack(tmp_path: Path) -> None:
    """No cookies, no passwords, nothing that is not on the list; the rest as it came."""
    headers = {
        "Cookie": "a=b",
        "Authorization": "secret",
        "Origin": "o",
        "Referer": "r",
        "X-Forwarded-For": "1.2.3.4",
        "Accept": "x/y",
        "Comfy-User": "u",
    }
    pack = Pack(OWN)
    exchange(
        tmp_path,
        pack,
        [("POST", "/own/{x}")],
        {},
        ("POST", "/own/a%2Fb?q=%26", {"headers": headers, "data": b"body"}),
    )
    names = {name.lower() for name, _ in pack.asked[0]["headers"]}
    assert names <= header_filter.REQUEST_HEADERS | {"content-length"}
    assert "accept" in names
    assert pack.asked[0]["body"] == b"body"
    assert pack.asked[0]["target"].startswith("/own/a%2Fb?q=")


def test_what_is_refused_before_a_pack_sees_it(tmp_path: Path) -> None:
    """WebSockets, and more than 32 MiB."""
    pack = Pack(OWN)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    large = io.BytesIO(bytes(32 * 2**20 + 1))
    found = exchange(
        tmp_path,
        pack,
        [("*", "/own")],
        {},
        ("GET", "/own", {"headers": upgrade}),
        ("POST", "/own", {"data": large}),
    )
    codes = [(status, json.loads(body)["error"]["code"]) for status, body in found]
    assert codes == [(501, "ZI-SANDBOX-ROUTE-SOCKET"), (413, "ZI-REQUEST-LARGE")]
    assert not pack.asked


def test_folders_are_served_from_inside_the_pack(tmp_path: Path) -> None:
    """No link leads out, no dots, no other method."""
    folder = tmp_path / "pack" / "static"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (tmp_path / "pack" / "secret.txt").write_text("s")
    (folder / "link.txt").symlink_to(tmp_path / "pack" / "secret.txt")
    (folder / "out").symlink_to("/etc")
    page = tmp_path / "page"
    page.mkdir()
    found = exchange(
        page,
        Pack(),
        [],
        {"/s": str(folder)},
        ("GET", "/s/a.txt"),
        ("HEAD", "/s/a.txt"),
        ("GET", "/s/link.txt"),
        ("GET", "/s/out/hostname"),
        ("GET", "/s/%2e%2e/secret.txt"),
        ("GET", "/s/..%2fsecret.txt"),
        ("GET", "/s//etc/hostname"),
        ("GET", "/s/a%00.txt"),
        ("POST", "/s/a.txt"),
        ("GET", PREFIX + "/p/s/a.txt"),
    )
    assert [status for status, _ in found] == [200, 200, 404, 404, 404, 404, 404, 404, 405, 200]


def test_folders_for_the_page(tmp_path: Path) -> None:
    """Those inside, links and all, under names that are free and are one folder."""
    root = tmp_path / "pack"
    (root / "js").mkdir(parents=True)
    (root / "linked").symlink_to(root / "js")
    (root / "out").symlink_to(tmp_path)
    (tmp_path / "pack-other").mkdir()
    web_folders = {
        "a": str(root / "js"),
        "b": str(root / "linked"),
        "out": str(root / "out"),
        "etc": "/etc",
        "near": str(tmp_path / "pack-other"),
        "none": str(root / "none"),
        "taken": str(root / "js"),
        "x/y": str(root / "js"),
        "..": str(root / "js"),
        "a{b}": str(root / "js"),
        "": str(root / "js"),
        "中文": str(root / "js"),
    }
    folders = Folders("p", str(root))
    found = folders.page(m.PackInfo(True, [], web=web_folders), {"taken"})
    real = os.path.realpath(root / "js")
    assert found == {"a": real, "b": real, "中文": real}
    assert len(folders.findings) == len(web_folders) - len(found)
    assert {one.code for one in folders.findings} == {"ZI-SANDBOX-WEB"}
    single = Folders("p", str(root / "js" / "one.py"))
    assert single.static(m.PackInfo(True, [], static={"/s": str(root / "js")})) == {}


def test_links_that_lead_out_of_a_pack(tmp_path: Path) -> None:
    """Files and folders, at any depth that ComfyUI reads; links inside are no trouble."""
    packs = tmp_path / "packs"
    for name in ("bad", "good", "trusted"):
        (packs / name / "locales" / "en").mkdir(parents=True)
        (packs / name / "locales" / "en" / "main.json").write_text("{}")
    (packs / "good" / "locales" / "zh").symlink_to("en")
    (tmp_path / "secret.json").write_text("{}")
    (packs / "one.py").write_text("")
    for name in ("bad", "trusted"):
        (packs / name / "locales" / "en" / "main.json").unlink()
        (packs / name / "locales" / "en" / "main.json").symlink_to(tmp_path / "secret.json")
    (packs / "bad" / "subgraphs").symlink_to(tmp_path)
    found = links.leaking(
        [str(packs), str(tmp_path / "none")],
        lambda path: "host" if path.endswith("trusted") else "sandbox",
    )
    root = os.path.realpath(packs / "bad")
    assert found == [f"{root}/locales/en/main.json", f"{root}/subgraphs"]
    assert [path for path in ("/i18n", "/api/i18n", "/global_subgraphs/x", "/i18nx", "/") if
            links.shown(path)] == ["/i18n", "/api/i18n", "/global_subgraphs/x"]  # fmt: skip


class Session:
    """A session as far as requests use it: what ``call`` does is the test's."""

    def __init__(self, call: Any) -> None:
        self.objects = SimpleNamespace(codec=SimpleNamespace(pack=lambda value: value))
        self.process = SimpleNamespace(kill=self._kill)
        self.cancelled: list[int] = []
        self.killed = ""
        self._call = call

    def call(self, call: m.Call, on_event: Any, check: Any) -> Any:
        """Answer at once to ``describe``."""
        return None if call.what == "describe" else self._call(self, call, check)

    def cancel(self, number: int) -> None:
        """Note it."""
        self.cancelled.append(number)

    def _kill(self, reason: str) -> None:
        self.killed = reason


class Running(Pack):
    """A pack with such a process."""

    def __init__(self, call: Any, seconds: float = 60.0) -> None:
        super().__init__()
        self.rule = SimpleNamespace(call_seconds=seconds, load_seconds=60.0)
        self.session, self.crashes, self.used = Session(call), [], 0.0

    @contextlib.contextmanager
    def use(self) -> Iterator[Session]:
        """The process."""
        yield self.session

    def crashed(self, _session: Session, found: str) -> None:
        self.crashes.append(found)


def raises(error: Exception) -> Any:
    """A call that fails so."""

    def call(*_: Any) -> Any:
        raise error

    return call


def _late(session: Session, _call: m.Call, check: Deadline) -> Any:
    """A handler that ends when it is cancelled."""
    check.until = time.monotonic() - 1
    check(session, 0.0)
    raise WorkerRaised(m.ErrorInfo("error", "CancelledError", ""))


def _stuck(session: Session, _call: m.Call, check: Deadline) -> Any:
    """A handler that does not."""
    check.until = time.monotonic() - 1
    check(session, 0.0)
    check.until -= 60
    check(session, 0.0)


@pytest.mark.parametrize(
    ("call", "code", "crashes"),
    [
        (raises(WorkerDied("SIGSEGV")), "ZI-SANDBOX-ROUTE-DIED", ["SIGSEGV"]),
        (
            raises(WorkerRaised(m.ErrorInfo("error", "KeyError", "x"))),
            "ZI-SANDBOX-ROUTE-RAISED",
            [],
        ),
        (
            raises(WorkerRaised(m.ErrorInfo("error", "StreamRefusedError", ""))),
            "ZI-SANDBOX-ROUTE-STREAM",
            [],
        ),
        (
            raises(WorkerRaised(m.ErrorInfo("error", "TooLargeError", ""))),
            "ZI-SANDBOX-ROUTE-ANSWER",
            [],
        ),
        (_late, "ZI-SANDBOX-ROUTE-SLOW", []),
        (_stuck, "ZI-SANDBOX-ROUTE-SLOW", ["a request took more than 60 s"]),
    ],
)
def test_how_a_request_fails(call: Any, code: str, crashes: list[str]) -> None:
    """With a code; only what ended the process counts towards quarantine."""
    pack: Any = Running(call)
    with pytest.raises(ZImageError) as caught:
        Forwarder().run(pack, {"target": "/own?secret=1"})
    assert caught.value.code == code
    assert "secret" not in str(caught.value)
    assert [in_english(reason) for reason in pack.crashes] == crashes


def test_requests_wait_beside_the_loop_and_not_without_end() -> None:
    """The server goes on meanwhile; beyond a number they are refused."""

    async def run() -> tuple[list[Any], str]:
        go = asyncio.Event()
        loop = asyncio.get_running_loop()

        def call(*_: Any) -> str:
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result(60)
            return "answer"

        pack: Any = Running(call)
        forwarder = Forwarder()
        waiting = [
            asyncio.ensure_future(forwarder.ask(pack, {"target": "/"})) for _ in range(MAX_AT_ONCE)
        ]
        await asyncio.sleep(0)
        with pytest.raises(ZImageError) as caught:
            await forwarder.ask(pack, {"target": "/"})
        go.set()
        answers = await asyncio.gather(*waiting)
        assert await forwarder.ask(pack, {"target": "/"}) == "answer"
        return answers, caught.value.code

    assert asyncio.run(run()) == (["answer"] * MAX_AT_ONCE, "ZI-SANDBOX-ROUTE-BUSY")


def test_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for each pack; a name cannot make another line; nothing without sandboxes."""
    assert list(sandbox_families()) == []
    pack = {"status": "running", "starts": 2, "ends": 1, "memory_bytes": 5}
    packs = {"a": pack, 'b"\n\\': pack | {"status": "resting"}}
    monkeypatch.setattr(sandbox_source, "_source", lambda: {**sandbox_source.NONE, "packs": packs})
    text = "".join(family.text() for family in sandbox_families())
    assert 'zimage_sandbox_up{pack="a"} 1\n' in text
    assert 'zimage_sandbox_up{pack="b\\"\\n\\\\"} 0\n' in text
    assert 'zimage_sandbox_starts_total{pack="a"} 2\n' in text
    assert 'zimage_sandbox_ends_total{pack="a"} 1\n' in text
    assert 'zimage_sandbox_memory_bytes{pack="a"} 5\n' in text


@pytest.mark.parametrize(
    ("probe", "codes"),
    [
        ({}, []),
        ({"error": "ImportError"}, ["ZI-SANDBOX-PROBE"]),
        ({"system": "linux", "landlock": 7, "seccomp": True}, []),
        ({"system": "darwin", "landlock": 0, "seccomp": False}, ["ZI-SANDBOX-NO-LINUX"]),
        (
            {
                "system": "linux",
                "landlock": 0,
                "landlock_reason": "off",
                "seccomp": False,
                "machine": "riscv64",
                "kernel": "6",
            },
            ["ZI-SANDBOX-NO-LANDLOCK", "ZI-SANDBOX-NO-SECCOMP"],
        ),
    ],
)
def test_doctor_says_what_cannot_be_confined(probe: dict[str, Any], codes: list[str]) -> None:
    """As notes: pictures can be made all the same."""
    problems = doctor(probe)["problems"]
    assert [one["code"] for one in problems] == codes
    assert {one["level"] for one in problems} <= {"note"}
