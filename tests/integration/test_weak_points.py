"""What strangers' pages, odd names, huge pictures and lost sockets do to the bare host and to ours.

Each weak point is first shown on a server whose hardening is switched off.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from PIL import Image

from zimage_comfyui.cli.server import Server
from zimage_comfyui.patches.base.registry import NAMES
from zimage_comfyui.tests.integration.troubled import ended

pytestmark = pytest.mark.slow

SIDE = 13_300
MIB = 2**20


@pytest.fixture(scope="module")
def server(start, tmp_path_factory) -> Iterator[Server]:
    """A hardened server."""
    with start(tmp_path_factory.mktemp("hardened")) as running:
        yield running


@pytest.fixture(scope="module")
def bare(start, tmp_path_factory) -> Iterator[Server]:
    """One without hardening."""
    with start(tmp_path_factory.mktemp("bare"), ",".join(NAMES)) as running:
        yield running


def ask(
    server: Server, method: str, path: str, headers: dict[str, str], body: str | bytes = ""
) -> Any:
    """Status and bytes of a request with exactly these headers (and Host, where they lack it)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        connection.request(method, path, body or None, headers)
        with connection.getresponse() as answer:
            if answer.status == 101:
                return 101, b""
            return answer.status, answer.read()
    finally:
        connection.close()


def code(body: bytes) -> str:
    """The code of a refusal."""
    return json.loads(body)["error"]["type"]


PROMPT = {"1": {"class_type": "Trouble", "inputs": {"kind": "none"}}}
SUBMIT = ("POST", "/prompt", json.dumps({"prompt": PROMPT}))
SOCKET = ("GET", "/ws", "")
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
           "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}  # fmt: skip
JSON = {"Content-Type": "application/json"}


def forged(server: Server) -> dict[str, str]:
    """What a browser sends for a stranger's name that has come to mean 127.0.0.1."""
    name = f"evil.example:{server.port}"
    return {"Host": name, "Origin": f"http://{name}", "Accept-Language": "en"}


@pytest.mark.parametrize(
    ("request_", "passed"), [(SUBMIT, 200), (SOCKET, 101)], ids=["prompt", "socket"]
)
def test_pages_of_other_sites(bare, server, request_: tuple[str, str, str], passed: int) -> None:
    """``Origin: null`` and a rebound name pass on the bare host."""
    method, path, body = request_
    more = JSON if body else UPGRADE
    null = {"Origin": "null", **more}
    assert ask(bare, method, path, null, body)[0] == passed
    assert ask(bare, method, path, forged(bare) | more, body)[0] == passed

    for headers, expected in ((null, "ZI-ORIGIN"), (forged(server) | more, "ZI-HOST-NAME")):
        status, answer = ask(server, method, path, headers, body)
        assert (status, code(answer)) == (403, expected)


def test_reading_under_a_strangers_name(bare, server) -> None:
    """Such a request carries no Origin at all."""
    headers = {"Host": "evil.example", "Accept-Language": "en"}
    for one, status in ((bare, 200), (server, 403)):
        named = headers | {"Host": f"evil.example:{one.port}"}
        assert ask(one, "GET", "/history", named)[0] == status


def test_everybody_else_passes(server) -> None:
    """The page itself, a proxy, and programs under whatever name."""
    own = f"127.0.0.1:{server.port}"
    for headers in (
        {"Origin": f"http://{own}", "Accept-Language": "zh", "Sec-Fetch-Site": "same-origin"},
        {"Host": "comfy.example", "Origin": "https://comfy.example", "Accept-Language": "zh"},
        {"Host": f"evil.example:{server.port}", "User-Agent": "curl/8.0"},
        {},
    ):
        assert ask(server, *SUBMIT[:2], headers | JSON, SUBMIT[2])[0] == 200
        assert ask(server, *SOCKET[:2], headers | UPGRADE)[0] == 101


def load(name: str, node: str = "LoadImage") -> dict[str, Any]:
    """A prompt that opens a picture and saves what it sees."""
    more = {"channel": "red"} if node == "LoadImageMask" else {}
    graph: dict[str, Any] = {"1": {"class_type": node, "inputs": {"image": name, **more}}}
    source = ["1", 0]
    if more:
        graph["2"] = {"class_type": "MaskToImage", "inputs": {"mask": source}}
        source = ["2", 0]
    saved = {"images": source, "filename_prefix": "seen"}
    return graph | {"3": {"class_type": "SaveImage", "inputs": saved}}


@pytest.mark.parametrize("node", ["LoadImage", "LoadImageMask"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole path", "parent folder"])
def test_files_beside_the_input_folder(bare, server, node: str, whole: bool) -> None:
    """The bare host shows them; here the prompt is refused."""
    for one in (bare, server):
        secret = one.folder / "secret.png"
        Image.new("RGB", (16, 16), (200, 100, 50)).save(secret)
        prompt = load(str(secret) if whole else "../secret.png", node)
        if one is bare:
            assert one.client.run(prompt).succeeded
            continue
        status, answer = one.client.submit(prompt)
        assert status == 400
        assert "[ZI-PATH]" in json.dumps(answer["node_errors"]["1"])


def test_files_inside_the_input_folder(server, tmp_path: Path) -> None:
    """By name, through a link that somebody has made, and from the other folders."""
    Image.new("RGB", (16, 16)).save(tmp_path / "b.png")
    (server.folder / "input" / "linked").symlink_to(tmp_path)
    for kind in ("input", "output", "temp"):
        (server.folder / kind).mkdir(exist_ok=True)
        shutil.copy(tmp_path / "b.png", server.folder / kind / f"{kind}.png")
    whole = server.folder / "output" / "output.png"
    for name in ("input.png", "linked/b.png", "output.png [output]", str(whole)):
        assert server.client.run(load(name)).succeeded, name


ODD = [
    {"filename": "../secret.png", "type": "input"},
    {"filename": "/etc/hostname"},
    {"filename": "../secret.png [input]"},
    {"filename": "secret.png", "subfolder": ".."},
    {"filename": "hostname", "subfolder": "/etc"},
    {"filename": "secret.png", "subfolder": "x/../.."},
    {"filename": ".. [input]"},
    {"filename": "..\\secret.png"},
    {"filename": "secret.png\0", "subfolder": "\0/.."},
    {"filename": "x" * 5000},
    {"filename": "secret.png", "type": ".."},
]


@pytest.mark.parametrize("query", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("more", [{}, {"preview": "webp"}, {"channel": "rgb"}], ids=str)
def test_odd_paths_of_views(server, query: dict[str, str], more: dict[str, str]) -> None:
    """Refused or not found, never an error of the server."""
    Image.new("RGB", (16, 16)).save(server.folder / "secret.png")
    status, _ = server.client.request("/view?" + urlencode(query | more))
    assert status in {400, 403, 404}


def upload(server: Server, content: bytes, subfolder: str, filename: str = "a.png") -> Any:
    """Status and bytes of an upload, as the page makes it."""
    start = "--mark\r\nContent-Disposition: form-data; name="
    head = f'{start}"subfolder"\r\n\r\n{subfolder}\r\n{start}"image"; filename="{filename}"\r\n\r\n'
    body = head.encode() + content + b"\r\n--mark--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=mark"}
    return ask(server, "POST", "/upload/image", headers, body)


def test_uploads_make_no_folder_elsewhere(bare, server) -> None:
    """The bare host makes it before it looks where the file goes."""
    for one in (bare, server):
        status, answer = upload(one, b"content", "../made", "../input/a.txt")
        assert (one.folder / "made").exists() is (one is bare)
    assert (status, code(answer)) == (400, "ZI-PATH")
    assert upload(server, b"content", "mine", "a.txt")[0] == 200
    assert (server.folder / "input" / "mine" / "a.txt").read_bytes() == b"content"


def bomb() -> bytes:
    """A PNG of 13300 x 13300 black pixels, one bit each."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    rows = bytes((SIDE + 7) // 8 + 1) * SIDE
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 1, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


VIEWS = ["channel=rgb", "channel=a", "preview=webp"]


def test_a_small_file_holds_up_the_bare_host(bare) -> None:
    """For seconds it answers nobody else."""
    (bare.folder / "input" / "bomb.png").write_bytes(data := bomb())
    assert len(data) < 30_000
    view = f"/view?filename=bomb.png&type=input&{VIEWS[0]}"
    waits = []
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(bare.client.request, view, timeout=120)
        while not answer.done():
            began = time.monotonic()
            bare.client.request("/queue", timeout=120)
            waits.append(time.monotonic() - began)
    assert answer.result()[0] == 200
    assert max(waits) > 0.5


def test_a_small_file_is_refused(server) -> None:
    """By its header: in views, in nodes and when it is uploaded."""
    (server.folder / "input" / "bomb.png").write_bytes(bomb())
    for view in VIEWS:
        began = time.monotonic()
        status, answer = server.client.request(f"/view?filename=bomb.png&type=input&{view}")
        assert (status, code(answer)) == (400, "ZI-PICTURE-LARGE")
        assert time.monotonic() - began < 0.5
    assert server.client.request("/view?filename=bomb.png&type=input") == (200, bomb())
    for node in ("LoadImage", "LoadImageMask"):
        error = server.client.run(load("bomb.png", node)).error
        assert "[ZI-PICTURE-LARGE]" in error["exception_message"]
    status, answer = upload(server, bomb(), "", "b.png")
    assert (status, code(answer)) == (400, "ZI-PICTURE-LARGE")
    assert not (server.folder / "input" / "b.png").exists()


def test_pictures_of_usual_size(server) -> None:
    """They are kept and shown as before."""
    Image.new("RGB", (4096, 16)).save(server.folder / "wide.png")
    assert upload(server, (server.folder / "wide.png").read_bytes(), "", "wide.png")[0] == 200
    for view in VIEWS:
        assert server.client.request(f"/view?filename=wide.png&type=input&{view}")[0] == 200
    assert server.client.run(load("wide.png")).succeeded


async def connect(server: Server, client: str, events: int) -> list[tuple[str, Any]]:
    """The first events that a client is sent, until there are so many or a silence."""
    found: list[tuple[str, Any]] = []
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{server.url}/ws?clientId={client}", max_msg_size=0) as socket,
    ):
        while len(found) < events:
            try:
                message = await asyncio.wait_for(socket.receive_json(), 1)
            except TimeoutError:
                break
            if message["type"] not in {"status"}:
                found.append((message["type"], message["data"]))
    return found


def submit(server: Server, client: str, kind: str = "none") -> str:
    """A prompt of a client that is not connected, when it has ended."""
    graph = {"1": {"class_type": "Trouble", "inputs": {"kind": kind, "note": client}}}
    answer = server.client.request("/prompt", {"prompt": graph, "client_id": client})[1]
    id = json.loads(answer)["prompt_id"]
    ended(server, id)
    return id


def test_a_client_that_was_away_hears_nothing_of_the_bare_host(bare) -> None:
    """Its page waits for ever."""
    submit(bare, "away")
    assert asyncio.run(connect(bare, "away", 1)) == []


def test_a_client_that_was_away_hears_how_its_prompts_ended(server) -> None:
    """Success and failure, once; others hear nothing of it."""
    first, second = submit(server, "away"), submit(server, "away", "exit")
    assert asyncio.run(connect(server, "somebody", 1)) == []
    events = asyncio.run(connect(server, "away", 5))
    assert [(event, data["prompt_id"]) for event, data in events] == [
        ("executed", first), ("execution_success", first), ("executing", first),
        ("execution_error", second), ("executing", second),
    ]  # fmt: skip
    assert events[0][1]["output"] == {"text": ["none", "away"]}
    assert "[ZI-NODE-EXIT]" in events[3][1]["exception_message"]
    assert asyncio.run(connect(server, "away", 1)) == []


def test_a_client_that_was_there_hears_nothing_again(server) -> None:
    """What has been sent is not sent when it comes back."""
    client = server.client
    assert client.run(PROMPT).succeeded
    assert asyncio.run(connect(server, client.client_id, 1)) == []


def swell(server: Server) -> int:
    """Bytes of ``/history`` after 20 prompts with 10 MB of metadata each."""
    body = {"prompt": PROMPT, "extra_data": {"extra_pnginfo": {"note": "x" * 10**7}}}
    for _ in range(20):
        status, answer = server.client.request("/prompt", body)
        assert status == 200
    ended(server, json.loads(answer)["prompt_id"])
    return len(server.client.request("/history", timeout=120)[1])


def test_history_grows_without_bound_on_the_bare_host(bare) -> None:
    """What is put in comes out again, all at once."""
    assert swell(bare) > 200 * 10**6


def test_history_has_a_bound(server) -> None:
    """The queue's file has one, and history holds what the file does; the newest stay."""
    assert 20 * MIB < swell(server) < 65 * MIB
    history = server.client.get("/history")
    newest = list(history)[-1]
    assert server.client.get(f"/history/{newest}") == {newest: history[newest]}
    assert server.client.get("/history?max_items=1") == {newest: history[newest]}


def test_after_a_restart_clients_hear_what_ended_before(server) -> None:
    """The process was killed after the end, before the client came back."""
    id = submit(server, "restarted")
    server.process.kill()
    server.process.wait()
    server.start()
    events = asyncio.run(connect(server, "restarted", 3))
    assert [(event, data["prompt_id"]) for event, data in events] == [
        ("executed", id), ("execution_success", id), ("executing", id),
    ]  # fmt: skip
    assert asyncio.run(connect(server, "restarted", 1)) == []
