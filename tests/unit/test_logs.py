"""One line for each prompt that ended, the GPU's memory, and files that do not grow for ever."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui import rotating_log as lines_module
from zimage_comfyui.patches.base import refusals
from zimage_comfyui.patches.base.prompt_outcome import Status
from zimage_comfyui.patches.monitoring import prompt_log
from zimage_comfyui.patches.monitoring.prompt_log import Logs
from zimage_comfyui.patches.queue.durable_queue import durable
from zimage_comfyui.patches.queue.prompt_store import Store
from zimage_comfyui.rotating_log import Lines
from zimage_comfyui.tests.fakes.prompt_queue import PromptQueue
from zimage_comfyui.tests.fakes.waiting import wait

GRAPH = {
    "1": {"class_type": "ZImageLoader", "inputs": {"model_name": "turbo.safetensors"}},
    "2": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "esrgan.pth"}},
    "3": {"class_type": "UNETLoader", "inputs": {"unet_name": "模型.safetensors"}},
    "4": {"class_type": "UNETLoader", "inputs": {"unet_name": ["9", 0]}},
}


class World:
    """A host on some device, and the logs with a clock of their own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.execution, management = ModuleType("execution"), ModuleType("model_management")
        self.execution.PromptQueue = type("PromptQueue", (PromptQueue,), dict(vars(PromptQueue)))
        self.place = "cpu"
        management.get_torch_device = lambda: SimpleNamespace(type=self.place)
        self.free = iter([3 * 2**30, 2**30])
        cuda = SimpleNamespace(mem_get_info=lambda _device: (next(self.free), 4 * 2**30))
        for name, module in {
            "execution": self.execution, "comfy.model_management": management,
            "torch": SimpleNamespace(cuda=cuda),
        }.items():  # fmt: skip
            monkeypatch.setitem(sys.modules, name, module)
        self.now, self.folder = 100.0, folder / "logs"
        self.logs = Logs(self.folder, clock=lambda: self.now)

    def run(self, queue: Any, status: Status, seconds: float = 1.5, id: str = "id") -> None:
        """One prompt from its begin to its end."""
        queue.put((0, id, GRAPH, {}, []))
        taken = queue.get()
        self.now += seconds
        queue.task_done(taken[1], {"outputs": {}}, status)
        assert queue.get() is None

    def lines(self) -> list[dict[str, Any]]:
        """What is in the core log."""
        text = (self.folder / prompt_log.CORE).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Logs that are applied."""
    made = World(tmp_path, monkeypatch)
    made.logs.apply()
    yield made
    made.logs.revert()


def status(*events: tuple[str, dict[str, Any]]) -> Status:
    """How the host tells of a prompt that ended."""
    return Status("-", False, [("execution_start", {}), *events])


SUCCESS = status(("execution_success", {}))
ENDS = [
    (SUCCESS, "success", ""),
    (status(("execution_interrupted", {})), "interrupted", ""),
    (
        status(("execution_error", {"exception_message": "[ZI-SIZE] …", "exception_type": "E"})),
        "error", "ZI-SIZE",
    ),
    (
        status(("execution_error", {"exception_message": "boom", "exception_type": "OSError"})),
        "error", "OSError",
    ),
    (
        status(
            ("execution_interrupted", {}), ("execution_error", {"exception_type": "ZI-DEADLINE"})
        ),
        "error", "ZI-DEADLINE",
    ),
    (Status("success", True, []), "success", ""),
]  # fmt: skip


@pytest.mark.parametrize(("told", "how", "code"), ENDS)
def test_a_prompt_that_ended_is_a_line(
    world: World, told: Status, how: str, code: str, caplog
) -> None:
    """With the time that it ran, and the files of its diffusion models."""
    caplog.set_level("INFO")
    world.run(world.execution.PromptQueue(None), told)
    (line,) = world.lines()
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "request_id": "id", "duration_ms": 1500,
        "model_name": "turbo.safetensors, 模型.safetensors", "status": how, "code": code,
    }  # fmt: skip
    assert (world.logs.ended[how], world.logs.seconds) == (1, 1.5)
    assert f"Z-Image: id: {how}, 1500 ms {code}" in caplog.text


def test_prompts_of_the_durable_queue_are_lines_too(world: World, tmp_path: Path) -> None:
    """Which is made before or after; each prompt is told once."""
    store = Store(tmp_path)
    world.run(durable(world.execution.PromptQueue(SimpleNamespace(number=0)), store), SUCCESS)
    store.close()
    assert [line["request_id"] for line in world.lines()] == ["id"]


def test_applied_twice_and_reverted(world: World) -> None:
    """One line, then none."""
    queue = world.execution.PromptQueue(None)
    world.logs.apply()
    world.run(queue, SUCCESS)
    world.logs.revert()
    world.run(queue, SUCCESS)
    assert queue.get() is None
    assert len(world.lines()) == 1
    assert not world.logs.active


def test_a_prompt_that_ran_before_has_no_duration(world: World) -> None:
    """And no nodes, no model."""
    queue = world.execution.PromptQueue(None)
    queue.currently_running[1] = (0, "old", {}, {}, [])
    queue.task_done(1, {}, SUCCESS)
    queue.get()
    assert (world.lines()[0]["duration_ms"], world.lines()[0]["model_name"]) == (0, None)


@pytest.mark.parametrize("in_the_way", ["logs", "logs/core.jsonl/"])
def test_a_disk_that_fails_costs_the_line_alone(world: World, caplog, in_the_way: str) -> None:
    """The prompt is in the history, the next line is written again."""
    queue, path = world.execution.PromptQueue(None), world.folder.parent / in_the_way
    path.mkdir(parents=True) if in_the_way.endswith("/") else path.write_text("")
    world.run(queue, SUCCESS)
    assert "id" in queue.history
    assert [line for line in caplog.messages if "is lost" in line]
    path.rmdir() if path.is_dir() else path.unlink()
    world.run(queue, SUCCESS)
    assert len(world.lines()) == 1


def test_what_cannot_be_told_costs_the_line_alone(world: World, caplog) -> None:
    """A graph of another shape, say."""
    queue = world.execution.PromptQueue(None)
    queue.currently_running[1] = (0, "odd", {"1": None}, {}, [])
    queue.task_done(1, {}, SUCCESS)
    assert queue.get() is None
    assert "odd" in queue.history
    assert [line for line in caplog.messages if "is not in core.jsonl" in line]


def test_the_gpu_is_logged_where_there_is_one(tmp_path: Path, monkeypatch, caplog) -> None:
    """MiB of the whole card under a header; a reading that fails is told once."""
    monkeypatch.setattr(prompt_log, "PERIOD", 0.0)
    world = World(tmp_path, monkeypatch)
    world.place = "cuda"
    world.logs.apply()
    world.logs.apply()
    assert [thread.name for thread in threading.enumerate()].count("zimage-gpu-log") == 1
    wait(lambda: [line for line in caplog.messages if "cannot be read" in line])
    world.logs.revert()
    wait(lambda: "zimage-gpu-log" not in {thread.name for thread in threading.enumerate()})
    header, *lines = (world.folder / prompt_log.GPU).read_text().splitlines()
    assert header == "timestamp,used_mb,free_mb"
    assert [line.partition(",")[2] for line in lines] == ["1024,3072", "3072,1024"]
    assert len([line for line in caplog.messages if "cannot be read" in line]) == 1


def test_nothing_of_a_gpu_on_the_cpu(world: World) -> None:
    """Neither a file nor a thread."""
    world.run(world.execution.PromptQueue(None), SUCCESS)
    assert [path.name for path in world.folder.iterdir()] == [prompt_log.CORE]
    assert "zimage-gpu-log" not in {thread.name for thread in threading.enumerate()}


def test_files_are_turned_over(tmp_path: Path) -> None:
    """Seven at most, each below the limit and with the header; the newest lines are kept."""
    lines = Lines(tmp_path / "x.log", "header", largest=40)
    for number in range(100):
        lines.add(f"line {number:04}")
    lines.close()
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["x.log", *(f"x.log.{n}" for n in range(1, 7))]
    texts = [path.read_text().splitlines() for path in reversed(files)]
    assert all(path.stat().st_size <= 40 and text[0] == "header"
               for path, text in zip(reversed(files), texts, strict=True))  # fmt: skip
    kept = [line for text in texts for line in text[1:]]
    assert kept == [f"line {number:04}" for number in range(100 - len(kept), 100)]


@pytest.mark.parametrize("gone", ["renamed", "removed", "folder"])
def test_what_somebody_else_moves_is_begun_anew(tmp_path: Path, gone: str) -> None:
    """Another process that turns it over, or a person who tidies up."""
    path = tmp_path / "logs" / "x.log"
    lines = Lines(path)
    lines.add("before")
    if gone == "renamed":
        path.rename(tmp_path / "old.log")
    elif gone == "removed":
        path.unlink()
    else:
        shutil.rmtree(path.parent)
    lines.add("after")
    lines.close()
    assert path.read_text() == "after\n"


def test_the_fuse_turns_its_log_over_as_well(tmp_path: Path, monkeypatch) -> None:
    """100 MB and seven files, like the others."""
    log = refusals.log_file(tmp_path / refusals.LOG)
    assert (log.maxBytes, log.backupCount) == (100 * 2**20, 6)
    monkeypatch.setattr(log, "maxBytes", 200)
    for number in range(3):
        refusals.log_event(tmp_path / refusals.LOG, str(number), "/prompt", "ZI-REQUEST", "refused")
    assert json.loads((tmp_path / refusals.LOG).read_text())["request_id"] == "2"
    assert json.loads((tmp_path / f"{refusals.LOG}.1").read_text())["request_id"] == "1"


def test_prompts_that_the_queue_has_ended_at_its_start_are_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listened then."""
    world = World(tmp_path, monkeypatch)
    error = ("execution_error", {"exception_message": "[ZI-PROMPT-DEADLY] …"})
    entry = {"prompt": (0, "dead", GRAPH, {}, []), "status": status(error)._asdict()}
    world.logs.queue = SimpleNamespace(quarantined=["dead"], history={"dead": entry})
    world.logs.apply()
    world.logs.apply()
    world.logs.revert()
    assert [(line["request_id"], line["code"]) for line in world.lines()] == [
        ("dead", "ZI-PROMPT-DEADLY")
    ]


def test_what_comes_in_is_handed_on_and_kept_within_bounds(tmp_path: Path) -> None:
    """Whole lines, the last without an end, bytes that are no text; older files go."""
    code = (
        "import runpy, sys, pathlib; found = runpy.run_path(sys.argv[1]); "
        "found['copy'](found['Lines'](pathlib.Path(sys.argv[2]), largest=1000))"
    )
    given = b"".join(b"line %04d\n" % number for number in range(1000)) + b"\xff last \xe5\x8f\xa5"
    command = [sys.executable, "-I", "-S", "-c", code, str(lines_module.__file__)]
    path = tmp_path / "x.log"
    done = subprocess.run([*command, str(path)], input=given, capture_output=True, check=True)
    assert done.stderr == given
    files = sorted(tmp_path.iterdir(), key=lambda file: file.suffix != ".log")
    assert len(files) == 7
    assert all(file.stat().st_size < 1000 for file in files)
    kept = path.read_text(encoding="utf-8").splitlines()
    assert kept[-2:] == ["line 0999", "\\xff last 句"]
    assert (tmp_path / "x.log.1").read_text(encoding="utf-8").count("line ") == 99


def test_a_terminal_that_is_gone_costs_no_line(tmp_path: Path) -> None:
    """Nor does a disk that is full cost what is shown."""
    program = [sys.executable, "-I", "-S", str(lines_module.__file__)]
    ours, theirs = os.pipe()
    os.close(ours)
    command = [*program, str(tmp_path / "x.log")]
    subprocess.run(command, input=b"one\ntwo\n", stderr=theirs, check=False)
    os.close(theirs)
    assert (tmp_path / "x.log").read_text(encoding="utf-8") == "one\ntwo\n"
    done = subprocess.run([*program, "/dev/full"], input=b"one\n", capture_output=True, check=True)
    assert done.stderr == b"one\n"
