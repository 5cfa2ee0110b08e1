"""A pack that tries everything, in a sandbox of a real ComfyUI: what stopped each attempt."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import psutil
import pytest
from PIL import Image

from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.server import Server, write_paths
from zimage_comfyui.sandbox.confinement import bubblewrap
from zimage_comfyui.tests.fakes.waiting import wait

PACKS = Path(__file__).parents[1] / "fakes" / "packs"
SECRET = "a secret that no pack may see"
POLICY = """
[packs.hostile]
silent_seconds = 5
call_seconds = 30
tasks = 200
memory = 2
"""

NO_ENTRY = "Permission denied"
NOT_ALLOWED = "Operation not permitted"
NO_SUCH_CALL = "Function not implemented"
REFUSED = (NO_ENTRY, NOT_ALLOWED, NO_SUCH_CALL)
ENDED = ("SIGSYS",)
BAD = ("bad message",)

STOPPED: dict[str, tuple[str, ...]] = {
    # The file system: Landlock, and no capability that would get round permissions.
    "read": REFUSED, "read_user_folder": REFUSED, "read_other_pack": REFUSED, "write": REFUSED,
    "write_own_code": REFUSED, "write_comfyui": REFUSED, "write_policy": REFUSED,
    "write_descriptions": REFUSED, "through_link": REFUSED,
    "through_hard_link": (*REFUSED, "cross-device"),
    "through_proc": REFUSED, "remove": REFUSED, "rename": REFUSED, "truncate": REFUSED,
    "shm": REFUSED, "device": REFUSED, "make_device": (*REFUSED, *ENDED),
    # Other processes.
    "environment_of": REFUSED, "memory_of": REFUSED, "own_environment": ("not there",),
    "ptrace": (*REFUSED, *ENDED), "other_memory": (*REFUSED, *ENDED), "kill": REFUSED,
    "kill_all": REFUSED, "kill_template": REFUSED, "kill_thread": REFUSED, "pidfd": REFUSED,
    "priority": REFUSED,
    # Programs and processes of its own.
    "fork": REFUSED, "fork_bomb": REFUSED, "program": REFUSED, "spawn": REFUSED,
    "execute": REFUSED, "set_user_bit": ("the bits were not set", *REFUSED),
    # The network.
    "connect": REFUSED, "connect_v6": REFUSED, "datagram": REFUSED, "unix": REFUSED,
    "listen": REFUSED, "netlink": REFUSED, "raw": REFUSED,
    # The kernel.
    "mount": (*REFUSED, *ENDED), "unshare": REFUSED, "chroot": (*REFUSED, *ENDED),
    "namespace": REFUSED, "deathsig": (*REFUSED, *ENDED), "dumpable": (*REFUSED, *ENDED),
    "personality": (*REFUSED, *ENDED), "keyring": REFUSED, "bpf": (*REFUSED, *ENDED),
    "ring": REFUSED, "faults": REFUSED, "handle_of_file": (*REFUSED, *ENDED),
    "become": (*REFUSED, *ENDED), "limits": ("limit", *REFUSED), "clock": (*REFUSED, *ENDED),
    "old_calls": (*REFUSED, *ENDED), "memfd": REFUSED,
    # Floods.
    "memory": ("memory", "MemoryError"), "shared_memory": ("Cannot allocate memory",),
    "descriptors": ("Too many open files",),
    "threads": ("threads and processes", "start new thread"),
    "stop_itself": ("no sign of life", *REFUSED), "flood_of_output": ("left out",),
    "output_without_end": ("cut",), "many_events": ("they harm nobody",),
    # What a worker says.
    "half_a_frame": BAD, "frame_by_drops": BAD, "report_forged": ("SIGSEGV",),
    "report_of_nothing": ("SIGKILL",),
    "garbage": BAD, "oversized": BAD, "deep": BAD, "unknown_type": BAD,
    "reply_naming_code": BAD, "tensor_nowhere": BAD, "tensor_too_long": BAD,
    "places_that_overlap": BAD, "keys_that_collide": BAD,
    "objects_without_end": ("bytes for this pack",), "error_of_many_lines": ("first\n  [sand",),
    "dtype_naming_code": BAD, "guessed_objects": BAD, "hidden_attribute": BAD,
    "function_of_the_system": ("there is no function",),
    "function_import": ("there is no function",), "function_eval": ("there is no function",),
    "huge_arena": ("bytes",), "negative_arena": ("bytes",),
    "result_of_another_call": ("there is no such call",), "leases_of_others": ("mean nothing",),
    "event_of_another_prompt": ("left out",), "event_that_is_no_json": ("left out",),
    "lines_in_the_log": ("harmless",), "closed_connection": ("ended", "no sign of life", "exit"),
}  # fmt: skip
"""Attempt, and what has to be in the message that ends it, one of these."""
IN_VIEW = {
    **dict.fromkeys(
        (
            "read", "read_user_folder", "read_other_pack", "write_descriptions", "truncate",
            "through_hard_link", "through_proc", "device", "environment_of", "memory_of",
        ),
        "No such file or directory",
    ),
    **dict.fromkeys(("write_own_code", "write_comfyui"), "Read-only file system"),
    "rename": "Invalid cross-device link",
}  # fmt: skip
"""What ends an attempt in bubblewrap, where files and processes of others are not there."""
AS = {
    "read_user_folder": "read", "read_other_pack": "read", "write_own_code": "write",
    "write_comfyui": "write", "write_policy": "write", "write_descriptions": "write",
    "connect_v6": "connect",
}  # fmt: skip
"""Attempts that are others with other facts."""


IN_BUBBLEWRAP = pytest.mark.skipif(
    bubblewrap.available().state != "applied", reason="bubblewrap cannot be used here"
)


@pytest.fixture(scope="module", params=["", pytest.param("bubblewrap", marks=IN_BUBBLEWRAP)])
def server(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    host: Host,
    pack_dir: Path,
) -> Iterator[Server]:
    """Strict, with the hostile pack, by itself and in bubblewrap, and a neighbour."""
    folder = tmp_path_factory.mktemp("hostile")
    own = folder / "packs"
    for name in ("hostile", "outside"):
        shutil.copytree(PACKS / name, own / name, ignore=shutil.ignore_patterns("__pycache__"))
    write_paths(folder / "paths.yaml", {"custom_nodes": str(own)})
    user = folder / "server" / "user"
    (user / "__zimage").mkdir(parents=True)
    (user / "default").mkdir()
    (user / "__zimage" / "sandbox.toml").write_text(
        POLICY + ("bubblewrap = true\n" if request.param else "")
    )
    for path in (folder / "secret", user / "default" / "comfy.settings.json"):
        path.write_text(SECRET)
    (folder / "server" / "output").mkdir()
    (folder / "server" / "output" / "picture.png").write_text(SECRET)
    env = {**os.environ, "ZIMAGE_SANDBOX": "strict", "HF_TOKEN": SECRET}
    arguments = ("--extra-model-paths-config", str(folder / "paths.yaml"))
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Server(host, pack_dir, folder / "server", arguments, env=env) as found,
    ):
        found.facts = facts(found, folder, listener)  # type: ignore[attr-defined]
        found.view = bool(request.param)  # type: ignore[attr-defined]
        yield found


def facts(server: Server, folder: Path, listener: socket.socket) -> dict[str, dict[str, Any]]:
    """What each attempt is told; ``""`` is for those without an entry of their own."""
    user = folder / "server" / "user"
    port = listener.getsockname()[1]
    unix = folder / "socket"
    common = {
        "path": str(folder / "secret"), "secret": SECRET, "pid": server.process.pid,
        "port": port, "secret_file": "secret",
    }  # fmt: skip
    output = {"path": str(folder / "server" / "output" / "picture.png")}
    return {
        "": common,
        "read_user_folder": {"path": str(user / "default" / "comfy.settings.json")},
        "read_other_pack": {"path": str(folder / "packs" / "outside" / "__init__.py")},
        "write_own_code": {"path": str(folder / "packs" / "hostile" / "__init__.py")},
        "write_comfyui": {"path": str(server.host.path / "nodes.py")},
        "write_policy": {"path": str(user / "__zimage" / "sandbox.toml")},
        "write_descriptions": {"path": str(user / "__zimage" / "descriptions" / "x")},
        "remove": output, "rename": output,
        "connect_v6": {"family": "AF_INET6", "host": "::1"},
        "unix": {"path": str(unix)},
    }  # fmt: skip


def attempt(server: Server, name: str, seed: int = 0) -> dict[str, Any]:
    """The history entry of one attempt."""
    known: dict[str, dict[str, Any]] = server.facts  # type: ignore[attr-defined]
    inputs = {
        "name": AS.get(name, name), "seed": seed,
        "facts": json.dumps(known[""] | known.get(name, {})),
    }  # fmt: skip
    graph = {
        "1": {"class_type": "HostileTry", "inputs": inputs},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    status, answer = server.client.submit(
        graph if name.startswith("picture") else {"1": graph["1"]}
    )
    assert status == 200, answer
    prompt = answer["prompt_id"]
    wait(lambda: prompt in server.client.get(f"/history/{prompt}"))
    return server.client.get(f"/history/{prompt}")[prompt]


def said(entry: dict[str, Any]) -> str:
    """What the attempt ended with: the error, or what it got."""
    for kind, about in entry["status"]["messages"]:
        if kind == "execution_error":
            return about["exception_message"]
    return f"GOT {entry['outputs']['1']['got']}"


@pytest.fixture
def free(server: Server) -> Iterator[Server]:
    """The pack is not in quarantine, before and after."""
    for _ in range(2):
        status, answer = server.client.request("/zimage/sandbox/lift", {"pack": "hostile"})
        assert status == 200, answer
        if _ == 0:
            yield server


@pytest.mark.parametrize("name", STOPPED)
def test_no_attempt_succeeds(free: Server, name: str) -> None:
    """Each is stopped by what is meant to stop it, and the server answers."""
    found = said(attempt(free, name))
    view: bool = free.view  # type: ignore[attr-defined]
    expected = (IN_VIEW[name],) if view and name in IN_VIEW else STOPPED[name]
    assert any(one.lower() in found.lower() for one in expected), found
    assert not found.startswith("GOT")
    assert free.process.poll() is None
    assert free.client.request("/health/live")[0] == 200
    if table := os.environ.get("ZIMAGE_HOSTILE_TABLE"):
        with Path(table).open("a", encoding="utf-8") as file:
            stopped = next(one for one in expected if one.lower() in found.lower())
            where = "stopped_in_bubblewrap" if view else "stopped"
            file.write(f"{where}\t{name}\t{stopped.splitlines()[0]}\n")


def test_an_object_with_a_reduce_is_never_opened(free: Server) -> None:
    """It stays where it is: the host has a handle."""
    assert "handed over" in said(attempt(free, "object_with_a_reduce"))
    assert not Path("/tmp/hostile-pickle").exists()


def test_a_picture_cannot_be_changed_after_it_was_handed_over(free: Server) -> None:
    """The host has copied it before it looked at it."""
    entry = attempt(free, "picture_changed_afterwards")
    (image,) = entry["outputs"]["2"]["images"]
    path = Path(free.folder, "temp", "temp", image["filename"])
    if not path.exists():
        (path,) = Path(free.folder, "temp").rglob(image["filename"])
    pixels = numpy.asarray(Image.open(path))
    assert pixels.min() == pixels.max() == 63


def test_a_place_that_is_named_often_is_copied_once(free: Server) -> None:
    """300 tensors of 32 MiB are one."""
    own = psutil.Process(free.process.pid)
    before, most = own.memory_info().rss, 0
    found = attempt(free, "one_place_many_times")
    most = own.memory_info().rss
    assert "handed over" in said(found)
    assert most - before < 2**30


def test_keys_of_an_account_stay_outside(free: Server) -> None:
    """The node gets what it would get without an account, and all else that it asks for."""
    body = {
        "prompt": {"7": {"class_type": "HostileKeys", "inputs": {"seed": 1}}},
        "extra_data": {"api_key_comfy_org": SECRET, "auth_token_comfy_org": SECRET},
    }
    status, answer = free.client.request("/prompt", body)
    assert status == 200, answer
    prompt = json.loads(answer)["prompt_id"]
    wait(lambda: prompt in free.client.get(f"/history/{prompt}"))
    entry = free.client.get(f"/history/{prompt}")[prompt]
    assert entry["status"]["status_str"] == "success", said(entry)
    outputs = entry["outputs"]
    assert outputs["7"]["got"] == ["(None, None, '7')"]


def test_paths_in_results_lead_nowhere(free: Server) -> None:
    """The page gets the name, and ``/view`` refuses it."""
    entry = attempt(free, "path_in_a_result")
    assert "handed over" in said(entry)
    image = entry["outputs"]["1"]["images"][0]
    with pytest.raises(OSError, match="GET /view"):
        free.client.view(image)


def test_nothing_of_the_host_was_taken(server: Server) -> None:
    """Names, routes, folders and lines of others are as they were."""
    assert "hijacked" not in json.dumps(server.client.get("/queue"))
    about = server.client.get("/object_info/KSampler")["KSampler"]
    assert about["display_name"] == "KSampler"
    assert about["python_module"] == "nodes"
    found = server.client.get("/health")["sandboxes"]["findings"]
    assert [one["en"] for one in found if one["code"] == "ZI-SANDBOX-NAME"] != []
    assert "passwd" not in json.dumps(
        server.client.get("/object_info/CheckpointLoaderSimple")["CheckpointLoaderSimple"]
    )
    assert server.client.request("/extensions/hostile-etc/passwd")[0] == 404
    status, _ = server.client.request("/hostile/free")
    assert status == 200
    log = server.log.read_bytes()
    assert b"\n[sandboxes] ERROR forged" not in log
    assert b"\x1b" not in log
    assert SECRET.encode() not in log
    assert Path(server.folder, "output", "picture.png").read_text() == SECRET


def test_the_neighbour_and_the_host_go_on(server: Server) -> None:
    """After all of it another pack runs, and nobody is left over."""
    entry_of = {"1": {"class_type": "OutsideEcho", "inputs": {"value": 5}}}
    status, answer = server.client.submit(entry_of)
    assert status == 200, answer
    prompt = answer["prompt_id"]
    wait(lambda: prompt in server.client.get(f"/history/{prompt}"))
    assert server.client.get(f"/history/{prompt}")[prompt]["outputs"]["1"]["value"] == [5]
    family = psutil.Process(server.process.pid).children(recursive=True)
    # The template and at most one process for each pack; bubblewrap's two, and the template there.
    view: bool = server.view  # type: ignore[attr-defined]
    assert len(family) <= (6 if view else 3)
