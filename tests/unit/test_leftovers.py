"""What a failing node has saved is listed with its prompt, and nothing else is."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base.prompt_outcome import failure
from zimage_comfyui.patches.queue import leftovers


class PromptQueue:
    """What is patched of the host's queue."""

    def __init__(self) -> None:
        self.history: dict[int, Any] = {}

    def task_done(self, item_id: int, history_result: Any, status: Any) -> None:
        self.history[item_id] = history_result


@pytest.fixture
def host(tmp_path: Path, monkeypatch) -> SimpleNamespace:
    """A host with an output folder, and ``save`` as its nodes do it."""
    output = tmp_path / "output"
    output.mkdir()
    paths, execution = ModuleType("folder_paths"), ModuleType("execution")

    def get_save_image_path(filename_prefix: str, output_dir: str) -> Any:
        place = Path(output_dir, filename_prefix)
        place.parent.mkdir(parents=True, exist_ok=True)
        numbers = [int(path.name.rsplit("_", 2)[1]) for path in place.parent.glob("*_*_.png")]
        subfolder = str(Path(filename_prefix).parent)
        subfolder = "" if subfolder == "." else subfolder
        return str(place.parent), place.name, max([0, *numbers]) + 1, subfolder, filename_prefix

    paths.get_save_image_path = get_save_image_path  # pyright: ignore
    paths.get_output_directory = lambda: str(output)  # pyright: ignore
    execution.PromptQueue = type("PromptQueue", (PromptQueue,), {  # pyright: ignore
        "task_done": PromptQueue.task_done})  # fmt: skip
    monkeypatch.setitem(sys.modules, "folder_paths", paths)
    monkeypatch.setitem(sys.modules, "execution", execution)

    def save(prefix: str, count: int, folder: Path = output) -> list[dict[str, str]]:
        where, stem, number, subfolder, _ = paths.get_save_image_path(prefix, str(folder))
        names = [f"{stem}_{number + index:05}_.png" for index in range(count)]
        for name in names:
            Path(where, name).touch()
        return [{"filename": name, "subfolder": subfolder, "type": "output"} for name in names]

    return SimpleNamespace(output=output, save=save, execution=execution, paths=paths)


def failed(node: str | None = "9") -> Any:
    """The status of a prompt that failed at a node."""
    status = failure("id", ZImageError("ZI-PROMPT-TWICE", found=1))
    status.messages[-1][1]["node_id"] = node
    return status


@pytest.fixture
def queue(host) -> Any:
    """A queue of the patched host."""
    part = leftovers.create()
    part.apply()
    yield host.execution.PromptQueue()
    part.revert()


def test_a_batch_that_broke_off_is_listed(host, queue) -> None:
    """Under the node that failed; what other nodes and older prompts saved is not."""
    host.save("sub/a", 3)
    queue.task_done(1, {"outputs": {}, "meta": {}}, SimpleNamespace(completed=True))
    good = {"images": host.save("good", 2)}
    left = host.save("sub/a", 2)
    (host.output / "sub" / "other.png").touch()
    (host.output / "sub" / "a_00009.mp4").touch()
    host.save("x", 1, folder=host.output.parent)  # a preview, in temp
    result = {"outputs": {"3": good}, "meta": {"3": {}}}
    queue.task_done(2, result, failed())
    assert queue.history == {
        1: {"outputs": {}, "meta": {}},
        2: {"outputs": {"3": good, "9": {"images": left}}, "meta": {"3": {}}},
    }
    assert result["outputs"] == {"3": good}


def test_what_a_node_had_told_stays(host, queue) -> None:
    """A node that runs once for each item of a list has told of some before it fails."""
    first = host.save("a", 1)
    second = host.save("a", 1)
    queue.task_done(1, {"outputs": {"9": {"images": first, "text": ["x"]}}}, failed())
    assert queue.history[1]["outputs"] == {"9": {"images": first + second, "text": ["x"]}}


def test_nothing_is_listed_without_need(host, queue) -> None:
    """Not for a success, not a second time, not without a node, and not if looking fails."""
    empty = {"outputs": {}}
    host.save("a", 1)
    queue.task_done(1, empty, failed()._replace(completed=True))
    queue.task_done(2, empty, failed())
    host.save("a", 1)
    queue.task_done(3, empty, failed(node=None))
    host.save("gone/a", 1)
    (host.output / "gone" / "a_00001_.png").unlink()
    (host.output / "gone").rmdir()
    queue.task_done(4, empty, failed())
    queue.task_done(5, empty, None)
    assert queue.history == dict.fromkeys(range(1, 6), empty)


def test_applied_and_undone(host) -> None:
    """Applying twice is applying once, and the host's own functions come back."""
    before = host.paths.get_save_image_path, host.execution.PromptQueue.task_done
    part = leftovers.create()
    for _ in range(2):
        for _ in range(2):
            part.apply()
            assert part.active
        part.revert()
        assert not part.active
        after = host.paths.get_save_image_path, host.execution.PromptQueue.task_done
        assert after == before
