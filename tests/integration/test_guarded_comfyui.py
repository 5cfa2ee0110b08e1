"""``./zimage serve`` with its guardian and a real ComfyUI: nothing accepted is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import psutil
import pytest

from zimage_comfyui.drill.faults.base import code, node, submit
from zimage_comfyui.drill.load import Load, quietly
from zimage_comfyui.drill.stage import Stage, until
from zimage_comfyui.tests.fakes import graphs, keeper, odd_pack

pytestmark = pytest.mark.slow


@pytest.fixture
def serve(host, tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Starts the command; ends it, and whatever it has started."""
    made: list[Stage] = []

    def make(*options: str, **env: str) -> Stage:
        made.append(Stage(host, tmp_path, *options, env=env))
        shutil.copy(str(odd_pack.__file__), tmp_path / "packs")
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.stop()


def test_a_killed_server_is_replaced_and_nothing_is_lost(serve) -> None:
    """By the standby: connections wait, the running prompt runs again, each ends once."""
    served = serve("--standby", "on")
    (first,) = served.pids("serves now")
    standby = until(lambda: served.standby, "a standby")
    running = submit(served, node("sleep", seconds=3.0))
    until(lambda: served.client.get("/health")["queue"]["running"], "a prompt that runs")
    waiting = [submit(served, node("none", note=str(number))) for number in range(3)]
    load = Load(served)
    load.start()
    os.kill(first, signal.SIGKILL)
    try:
        entries = [served.entry(id) for id in (running, *waiting)]
    finally:
        load.done.set()
        load.join()
    assert [entry["status"]["status_str"] for entry in entries] == ["success"] * 4
    assert served.pids("serves now") == [first, standby]
    assert load.refused == []
    assert load.lost_prompts() == []
    assert len(load.accepted) > 0


def test_a_process_that_a_node_has_forked_does_not_keep_the_queue(serve) -> None:
    """It has the queue's lock, and does not end by itself; the next server has a durable queue."""
    served = serve("--standby", "off")
    entry = served.entry(submit(served, node("fork", "Odd")))
    forked = psutil.Process(int(entry["outputs"]["1"]["text"][0]))
    first = served.active
    os.kill(first, signal.SIGKILL)
    until(lambda: served.pids("serves now")[-1:] != [first], "another server")
    assert not alive(forked)
    until(served.client.answers, "an answer")
    assert served.client.get("/health")["patches"]["queue"]["status"] == "active"
    assert served.entry(submit(served, node("none", "Odd")))["status"]["completed"]


def test_sandboxes_belong_to_one_server(serve) -> None:
    """A standby has its own; those of a server that is killed or replaced end with it, and the
    prompt that ran in one runs in another."""
    served = serve("--standby", "on", ZIMAGE_SANDBOX="strict")
    for harm in (signal.SIGKILL, signal.SIGHUP):
        served.settle()
        active = served.active
        running = submit(served, node("sleep", seconds=3.0, note=harm.name))
        until(lambda: served.client.get("/health")["queue"]["running"], "a prompt that runs")
        found = served.client.get("/health")["sandboxes"]["packs"]
        assert found["trouble"]["status"] == "running"
        family = psutil.Process(active).children(recursive=True)
        assert {one.name() for one in family} >= {"zimage-template"}
        if harm == signal.SIGKILL:
            os.kill(active, harm)
        else:
            served.process.send_signal(harm)  # to the guardian: a planned replacement
        assert served.entry(running)["status"]["completed"]
        until(lambda active=active: not served.runs(active), "the end of the server")
        until(lambda family=family: not any(map(alive, family)), "the end of its sandboxes")
        assert served.client.run(node("none", note=harm.name)).succeeded


def alive(process: psutil.Process) -> bool:
    """Whether it is still the same process, and not only its exit status."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def test_a_prompt_that_ignores_an_interrupt_is_ended_with_its_process(serve) -> None:
    """As interrupted, in the history, in the log and for its client; the next one runs."""
    served = serve("--standby", "off", ZIMAGE_INTERRUPT="1")
    first, id, heard = served.active, "blocks", []
    graph = node("sleep", seconds=3600.0)

    async def interrupt() -> None:
        url = f"{served.client.url}/ws?clientId=c"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            await asyncio.to_thread(submit, served, graph, prompt_id=id, client_id="c")
            async for message in socket:
                told = message.json()
                heard.append((told["type"], told["data"].get("prompt_id")))
                if heard[-1] == ("executing", id) and told["data"]["node"] == "1":
                    asked = json.dumps({"prompt_id": id}).encode()
                    await asyncio.to_thread(served.post, "/interrupt", asked)

    thread = threading.Thread(target=lambda: asyncio.run(interrupt()))
    thread.start()
    until(lambda: ("executing", id) in heard, "a prompt that runs")
    waiting = [submit(served, node("none", note=str(number))) for number in range(3)]
    entries = [served.entry(one) for one in (id, *waiting)]
    thread.join()
    assert [entry["status"]["completed"] for entry in entries] == [False, True, True, True]
    event, about = entries[0]["status"]["messages"][-1]
    assert (event, about["node_id"], about["node_type"]) == (
        "execution_interrupted",
        "1",
        "Trouble",
    )
    assert heard[-2:] == [("execution_interrupted", id), ("executing", id)]
    (line,) = [one for one in map(json.loads, served.log("core.jsonl")) if one["request_id"] == id]
    assert line["status"] == "interrupted"
    assert served.active != first
    (killed,) = [one for one in served.log() if "does not react to an interrupt" in one][:1]
    assert f"[{first}]" in killed


def kept(dtype: str) -> dict[str, Any]:
    """A picture of a small model that a pack keeps; another type is another model."""
    small = {
        "load__model_name": "zimage-small-turbo.safetensors",
        "load__text_encoder": "zimage-small-qwen3.safetensors",
        "load__vae": "zimage-small-ae.safetensors",
    }
    graph = graphs.render(**small, load__dtype=dtype, sample__steps=1)
    graph["keep"] = {"class_type": "Keep", "inputs": {"model": ["load", 0]}}
    graph["sample"]["inputs"]["model"] = ["keep", 0]
    return graph


def test_a_prompt_runs_in_the_next_process_when_the_model_before_stays(serve, tmp_path) -> None:
    """Again and again, each of them once: a process that has run nothing else runs it."""
    (tmp_path / "packs").mkdir()
    shutil.copy(str(keeper.__file__), tmp_path / "packs" / "keeper.py")
    served = serve("--standby", "off")
    ids = [submit(served, kept(dtype)) for dtype in ("fp32", "auto", "fp32")]
    last = submit(served, node("none", note="behind"))
    for id in (*ids, last):
        entry = served.entry(id)
        assert entry["status"]["completed"], entry["status"]["messages"][-1]
    assert len(served.pids("serves now")) == len(ids)
    assert len(served.pids("a model stays in memory")) == 2 * (len(ids) - 1)  # asked, and ended
    until(lambda: last in served.log("core.jsonl")[-1], "the log of the last prompt")
    ended = [json.loads(line)["request_id"] for line in served.log("core.jsonl")]
    assert ended == list(served.client.get("/history")) == [*ids, last]


def test_sigterm_lets_the_running_prompt_end_and_keeps_the_rest(serve, pack_dir: Path) -> None:
    """What waits is there again after the next start; sampling for too long has a code."""
    served = serve("--standby", "off", ZIMAGE_DEADLINES="turbo.cpu=0.02")
    running = submit(served, node("sleep", seconds=2.0))
    until(lambda: served.client.get("/health")["queue"]["running"], "a prompt that runs")
    waiting = submit(served, node("none", note="later"))
    assert served.client.request("/health/ready")[0] == 200
    served.process.send_signal(signal.SIGTERM)
    until(lambda: served.client.request("/health/ready")[0] == 503, "an end that is told")
    assert served.client.get("/health/live")
    assert json.loads(served.client.request("/health")[1])["reasons"] == ["ending"]
    assert served.process.wait(120) == 0
    assert [json.loads(line)["request_id"] for line in served.log("core.jsonl")] == [running]
    served.start()
    assert served.entry(running)["status"]["completed"]
    assert served.entry(waiting)["status"]["completed"]
    assert not [line for line in served.log("comfyui.log") if "Z-Image: hardening" in line]
    template = pack_dir / "workflows" / "api" / "电商海报生成.json"
    done = served.client.run(json.loads(template.read_text(encoding="utf-8")))
    assert done.error is not None
    assert "[ZI-DEADLINE]" in done.error["exception_message"]
    assert served.client.run(node("none")).succeeded


STUCK = """
import time

class KSampler:
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = ("LATENT",), "sample", "tests", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "latent_image": ("LATENT",)}}

    def sample(self, model, latent_image):
        time.sleep(3600)

NODE_CLASS_MAPPINGS = {"Stuck": KSampler}
"""


def test_a_sampler_that_does_not_stop_is_ended_with_its_process(serve, tmp_path: Path) -> None:
    """Its prompt has failed and does not run again; what waits runs in another server."""
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "stuck.py").write_text(STUCK, encoding="utf-8")
    served = serve("--standby", "off", ZIMAGE_DEADLINES="turbo.cpu=0.1,grace=0.1")
    small = {name: f"zimage-small-{one}.safetensors" for name, one in (
        ("model_name", "turbo"), ("text_encoder", "qwen3"), ("vae", "ae"))}  # fmt: skip
    graph = graphs.render(**{f"load__{name}": file for name, file in small.items()})
    links = {"model": ["load", 0], "latent_image": ["size", 0]}
    graph = {name: graph[name] for name in ("load", "size")}
    stuck = submit(served, graph | {"3": {"class_type": "Stuck", "inputs": links}})
    waiting = submit(served, node("none", note="later"))
    entry = served.entry(stuck)
    assert served.entry(waiting)["status"]["completed"]
    assert entry["status"]["status_str"] == "error"
    assert "[ZI-DEADLINE]" in entry["status"]["messages"][-1][1]["exception_message"]
    assert served.entry(stuck) == entry
    assert len(served.pids("serves now")) == 2


def test_safe_mode_is_told_and_what_it_cannot_run_fails_with_a_code(serve) -> None:
    """Other packs are off: health, metrics and the prompt that needs one of them say so."""
    served = serve("--standby", "off", ZIMAGE_GUARD="failures=1,quick=600")
    assert served.client.get("/health")["mode"] == "normal"
    submit(served, node("sleep", seconds=2.0))  # the others are accepted meanwhile
    deadly, waiting = submit(served, node("die")), submit(served, node("none"))
    assert "[ZI-PROMPT-DEADLY]" in code(served.entry(deadly))
    told = code(served.entry(waiting))
    assert told.startswith("[ZI-NODE-GONE]")
    assert "Trouble" in told
    assert len([line for line in served.log() if f"that were running: {deadly}" in line]) == 2
    assert served.client.get("/health")["mode"] == "safe"
    assert "zimage_reduced 1" in served.client.request("/metrics")[1].decode()


def test_a_gpu_that_fails_is_left_to_another_process(serve) -> None:
    """The prompt has failed, the next one runs in a new process; after failures in a row, however
    long each server has served, less is started."""
    served = serve("--standby", "off", ZIMAGE_GUARD="failures=2,quick=0")
    first = served.active
    failed, next_one = submit(served, node("gpu", "Odd")), submit(served, node("none", "Odd"))
    assert code(served.entry(failed)).startswith("CUDA error: an illegal memory access")
    assert served.entry(next_one)["status"]["completed"]
    assert served.pids("the GPU has failed: CUDA error: an illegal")[0] == first
    assert served.active != first
    assert served.client.get("/health")["mode"] == "normal"
    submit(served, node("gpu", "Odd"))
    until(lambda: len(served.pids("serves now")) == 3, "a third server")
    until(served.client.answers, "an answer")
    assert served.client.get("/health")["mode"] == "safe"


def test_growth_under_load_is_seen(serve) -> None:
    """Nothing is ever at rest, and what prompts leave adds up; nothing is lost."""
    served = serve("--standby", "off", ZIMAGE_GUARD="growth=100,quick=0")
    first = served.active
    ids = [submit(served, node("leak", "Odd", seconds=1.5)) for _ in range(12)]
    until(lambda: first in served.pids("to be replaced: memory +"), "growth")
    assert served.client.get("/health")["queue"]["waiting"]
    assert all(served.entry(id)["status"]["completed"] for id in ids)
    until(lambda: len(served.pids("serves now")) == 2, "another server")


def test_a_server_without_its_worker_is_replaced(serve) -> None:
    """The part that keeps the worker alive is off; what has ended it twice is not run again."""
    served = serve("--standby", "off", ZIMAGE_OFF="worker", ZIMAGE_GUARD="quick=0")
    deadly, next_one = submit(served, node("exit")), submit(served, node("none"))
    assert "[ZI-PROMPT-DEADLY]" in code(served.entry(deadly))
    assert served.entry(next_one)["status"]["completed"]
    assert len([line for line in served.log() if "to be killed: its worker ended" in line]) == 2


def test_a_host_that_does_not_fit_is_served_without_a_guardian(serve) -> None:
    """Two servers end because the port is taken by the guardian; it lets go of it."""
    served = serve("--standby", "off", ZIMAGE_OFF="guarded")
    assert served.client.get("/health")["patches"]["guarded"]["status"] == "off"
    assert served.pids("serves now") == []
    assert len(served.pids("starting a server")) == 2


def test_tls_is_served_on_the_guardian_s_port(host, tmp_path: Path) -> None:
    """With ComfyUI's own arguments; the guardian's questions on the port count as answered."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True)
    limits = {"ZIMAGE_GUARD": "probes=1"}
    served = Stage(host, tmp_path, "--standby", "off", env=limits)
    served.command += ["--tls-keyfile", str(key), "--tls-certfile", str(certificate)]
    trusting = ssl.create_default_context(cafile=str(certificate))

    def health() -> dict[str, Any]:
        url = f"https://localhost:{served.port}/health"
        with urllib.request.urlopen(url, timeout=60, context=trusting) as answer:
            return json.loads(answer.read())

    served.client = SimpleNamespace(answers=lambda: quietly(health))
    try:
        served.start()
        until(lambda: health()["uptime_seconds"] > 5, "several questions on the port")
        assert health()["patches"]["guarded"]["status"] == "active"
        assert len(served.pids("starting a server")) == 1
    finally:
        served.stop()
