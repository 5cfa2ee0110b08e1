"""docs/openapi.yaml has the whole HTTP surface, and no request in it, right or wrong, makes a 500.

What malformed requests do to the bare host is shown first. Nothing is left out: no request of the
host or of the pack ends the process, installs anything or needs the internet.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from PIL import Image
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.server import Server, write_paths
from zimage_comfyui.patches.base.registry import NAMES
from zimage_comfyui.tests.integration.troubled import graph, health

pytestmark = pytest.mark.slow

FILE = Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml"
METHODS = {"get", "post", "put", "patch", "delete"}
ALLOWED = {503: ("/health", "/zimage"), 507: ("/prompt",)}
"""Documented answers of 500 and above, and where."""
CONFORMANCE = (status_code_conformance, content_type_conformance, response_schema_conformance)
DUMP = """
import json, os, server
async def dump(app):
    routes = [(one.method, one.resource.canonical, type(one.resource).__name__)
              for one in app.router.routes()]
    with open(os.environ["ROUTES"], "w") as file:
        json.dump(routes, file)
server.PromptServer.instance.app.on_startup.append(dump)
NODE_CLASS_MAPPINGS = {}
"""
"""A pack that tells which routes there are when the server starts."""
CONFIG = SchemathesisConfig.from_dict({
    "seed": 1,
    "generation": {"deterministic": True, "database": "none", "max-examples": 12,
                   "mode": "all"},
    "phases": {
        name: {"extra-data-sources": {"responses": False}}
        for name in ("examples", "coverage", "fuzzing")
    },
})  # fmt: skip
schema = schemathesis.openapi.from_path(FILE, config=CONFIG)


@pytest.fixture(scope="module")
def server(start, tmp_path_factory) -> Iterator[Server]:
    """A hardened server that has written its routes to ``routes.json``."""
    folder = tmp_path_factory.mktemp("hardened")
    packs = folder / "packs"
    packs.mkdir()
    (packs / "dump.py").write_text(DUMP)
    write_paths(packs / "paths.yaml", {"custom_nodes": str(packs)})
    made: Server = start(folder)
    rules = folder / "user" / "__zimage" / "sandbox.toml"
    rules.parent.mkdir(parents=True)
    rules.write_text('[default]\nrun = "trusted"\n')  # their routes are there, and no sandbox
    made.arguments += ("--extra-model-paths-config", str(packs / "paths.yaml"))
    made.env = {**(made.env or os.environ), "ROUTES": str(folder / "routes.json"),
                "ZIMAGE_SANDBOX": "auto"}  # fmt: skip
    with made:
        yield made


@pytest.fixture(scope="module")
def bare(start, tmp_path_factory) -> Iterator[Server]:
    """One without hardening."""
    with start(tmp_path_factory.mktemp("bare"), ",".join(NAMES)) as running:
        yield running


ENDLESS = {"/ws", "/api/ws"}
"""No answer before somebody hangs up or upgrades."""


def described() -> set[tuple[str, str]]:
    """Method and path of everything in the file, with what is below ``/api`` as well."""
    found = set()
    for path, item in yaml.safe_load(FILE.read_text(encoding="utf-8"))["paths"].items():
        for method in METHODS & set(item):
            found.add((method.upper(), path))
            if "servers" not in item:
                found.add((method.upper(), "/api" + path))
    return found


def registered(server: Server) -> set[tuple[str, str]]:
    """The same of a running server; a folder of files is ``/{path}`` below its own path."""
    found = set()
    for method, path, kind in json.loads((server.folder / "routes.json").read_text()):
        path = path.replace("{rest:.*}", "{rest}")
        whole = path + "/{path}" if kind == "StaticResource" else path
        whole = re.sub(r"^(/extensions|/api/workflow_templates)/[^/{]+/", r"\1/{pack}/", whole)
        found |= {(one.upper() if method == "*" else method, whole) for one in (*METHODS, "head")}
    return found


def test_the_file_is_complete(server) -> None:
    """Every route of the running server is in the file, and the other way round.

    ``HEAD`` is what the file says of it in its introduction: wherever ``GET`` is, and nowhere else.
    """
    found = registered(server)
    by = {method: {path for one, path in found if one == method} for method in ("GET", "HEAD")}
    assert {one for one in found if one[0] != "HEAD"} == described()
    assert by["HEAD"] == by["GET"]


def test_head_is_get_without_its_body(server) -> None:
    """Of every path that needs nothing: the same status, and no byte more than the head."""
    paths = {path for method, path in described() if method == "GET" and "{" not in path}
    assert len(paths) > 20
    for path in sorted(paths - ENDLESS):
        head, get = (ask(server, method, path, "", {}) for method in ("HEAD", "GET"))
        assert (path, *head) == (path, get[0], b"")


def test_texts_are_in_both_languages() -> None:
    """A summary is Chinese, a slash, and English."""
    for item in yaml.safe_load(FILE.read_text(encoding="utf-8"))["paths"].values():
        for method in METHODS & set(item):
            assert re.fullmatch(r"[^/]*[\u4e00-\u9fff][^/]* / [ -~]+", item[method]["summary"])


def files_of(folder: Path) -> set[str]:
    """Everything below a folder that requests could have made."""
    found = folder.rglob("*")
    return {str(one) for one in found if "__pycache__" not in one.parts}


@pytest.fixture(scope="module")
def untouched(server, host: Host) -> Iterator[None]:
    """Nothing is made outside the server's own folders."""
    places = [host.path / name for name in ("input", "output", "temp", "user", "models")]
    before = [files_of(place) for place in places]
    beside = set(server.folder.parent.iterdir())
    own = set(server.folder.iterdir()) | {server.folder / "temp", server.folder / "output"}
    yield
    assert [files_of(place) for place in places] == before
    assert set(server.folder.parent.iterdir()) == beside
    assert set(server.folder.iterdir()) <= own


JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=mark"}
LONG = "x" * 300
DEEP = "[" * 100_000 + "]" * 100_000


def form(name: str = "a.png", content: bytes = b"nothing", **fields: str) -> bytes:
    """An upload with further fields."""
    start = b"--mark\r\nContent-Disposition: form-data; name="
    parts = [b'"%s"\r\n\r\n%s' % (one.encode(), text.encode()) for one, text in fields.items()]
    parts.append(b'"image"; filename="%s"\r\n\r\n%s' % (name.encode(), content))
    return b"".join(start + part + b"\r\n" for part in parts) + b"--mark--\r\n"


def picture(width: int) -> bytes:
    """A PNG, one pixel high."""
    file = io.BytesIO()
    Image.new("RGB", (width, 1)).save(file, "PNG")
    return file.getvalue()


def request(method: str, path: str, body: str | bytes = "", **headers: str) -> tuple[Any, ...]:
    """A request; JSON unless there is no body or a header says something else."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return method, path, body, {**(JSON if body else {}), **named}


REFERENCE = '{"filename": "wide.png", "type": "input"}'
MALFORMED = [
    *(request("POST", "/users", body) for body in (" ", "[]", "{}", '{"username": 5}', DEEP)),
    *(request("POST", "/settings", body) for body in (" ", "[]", "5", b"\xff")),
    *(request("POST", "/settings/x", body) for body in (" ", DEEP)),
    *(request("PATCH", "/internal/logs/subscribe", body)
      for body in (" ", "[]", "{}", '{"clientId": [], "enabled": true}')),
    *(request("POST", path, '{"delete": 5}') for path in ("/queue", "/history")),
    request("POST", "/users", b"not packed", Content_Encoding="gzip"),
    *(request("GET", f"/userdata?dir={path}") for path in ("a%00/b", f"{LONG}/b")),
    *(request(method, f"/userdata/{path}") for method in ("GET", "POST", "DELETE")
      for path in ("f.txt%2Fx%2Fy", f"{LONG}%2Fb", "a%00%2Fb")),
    *(request("DELETE", f"/userdata/{path}") for path in ("d", "%2E")),
    *(request("POST", f"/userdata/d/move/{path}")
      for path in ("d%2Fe", "f.txt", LONG, "a%00b", "f.txt%2Fx")),
    *(request("GET", f"/experiment/models/preview/checkpoints/{path}") for path in ("x/y", "99/y")),
    *(request("GET", f"/view?type=input&filename={name}&{how}")
      for name, how in (("a.png", "preview=webp"), ("a.png", "channel=rgb"), ("a.png", "channel=a"),
                        ("wide.png", "preview=webp"), ("wide.png", "preview=jpeg;%C2%B2"))),
    *(request("POST", "/upload/image", body, **FORM) for body in (
        "x", form(type="elsewhere"), form("."), form(LONG), form(subfolder="a\0b"),
        form(subfolder=LONG), form(subfolder="wide.png/b"))),
    request("POST", "/upload/image", "image=text",
            Content_Type="application/x-www-form-urlencoded"),
    *(request("POST", "/upload/mask", body, **FORM) for body in (
        form("m.png"), form("m.png", original_ref="x"), form("m.png", original_ref="[]"),
        form("m.png", original_ref='{"filename": 5}'), form("m.png", original_ref=REFERENCE),
        form("m.png", picture(9), original_ref=REFERENCE))),
    request("GET", f"/{LONG}"),
    request("GET", "/queue", Host="[", Origin="http://a"),
    request("GET", "/queue", Origin="http://a:b"),
    request("GET", "/queue", Host=f"{LONG}", Origin="http://a"),
]  # fmt: skip
CHARSETS = [
    request("POST", path, "{ }", Content_Type=f"application/json; charset={name}")
    for path in ("/prompt", "/interrupt", "/settings", "/users") for name in ("none", "utf-16")
]  # fmt: skip


def ask(server: Server, method: str, path: str, body: str | bytes, headers: dict[str, str]) -> Any:
    """Status and bytes of a request with exactly these headers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        connection.request(method, path, body or None, headers)
        with connection.getresponse() as answer:
            return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def both(bare, server) -> tuple[Server, Server]:
    """A bare and a hardened server with the same few files."""
    for one in (bare, server):
        own = one.folder / "user" / "default"
        (own / "d").mkdir(parents=True, exist_ok=True)
        for path in (own / "f.txt", own / "d" / "f.txt", one.folder / "input" / "a.png"):
            path.write_text("nothing")
        (one.folder / "input" / "wide.png").write_bytes(picture(20_000))
    return bare, server


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [*((400, one) for one in MALFORMED), *((415, one) for one in CHARSETS)],
    ids=lambda one: f"{one[0]} {one[1]:.60}" if isinstance(one, tuple) else str(one),
)
def test_malformed_requests(both, wanted: int, sent: tuple[Any, ...]) -> None:
    """The bare host takes the blame; here the client is told, in its language, and the log is."""
    bare, server = both
    method, path, body, headers = sent
    assert ask(bare, *sent)[0] == 500
    log = server.folder / "user" / "__zimage" / "fuse.jsonl"
    before = log.read_bytes() if log.exists() else b""
    for language, first in (("zh-CN,zh;q=0.9", "message"), ("en", "details")):
        status, answer = ask(server, method, path, body, {**headers, "Accept-Language": language})
        error = json.loads(answer)["error"]
        assert (status, error["type"][:3]) == (wanted, "ZI-")
        assert re.search("[\u4e00-\u9fff]", error[first])
    added = log.read_bytes()[len(before) :].decode().splitlines()
    assert [json.loads(line)["trigger"] for line in added] == [error["type"]] * 2


def test_what_is_judged_is_what_runs(both) -> None:
    """A character set of the client's choice makes another prompt of the same bytes."""
    prompt = json.dumps({"prompt": graph("+AGE-")}).encode()
    sent = request("POST", "/prompt", prompt, Content_Type="application/json; charset=utf-7")
    assert [ask(one, *sent)[0] for one in both] == [200, 415]


def test_previews_of_models_lie_in_their_folder(both) -> None:
    """The bare host shows any picture of the disk."""
    picture = both[0].folder / "outside.png"
    Image.new("RGB", (4, 4)).save(picture)
    path = f"/experiment/models/preview/checkpoints/0/{picture}"
    status, answer = ask(both[0], "GET", path, "", {})
    assert (status, answer[:4]) == (200, b"RIFF")
    status, answer = ask(both[1], "GET", path, "", {})
    assert (status, json.loads(answer)["error"]["type"]) == (400, "ZI-PATH")


def test_settings_survive(both) -> None:
    """Nothing of what is malformed has cost a setting that was there."""
    server = both[1]
    assert ask(server, *request("POST", "/settings", '{"kept": 1}'))[0] == 200
    for sent in MALFORMED:
        if sent[1].startswith("/settings"):
            assert ask(server, *sent)[0] == 400
    assert server.client.get("/settings/kept") == 1


@schema.parametrize()
def test_any_request(server, untouched, case: schemathesis.Case) -> None:
    """Whatever is sent is answered as the file says, and never as a fault of the server."""
    response = case.call(base_url=server.url)
    if response.status_code >= 500:
        assert case.path.startswith(ALLOWED.get(response.status_code, ("-",))), response.text
    known = case.method.lower() in METHODS & set(schema.raw_schema["paths"][case.path])
    if known:
        checks = CONFORMANCE if response.content else CONFORMANCE[:1]
        case.validate_response(response, checks=checks)


def test_the_server_lives(server) -> None:
    """After all that it runs a prompt, in the process and with the worker that it had."""
    assert server.process.poll() is None
    assert health(server)["reasons"] == []
    assert server.client.run(graph("none")).succeeded
    log = server.log.read_text(encoding="utf-8", errors="replace")
    assert "Error handling request" not in log  # how aiohttp tells of a 500
