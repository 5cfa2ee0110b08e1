"""What packs in sandboxes have in the server: routes, folders of the page, events, a state."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.server import Server, write_paths
from zimage_comfyui.tests.fakes.waiting import wait

pytestmark = pytest.mark.slow

PACKS = Path(__file__).parents[1] / "fakes" / "packs"
POLICY = """
[packs.webby]
call_seconds = 4
[packs.other]
eager = true
[packs.gone]
run = "blocked"
"""
JSON = {"Content-Type": "application/json"}
Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, host: Host, pack_dir: Path
) -> Iterator[Server]:
    """Two packs with the same routes, one after the other, and one that is refused."""
    folder = tmp_path_factory.mktemp("web")
    first, second = folder / "first", folder / "second"
    leave_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKS / "webby", first / "webby", ignore=leave_out)
    shutil.copytree(PACKS / "webby", second / "other", ignore=leave_out)
    shutil.copytree(PACKS / "changes_host", second / "changes_host", ignore=leave_out)
    nodes = second / "other" / "__init__.py"
    nodes.write_text(nodes.read_text().replace('"Webby', '"Other'))
    for place in ("js", "static"):
        (first / "webby" / place / "out.js").symlink_to("/etc/hostname")
        (first / "webby" / place / "out").symlink_to("/etc")
    (first / "webby" / "example_workflows").symlink_to("/etc")
    write_paths(folder / "paths.yaml", {"custom_nodes": f"{first}\n{second}"})
    user = folder / "server" / "user" / "__zimage"
    user.mkdir(parents=True)
    (user / "sandbox.toml").write_text(POLICY)
    env = {**os.environ, "ZIMAGE_SANDBOX": "strict"}
    arguments = ("--extra-model-paths-config", str(folder / "paths.yaml"))
    with Server(host, pack_dir, folder / "server", arguments, env=env) as running:
        yield running


def ask(
    server: Server, path: str, body: Any = None, method: str | None = None, **headers: str
) -> Answer:
    """Status, headers in small letters, and body; redirections are not followed."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method or ("POST" if body is not None else "GET"), path, body, headers)
        answer = connection.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, names, answer.read()
    finally:
        connection.close()


def code(answer: Answer) -> tuple[int, str]:
    """Status and code of a refusal, which is in both languages."""
    error = json.loads(answer[2])["error"]
    assert error["zh"] != error["en"]
    return answer[0], error["code"]


def hello(server: Server, path: str = "/webby/hello") -> dict[str, Any]:
    """What the pack says of a request."""
    return json.loads(ask(server, path)[2])


def do(server: Server, deed: str, pack: str) -> dict[str, Any]:
    """Press a button of the panel."""
    status, body = server.client.request(f"/zimage/sandbox/{deed}", {"pack": pack})
    assert status == 200, body
    return json.loads(body)


def state(server: Server) -> dict[str, Any]:
    """The sandboxes, as ``/health`` has them."""
    return json.loads(ask(server, "/health")[2])["sandboxes"]


def status_of(server: Server, pack: str) -> str:
    """``running``, ``resting``, ``quarantined`` or ``refused``."""
    return state(server)["packs"][pack]["status"]


def test_an_eager_pack_has_started_with_the_server(server: Server) -> None:
    """Nobody has asked it for anything."""
    wait(lambda: status_of(server, "other") == "running")
    assert state(server)["packs"]["other"]["starts"] == 1


def test_a_route_is_where_it_was_registered(server: Server) -> None:
    """And under ``/api``, and under the pack's own prefix; it runs in the pack's process."""
    found = [
        hello(server, prefix + "/webby/hello?a=1&b=%20x")
        for prefix in ("", "/api", "/zimage/sandbox/webby", "/api/zimage/sandbox/webby")
    ]
    assert {one["pid"] for one in found} == {state(server)["packs"]["webby"]["pid"]}
    assert all(one["query"] == {"a": "1", "b": " x"} for one in found)
    assert all(one["url"] == "/webby/hello?a=1&b=%20x" for one in found)
    assert found[0]["pid"] != server.process.pid  # type: ignore[union-attr]


def test_of_two_packs_the_first_has_a_path(server: Server) -> None:
    """The second has it under its own prefix."""
    pids = {pack: hello(server, f"/zimage/sandbox/{pack}/webby/hello")["pid"]
            for pack in ("webby", "other")}  # fmt: skip
    assert pids["webby"] != pids["other"]
    assert hello(server)["pid"] == pids["webby"]


def test_requests_arrive_whole(server: Server) -> None:
    """JSON, forms with files, bytes, parts of the path, class-based views, ``app.router``."""
    status, _, body = ask(server, "/webby/json", b'{"a": [1]}', **JSON)
    assert (status, json.loads(body)) == (201, {"found": {"a": [1]}})
    form = (
        b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\nt\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\n\r\nin\r\n'
        b"--x--\r\n"
    )
    body = ask(server, "/webby/form", form, Content_Type="multipart/form-data; boundary=x")[2]
    assert json.loads(body) == {"text": "t", "file": "in", "name": "f.txt"}
    assert ask(server, "/webby/length", bytes(20 * 2**20))[2] == str(20 * 2**20).encode()
    body = ask(server, "/webby/item/%E4%B8%AD/c/d")[2]
    assert json.loads(body) == {"name": "中", "rest": "c/d"}
    assert ask(server, "/webby/view", b"abc", "PUT")[2] == b"cba"
    assert ask(server, "/webby/app")[2] == b"app"
    assert ask(server, "/webby/stream")[2] == b"one two"
    assert ask(server, "/webby/file", Range="bytes=2-3")[::2] == (206, b"fi")


def test_secrets_stay_outside(server: Server) -> None:
    """Cookies and passwords do not reach a pack, and it sets none; nor what widens its rights."""
    headers = {"Cookie": "a=b", "Authorization": "Basic x", "Accept": "a/b"}
    seen = json.loads(ask(server, "/webby/hello", **headers)[2])["headers"]
    assert "accept" in seen
    assert not {"cookie", "authorization"} & set(seen)
    status, headers, body = ask(server, "/webby/headers")
    assert (status, headers["etag"], body) == (200, '"1"', b"h")
    assert not {
        "set-cookie", "content-security-policy", "access-control-allow-origin",
        "service-worker-allowed", "x-other",
    } & set(headers)  # fmt: skip
    assert ask(server, "/webby/elsewhere?to=/webby/app")[1]["location"] == "/webby/app"
    assert "location" not in ask(server, "/webby/elsewhere?to=//example.com")[1]


def test_nothing_of_the_host_is_taken_over(server: Server) -> None:
    """Its routes, ours, the page's files and extensions; the log says where the pack's are."""
    for path in ("/object_info", "/settings", "/health", "/scripts/app.js",
                 "/extensions/core/clipspace.js"):  # fmt: skip
        for prefix in ("", "/api"):
            status, _, body = ask(server, prefix + path)
            assert body != b"stolen" or (status, prefix) == (200, "/api"), path
        assert ask(server, "/zimage/sandbox/webby" + path)[2] == b"stolen"
    assert ask(server, "/api/object_info")[2] != b"stolen"
    wait(lambda: "GET /object_info is not of webby" in server.log.read_text())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/webby/raise", (502, "ZI-SANDBOX-ROUTE-RAISED")),
        ("/webby/events", (501, "ZI-SANDBOX-ROUTE-STREAM")),
        ("/webby/large", (502, "ZI-SANDBOX-ROUTE-ANSWER")),
        ("/webby/never", (504, "ZI-SANDBOX-ROUTE-SLOW")),
        ("/zimage/sandbox/nobody/x", (404, "ZI-SANDBOX-UNKNOWN")),
        ("/zimage/sandbox/webby/none", (404, "ZI-SANDBOX-ROUTE-NONE")),
    ],
)
def test_failures_have_codes(server: Server, path: str, expected: tuple[int, str]) -> None:
    """The process goes on after each."""
    before = hello(server)["pid"]
    assert code(ask(server, path)) == expected
    assert hello(server)["pid"] == before


def test_a_body_that_is_too_large(server: Server) -> None:
    """More than 32 MiB are not read."""
    assert code(ask(server, "/webby/length", bytes(33 * 2**20))) == (413, "ZI-REQUEST-LARGE")


def test_web_sockets_are_refused(server: Server) -> None:
    """With a code, before the pack sees the request."""
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert code(ask(server, "/webby/socket", **upgrade)) == (501, "ZI-SANDBOX-ROUTE-SOCKET")


def test_a_handler_that_blocks_ends_its_process_and_nothing_else(server: Server) -> None:
    """The server answers meanwhile; the next request has a new process."""
    before = hello(server)["pid"]

    async def both() -> tuple[Answer, float]:
        blocked = asyncio.create_task(asyncio.to_thread(ask, server, "/webby/block"))
        slowest = 0.0
        while not blocked.done():
            began = time.monotonic()
            assert (await asyncio.to_thread(ask, server, "/health"))[0] == 200
            slowest = max(slowest, time.monotonic() - began)
        return await blocked, slowest

    answer, slowest = asyncio.run(both())
    assert code(answer) == (504, "ZI-SANDBOX-ROUTE-SLOW")
    assert slowest < 3
    assert hello(server)["pid"] != before


def test_requests_are_answered_while_a_node_runs(server: Server) -> None:
    """As in ComfyUI: this node waits for one."""
    status, answer = server.client.submit({"1": {"class_type": "WebbyWait", "inputs": {}}})
    assert status == 200, answer
    wait(lambda: hello(server)["waiting"])
    assert ask(server, "/webby/release", b"")[2] == b"released"
    entry = wait(lambda: server.client.get(f"/history/{answer['prompt_id']}"))
    assert entry[answer["prompt_id"]]["outputs"] == {"1": {"text": ["released"]}}


def test_folders_of_the_page(server: Server) -> None:
    """Registered by ``WEB_DIRECTORY`` or directly; nothing outside of the pack, by no link."""
    for path in ("/extensions/webby/webby.js", "/extensions/webby-direct/webby.js"):
        assert ask(server, path)[::2] == (200, b"export const webby = true;\n")
        assert path in json.loads(ask(server, "/extensions")[2])
    assert ask(server, "/webby/static/a.txt")[::2] == (200, b"a file\n")
    assert ask(server, "/zimage/sandbox/webby/webby/static/a.txt")[0] == 200
    for path in (
        "/extensions/webby/out.js", "/extensions/webby/out/hostname", "/webby/static/out.js",
        "/extensions/webby-etc/hostname", "/webby/static/out/hostname", "/webby/etc/hostname",
        "/webby/static/%2e%2e/__init__.py", "/extensions/webby/%2e%2e/__init__.py",
    ):  # fmt: skip
        status, _, body = ask(server, path)
        assert (status, path) == (404, path)
        assert body.strip() != Path("/etc/hostname").read_bytes().strip()
    refused = [one for one in state(server)["findings"] if one["code"] == "ZI-SANDBOX-WEB"]
    serves = re.compile(r" wants to serve (.+) to the page\.")
    assert {"/etc", "core"} <= {found for one in refused for found in serves.findall(one["en"])}


def test_no_link_in_a_pack_shows_the_page_a_file(server: Server, tmp_path: Path) -> None:
    """ComfyUI reads texts, subgraphs and workflows of all packs by itself, and follows links."""
    assert ask(server, "/api/workflow_templates/webby/hostname")[0] == 404
    secret = tmp_path / "secret.json"
    secret.write_text('{"secret": 1}')
    pack = server.folder.parent / "first" / "webby"
    for link, path in (
        (pack / "subgraphs" / "a.json", "/global_subgraphs"),
        (pack / "locales" / "en" / "main.json", "/i18n"),
    ):
        link.parent.mkdir(parents=True)
        link.symlink_to(secret)
        for prefix in ("", "/api"):
            answer = ask(server, prefix + path)
            assert code(answer) == (403, "ZI-SANDBOX-LINK")
            assert str(link).encode() in answer[2]
        link.unlink()
        assert ask(server, path)[0] == 200


def test_events_reach_the_page(server: Server) -> None:
    """The pack's own, and the host's of the running prompt; not of others, and no other data."""
    heard = asyncio.run(_events(server, {"1": {"class_type": "WebbyTell", "inputs": {"value": 7}}}))
    own = [one for one in heard if one["type"].startswith("webby.")]
    assert own == [
        {"type": "webby.event", "data": {"value": 7, "node": "1"}},
        {"type": "webby.last", "data": {"value": 7}},
        {"type": "webby.later", "data": {"value": heard[-1]["data"]["value"]}},
    ]
    prompt = heard[-1]["data"]["value"]
    ended = {"execution_success", "execution_error"}
    ends = [one["data"] for one in heard if one["type"] in ended]
    assert [one["prompt_id"] for one in ends] == [prompt]
    told = [one["data"] for one in heard if one["type"] == "executing" and "own" in one["data"]]
    assert told == [{"prompt_id": prompt, "node": "1", "own": 1}]
    assert server.log.read_text().count("an event of a sandbox was discarded") >= 3


async def _events(server: Server, graph: dict[str, Any]) -> list[dict[str, Any]]:
    """Everything that the page hears until a thread of the pack tells of a prompt that ended."""
    client, heard = server.client, []
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{server.url}/ws?clientId={client.client_id}") as socket,
    ):
        status, answer = await asyncio.to_thread(client.submit, graph)
        assert status == 200, answer
        async for message in socket:
            if message.type == aiohttp.WSMsgType.TEXT:
                heard.append(json.loads(message.data))
                if heard[-1]["type"] == "webby.later":
                    break
    return heard


def test_the_state_is_told(server: Server) -> None:
    """In ``/health`` and ``/metrics``: which run, which were refused and why, which are blocked."""
    hello(server)
    found = state(server)
    webby = found["packs"]["webby"]
    assert (found["mode"], found["blocked"], webby["status"]) == ("strict", ["gone"], "running")
    assert (webby["nodes"], found["restart_for"]) == (2, [])
    assert webby["starts"] == webby["ends"] + 1
    assert set(webby["not_confined"]) <= {"tasks", "landlock", "seccomp", "capabilities"}
    wait(lambda: state(server)["packs"]["webby"]["memory_bytes"] > 0)
    assert found["packs"]["changes_host"]["status"] == "refused"
    why = [one for one in found["findings"] if one["pack"] == "changes_host"]
    assert [one["code"] for one in why] == ["ZI-SANDBOX-HOST"]
    metrics = ask(server, "/metrics")[2].decode()
    assert 'zimage_sandbox_up{pack="webby"} 1\n' in metrics
    assert re.search(r'zimage_sandbox_memory_bytes\{pack="webby"\} [1-9]', metrics)
    assert f'zimage_sandbox_starts_total{{pack="webby"}} {webby["starts"]}\n' in metrics
    assert f'zimage_sandbox_ends_total{{pack="webby"}} {webby["ends"]}\n' in metrics


def test_a_pack_is_stopped_and_restarted(server: Server) -> None:
    """A stopped one starts again with the next request; a restart is another process."""
    before = hello(server)["pid"]
    assert do(server, "stop", "webby")["status"] == "resting"
    assert 'zimage_sandbox_up{pack="webby"} 0\n' in ask(server, "/metrics")[2].decode()
    second = hello(server)["pid"]
    assert second != before
    assert do(server, "restart", "webby")["pid"] not in {before, second, None}


def test_a_node_class_that_was_added_waits_for_a_restart(server: Server) -> None:
    """ComfyUI has the classes that it loaded; the panel names the new one while it is there."""
    file = server.folder.parent / "first" / "webby" / "__init__.py"
    before = file.read_text()
    try:
        file.write_text(before + 'NODE_CLASS_MAPPINGS["WebbyNew"] = Wait\n')
        do(server, "restart", "webby")
        wait(lambda: state(server)["restart_for"] == ["packs.webby.nodes.WebbyNew"])
        assert state(server)["packs"]["webby"]["nodes"] == 2
        status, _, body = ask(server, "/zimage/sandbox/reload", b"{}", **JSON)
        assert (status, json.loads(body)) == (200, {"restart_for": ["packs.webby.nodes.WebbyNew"]})
    finally:
        file.write_text(before)
    do(server, "restart", "webby")
    wait(lambda: state(server)["restart_for"] == [])


def test_quarantine_is_lifted(server: Server) -> None:
    """Three ends in five minutes, and requests are refused until somebody lifts it."""
    die = "/zimage/sandbox/other/webby/die"
    for _ in range(3):
        assert code(ask(server, die)) == (502, "ZI-SANDBOX-ROUTE-DIED")
    assert code(ask(server, die)) == (503, "ZI-SANDBOX-QUARANTINE")
    assert status_of(server, "other") == "quarantined"
    assert code(ask(server, "/zimage/sandbox/restart", b'{"pack": "other"}', **JSON)) == (
        503, "ZI-SANDBOX-QUARANTINE"
    )  # fmt: skip
    assert do(server, "lift", "other")["status"] == "running"
    assert hello(server, "/zimage/sandbox/other/webby/hello")["pid"]


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, b'{"pack": "webby"}', (415, "ZI-REQUEST-TYPE")),
        ({**JSON, "Sec-Fetch-Site": "cross-site"}, b'{"pack": "webby"}', (403, "ZI-ORIGIN")),
        ({**JSON, "Sec-Fetch-Site": "same-site"}, b'{"pack": "webby"}', (403, "ZI-ORIGIN")),
        (JSON, b"[", (400, "ZI-REQUEST")),
        (JSON, b'{"pack": "nobody"}', (404, "ZI-SANDBOX-UNKNOWN")),
        (JSON, b'{"pack": ["webby"]}', (404, "ZI-SANDBOX-UNKNOWN")),
    ],
)
def test_only_the_page_presses_buttons(
    server: Server, headers: dict[str, str], body: bytes, expected: tuple[int, str]
) -> None:
    """Other sites cannot, and what is asked has to be understood."""
    for deed in ("stop", "restart", "lift"):
        assert code(ask(server, f"/zimage/sandbox/{deed}", body, **headers)) == expected


def test_rules_are_read_again(server: Server) -> None:
    """They hold from the next process on; a mistake is told and changes nothing."""
    path = server.folder / "user" / "__zimage" / "sandbox.toml"
    path.write_text("[packs.webby]\ncall_seconds = 'long'\n")
    answer = ask(server, "/zimage/sandbox/reload", b"{}", **JSON)
    assert code(answer) == (400, "ZI-SANDBOX-RELOAD")
    assert b"webby.call_seconds = 'long'" in answer[2]
    assert "ZI-SANDBOX-RELOAD" in {one["code"] for one in state(server)["findings"]}
    path.write_text('mode = "off"\n[packs.webby]\ncall_seconds = 1\n')
    status, _, body = ask(server, "/zimage/sandbox/reload", b"{}", **JSON)
    assert (status, json.loads(body)) == (200, {"restart_for": ["packs.gone.run"]})
    assert "ZI-SANDBOX-RELOAD" not in {one["code"] for one in state(server)["findings"]}
    do(server, "restart", "webby")
    answer = ask(server, "/webby/never")
    assert code(answer) == (504, "ZI-SANDBOX-ROUTE-SLOW")
    assert b"within 1 s" in answer[2]
