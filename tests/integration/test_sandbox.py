"""Other people's packs in sandboxes, in a real ComfyUI."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from zimage_comfyui.cli.client import Client
from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.server import Server, write_paths
from zimage_comfyui.tests.fakes.waiting import wait

PACKS = Path(__file__).parents[1] / "fakes" / "packs"
POLICY = """
[packs.outside]
call_seconds = 600

[packs.hangs]
load_seconds = 4

[packs.daemons]
processes = true
tasks = 50
"""


def server_with(
    folder: Path, host: Host, pack_dir: Path, mode: str, packs: tuple[str, ...]
) -> Server:
    """A server with some of the packs, that is not started yet."""
    own = folder / "other packs"
    for name in packs:
        shutil.copytree(PACKS / name, own / name, ignore=shutil.ignore_patterns("__pycache__"))
    write_paths(folder / "paths.yaml", {"custom_nodes": str(own)})
    policy = folder / "server" / "user" / "__zimage" / "sandbox.toml"
    policy.parent.mkdir(parents=True)
    policy.write_text(POLICY)
    (folder / "server" / "input").mkdir()
    (folder / "server" / "input" / "first.txt").write_text("")
    env = {**os.environ, "ZIMAGE_SANDBOX": mode, "A_SECRET_TOKEN": "not for packs"}
    arguments = ("--extra-model-paths-config", str(folder / "paths.yaml"))
    return Server(host, pack_dir, folder / "server", arguments, env=env)


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, host: Host, pack_dir: Path
) -> Iterator[Server]:
    """Strict, with one sound pack and four that cannot be loaded."""
    folder = tmp_path_factory.mktemp("sandboxes")
    packs = ("outside", "changes_host", "needs_library", "hangs", "dies", "absurd")
    with server_with(folder, host, pack_dir, "strict", packs) as found:
        yield found


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, host: Host, pack_dir: Path) -> Iterator[Server]:
    """The same sound pack in ComfyUI's own process."""
    folder = tmp_path_factory.mktemp("bare")
    with server_with(folder, host, pack_dir, "off", ("outside", "changes_host")) as found:
        yield found


def node(class_type: str, /, **inputs: Any) -> dict[str, Any]:
    """A node of a prompt."""
    return {"class_type": class_type, "inputs": inputs}


def outcome(client: Client, graph: dict[str, Any]) -> dict[str, Any]:
    """The history entry of a prompt, once there is one."""
    status, answer = client.submit(graph)
    assert status == 200, answer
    prompt = answer["prompt_id"]
    wait(lambda: prompt in client.get(f"/history/{prompt}"))
    return client.get(f"/history/{prompt}")[prompt]


def failure(entry: dict[str, Any]) -> str:
    """What the node that failed said."""
    return next(
        about["exception_message"]
        for kind, about in entry["status"]["messages"]
        if kind == "execution_error"
    )


def where(server: Server, seed: int) -> dict[str, Any]:
    """What a node sees of the process that it runs in."""
    entry = outcome(server.client, {"1": node("OutsideWhere", seed=seed)})
    return entry["outputs"]["1"]["where"][0]


def files(server: Server) -> list[str]:
    """A list that depends on files."""
    about = server.client.get("/object_info/OutsideInvert")["OutsideInvert"]
    return about["input"]["optional"]["file"][0]


def state(server: Server) -> dict[str, Any]:
    """How the sandbox of the sound pack is."""
    return server.client.get("/health")["sandboxes"]["packs"]["outside"]


def log(server: Server) -> str:
    """What the server has written."""
    return server.log.read_text(errors="replace")


def test_a_sandboxed_pack_describes_its_nodes_as_in_the_host(server, bare) -> None:
    """``/object_info`` of every node is the same, of both kinds."""
    inside, outside = bare.client.get("/object_info"), server.client.get("/object_info")
    names = [name for name in inside if name.startswith("Outside")]
    assert len(names) >= 8
    assert {name: outside[name] for name in names} == {name: inside[name] for name in names}


def test_nodes_run_in_another_process(server) -> None:
    """Script, module and nodes of the pack run in a process of their own, without secrets."""
    found = where(server, 1)
    assert found["pid"] != server.process.pid
    assert psutil.Process(found["pid"]).parent().parent().pid == server.process.pid
    assert found["script"] is True
    assert "A_SECRET_TOKEN" not in found["environment"]


def test_what_a_node_prints_is_in_the_log_and_harmless(server) -> None:
    """Lines have the pack's name before them, and no control character in them."""
    where(server, 2)
    wait(lambda: "[outside] printed \\x1b[2J from a node" in log(server))


def test_pictures_are_the_same_bytes(server, bare) -> None:
    """Tensors cross the border and back without a change, in V1 and V3 nodes."""
    graph = {
        "1": node("EmptyImage", width=640, height=480, batch_size=2, color=0x336699),
        "2": node("OutsideInvert", image=["1", 0], strength=0.3),
        "3": node("OutsideNewStyle", image=["2", 0], mode="halve", times=2),
        "4": node("PreviewImage", images=["3", 0]),
        "5": node("MaskToImage", mask=["2", 1]),
        "6": node("PreviewImage", images=["5", 0]),
    }
    pictures = []
    for one in (server, bare):
        entry = outcome(one.client, graph)
        found = [image for key in ("4", "6") for image in entry["outputs"][key]["images"]]
        assert len(found) == 4
        assert entry["outputs"]["3"] == {"id": ["3"]}
        pictures.append([one.client.view(image) for image in found])
    assert pictures[0] == pictures[1]


def test_objects_stay_in_the_sandbox_and_come_back(server) -> None:
    """What is no plain data is a handle in the host, which nodes of the pack can use."""
    graph = {
        "1": node("OutsideKeep", number=41),
        "2": node("OutsideUse", thing=["1", 0], any=["1", 0]),
    }
    assert outcome(server.client, graph)["outputs"]["2"]["number"] == [41]


def test_lists_of_files_are_asked_for_anew(server) -> None:
    """A new file is in the widget's list and passes the check."""
    new = Path(server.folder, "input", "second.txt")
    new.write_text("")
    wait(lambda: "second.txt" in files(server))


def test_a_wrong_value_is_refused_by_the_packs_own_check(server) -> None:
    """``validate_inputs`` runs in the sandbox before the prompt is accepted."""
    graph = {
        "1": node("EmptyImage", width=64, height=64, batch_size=1, color=0),
        "2": node("OutsideNewStyle", image=["1", 0], mode="triple"),
    }
    status, answer = server.client.submit(graph)
    assert status == 400
    assert "2" in json.dumps(answer["node_errors"])


@pytest.mark.parametrize(
    ("kind", "says"), [("raise", "不行 no good"), ("odd", "Peculiar: odd one"), ("quit", "3")]
)
def test_what_a_node_raises_fails_that_node_alone(server, kind: str, says: str) -> None:
    """The message arrives, and the process goes on."""
    before = where(server, 3)["pid"]
    entry = outcome(server.client, {"1": node("OutsideTrouble", kind=kind, seed=0)})
    assert says in failure(entry)
    assert where(server, 4)["pid"] == before


@pytest.fixture
def trusting(server) -> Iterator[Server]:
    """A server whose packs have no crash on their record, before and after."""
    lift(server)
    yield server
    lift(server)


def lift(server: Server) -> None:
    """End the quarantine of the sound pack."""
    status, answer = server.client.request("/zimage/sandbox/lift", {"pack": "outside"})
    assert status == 200, answer


@pytest.mark.parametrize(
    ("kind", "says"),
    [("segv", "SIGSEGV"), ("abort", "SIGABRT"), ("exit", "exit 7"), ("kill", "SIGKILL")],
)
def test_the_end_of_the_process_fails_that_node_alone(trusting, kind: str, says: str) -> None:
    """Node, pack, reason and last words are told; the next prompt has a new process."""
    before = where(trusting, 5)["pid"]
    entry = outcome(trusting.client, {"1": node("OutsideTrouble", kind=kind, seed=1)})
    said = failure(entry)
    assert "ZI-SANDBOX-DIED" in said
    assert all(part in said for part in (says, "outside", "OutsideTrouble 1", "last words before"))
    assert where(trusting, 6)["pid"] not in (before, trusting.process.pid)


def test_a_crash_between_calls_is_told(trusting) -> None:
    """By faulthandler's report in the log, though nobody waited for anything."""
    before = where(trusting, 11)["pid"]
    graph = {"1": node("OutsideTrouble", kind="later", seed=4)}
    assert outcome(trusting.client, graph)["status"]["status_str"] == "success"
    wait(
        lambda: (
            "Fatal Python error: Segmentation fault" in log(trusting).rpartition("before later")[2]
        )
    )
    assert where(trusting, 12)["pid"] != before


def test_handles_of_a_process_that_ended_are_made_again(trusting) -> None:
    """ComfyUI's cache does not hand out objects that are gone."""
    graph = {
        "1": node("OutsideKeep", number=42),
        "2": node("OutsideUse", thing=["1", 0], any=["1", 0]),
    }
    assert outcome(trusting.client, graph)["outputs"]["2"]["number"] == [42]
    outcome(trusting.client, {"1": node("OutsideTrouble", kind="exit", seed=2)})
    assert outcome(trusting.client, graph)["outputs"]["2"]["number"] == [42]


@pytest.mark.parametrize("kind", ["loop", "sleep"])
def test_a_node_that_says_nothing_can_be_interrupted(trusting, kind: str) -> None:
    """An interrupt reaches Python code and code that sleeps in the system."""
    status, answer = trusting.client.submit({"1": node("OutsideTrouble", kind=kind, seed=3)})
    assert status == 200
    wait(lambda: f"last words before {kind}" in log(trusting).rpartition("got prompt")[2])
    trusting.client.request("/interrupt", {})
    prompt = answer["prompt_id"]
    wait(lambda: prompt in trusting.client.get(f"/history/{prompt}"))
    messages = trusting.client.get(f"/history/{prompt}")[prompt]["status"]["messages"]
    assert "execution_interrupted" in [kind for kind, _ in messages]
    where(trusting, 7)


def test_a_pack_that_keeps_ending_is_quarantined(trusting) -> None:
    """After three ends its nodes fail with a code at once; other nodes run; it can be lifted."""
    for seed in range(3):
        outcome(trusting.client, {"1": node("OutsideTrouble", kind="exit", seed=10 + seed)})
    said = failure(outcome(trusting.client, {"1": node("OutsideWhere", seed=8)}))
    assert "ZI-SANDBOX-QUARANTINE" in said
    entry = outcome(
        trusting.client,
        {
            "1": node("EmptyImage", width=64, height=64, batch_size=1, color=1),
            "2": node("PreviewImage", images=["1", 0]),
        },
    )
    assert entry["status"]["status_str"] == "success"
    lift(trusting)
    where(trusting, 9)


def test_a_process_that_is_killed_from_outside_is_replaced(trusting) -> None:
    """The next prompt does not notice."""
    before = where(trusting, 10)["pid"]
    os.kill(before, signal.SIGKILL)
    wait(lambda: not psutil.pid_exists(before))
    assert where(trusting, 11)["pid"] != before


def test_packs_that_cannot_be_loaded_are_told_by_code(server) -> None:
    """Each with what was found; the sound pack and ComfyUI are there."""
    said = log(server)
    expected = {
        "changes_host": ("ZI-SANDBOX-HOST", "comfy.utils.state_dict_prefix_replace"),
        "needs_library": ("ZI-SANDBOX-LIBRARY", "pip install a_library_that_nobody_has"),
        "hangs": ("ZI-SANDBOX-IMPORT", "4 s"),
        "dies": ("ZI-SANDBOX-IMPORT", "SIGABRT"),
        "absurd": ("ZI-SANDBOX-ABSURD", "10001 nodes"),
    }
    for pack, (code, found) in expected.items():
        lines = [line for line in said.splitlines() if code in line and pack in line]
        assert lines, (pack, code)
        assert any(found in line for line in lines), lines
    known = server.client.get("/object_info")
    assert "HostChanger" not in known
    assert not [name for name in known if name.startswith("Absurd")]


def test_without_sandboxes_all_run_in_the_host(bare) -> None:
    """``off`` leaves ComfyUI as it is."""
    assert where(bare, 1)["pid"] == bare.process.pid
    assert "HostChanger" in bare.client.get("/object_info")


def test_a_second_start_reads_the_description(tmp_path: Path, host: Host, pack_dir: Path) -> None:
    """What was described once is not asked again; a changed file is; ``auto`` says what stays."""
    server = server_with(tmp_path, host, pack_dir, "auto", ("outside", "changes_host"))
    with server:
        assert "ZI-SANDBOX-HOST" in log(server)
        assert "HostChanger" in server.client.get("/object_info")
        first = server.client.get("/object_info/OutsideEcho")
    stored = Path(server.folder, "user", "__zimage", "descriptions")
    (one,) = stored.glob("outside.*")
    with server:
        assert server.client.get("/object_info/OutsideEcho") == first
        assert where(server, 1)["pid"] != server.process.pid
        assert [one] == list(stored.glob("outside.*"))
    with server:  # lists are as new as the files, though nothing runs that could know
        assert not state(server)["pid"]
        assert "third.txt" not in files(server)
        assert not state(server)["pid"]
        Path(server.folder, "input", "third.txt").write_text("")
        wait(lambda: "third.txt" in files(server))
        assert state(server)["pid"]
        assert state(server)["gaps"]
    with server:
        assert "third.txt" in files(server)
        assert not state(server)["pid"]


def test_inputs_that_depend_on_others(server, bare) -> None:
    """They grow and go as in the host, on hosts that have such inputs."""
    if "OutsideSum" not in bare.client.get("/object_info"):
        pytest.skip("no such inputs in this ComfyUI")
    one = {"9": node("OutsideEcho", value=5)}
    graphs: dict[str, dict[str, Any]] = {
        "two": {"1": node("OutsideSum", **{"numbers.number0": 3, "numbers.number1": ["9", 0]})},
        "one": {"1": node("OutsideSum", **{"numbers.number0": 3})},
        "number": {"1": node("OutsideChoice", **{"which": "number", "which.value": ["9", 0]})},
        "text": {"1": node("OutsideChoice", **{"which": "text", "which.text": "字"})},
        "all": {"1": node("OutsideEverything", a=1, b="two", c=["9", 0])},
    }
    found = {
        which: [outcome(one_of.client, one | graph)["outputs"]["1"] for one_of in (server, bare)]
        for which, graph in graphs.items()
    }
    assert all(ours == theirs for ours, theirs in found.values()), found
    assert found["two"][0]["sum"] == [[["number0", "number1"], 8, "1"]]
    assert found["number"][0]["which"] == [[["value", 5], ["which", "number"]]]


def test_two_prompts_at_a_time_do_not_mix(server) -> None:
    """Calls from several clients end with their own results."""
    found: dict[int, list[int]] = {}

    def ask(value: int) -> None:
        client = Client(server.url)
        found[value] = outcome(client, {"1": node("OutsideEcho", value=value)})["outputs"]["1"][
            "value"
        ]

    threads = [threading.Thread(target=ask, args=(value,)) for value in range(100, 108)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == {value: [value] for value in range(100, 108)}


def test_no_script_of_a_pack_runs_before_ours(tmp_path: Path, host: Host, pack_dir: Path) -> None:
    """Folders that ComfyUI lists before ours hold nothing that runs in its process."""
    server = server_with(tmp_path, host, pack_dir, "strict", ("outside",))
    places = {"custom_nodes": str(tmp_path / "other packs"), "is_default": True}
    write_paths(tmp_path / "paths.yaml", places)
    with server:
        assert where(server, 1)["script"] is True
        assert "ran in ComfyUI's process" not in log(server)
