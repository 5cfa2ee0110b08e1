"""The queue's file on disks and in folders that fail, and processes that die or have children."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.guardian.server import Server
from zimage_comfyui.patches.queue.prompt_store import Limits, Store
from zimage_comfyui.tests.fakes.prompts import accept
from zimage_comfyui.tests.fakes.small_disk import fill, small_disk

ITEM = [{"1": {"class_type": "A", "inputs": {"text": "x" * 3000}}}, {}, ["1"]]
RESULT = {"outputs": {}, "meta": {}, "status": {"status_str": "success"}}
NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state folder."""
    return tmp_path / "状态 state"


KILLED = """
import os, sys
sys.path.insert(0, {tests!r})
import conftest
from pathlib import Path
from zimage_comfyui.patches.queue.prompt_store import Store
from zimage_comfyui.tests.fakes.prompts import accept
store = Store(Path({folder!r}))
print(*((row.id, row.crash_count) for row in store.requeue_unfinished()), store.works(), flush=True)
{steps}
sys.stdout.flush()
os._exit(0)
"""
"""A process that dies: it closes nothing."""
ACCEPT = "accept(store, {0!r}, 0, [{{}}, {{}}, []])".format


def killed(folder: Path, *steps: str) -> list[str]:
    """A process has taken these steps with a store, and has died; the lines that it printed."""
    tests = str(Path(__file__).parents[1])
    code = KILLED.format(tests=tests, folder=str(folder), steps="\n".join(steps))
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command,
        check=True,
        timeout=120,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ).stdout.splitlines()


FORK = """
import contextlib, time
from types import SimpleNamespace
from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.queue import durable_queue, queue_installer
from zimage_comfyui.tests.fakes.prompt_queue import PromptQueue
made = durable_queue.durable(PromptQueue(SimpleNamespace()), store)
queue_installer._give_back_at_exit(made)
made.put((0, "a", {}, {}, [], {}))
made.get()
child = os.fork()
if not child:
    LIFE
print(child)
"""


def found(folder: Path) -> list[tuple[str, int]]:
    """What the next process finds waiting, and how often it was running at a death."""
    with contextlib.closing(Store(folder)) as store:
        return [(row.id, row.crash_count) for row in store.requeue_unfinished()]


def refused(store: Store) -> str:
    """Why a prompt is not taken; it is not there afterwards."""
    with pytest.raises(ZImageError) as caught:
        accept(store, "refused", 0, ITEM)
    assert not store.works()
    return caught.value.code


def test_a_child_that_lives_on_keeps_nobody_out(folder: Path) -> None:
    """A node may fork one; the next server has the folder all the same."""
    life = "os.close(1), os.close(2), time.sleep(600)"
    child = int(killed(folder, FORK.replace("LIFE", life))[-1])
    try:
        assert found(folder) == [("a", 1)]
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_child_that_ends_changes_nothing(folder: Path) -> None:
    """It takes no prompt, and gives none back, as its parent does when that ends in order."""
    life = "with contextlib.suppress(ZImageError): accept(store, 'b', 0, [])\n    sys.exit()"
    said = killed(folder, FORK.replace("LIFE", life), "os.waitpid(child, 0)")
    assert len(said) == 2
    assert found(folder) == [("a", 1)]


def test_the_guardian_reads_what_ran(folder: Path) -> None:
    """After a death, and without a change: the next server finds the same."""
    killed(folder, ACCEPT("a"), ACCEPT("b"), "store.begin('a')")
    file = folder / "queue.sqlite"
    before = [path.read_bytes() for path in (file, folder / "queue.sqlite-wal")]
    server: Any = SimpleNamespace(prompts_file=str(file))
    assert Server.running_prompts(server) == ["a"]
    assert before == [path.read_bytes() for path in (file, folder / "queue.sqlite-wal")]
    assert found(folder) == [("a", 1), ("b", 0)]
    assert Server.running_prompts(server) == []
    for notes in ("", str(folder / "missing"), str(folder / "queue.lock")):
        server.prompts_file = notes
        assert Server.running_prompts(server) == []


def test_a_store_is_opened_on_a_full_disk(tmp_path: Path) -> None:
    """All is read, each death counts, and with room again it is as if there had been some."""
    with small_disk(tmp_path, "size=1m"):
        folder, begin = tmp_path / "state", "store.begin('a')"
        end = "store.begin('old'); store.end('old', {'outputs': {}})"
        killed(folder, ACCEPT("old"), end, ACCEPT("a"), ACCEPT("b"), begin)
        ballast = fill(tmp_path, leave=0)
        for crashes in (1, 2):
            assert killed(folder, begin)[-1:] == [f"('a', {crashes}) ('b', 0) False"]
        store = Store(folder)
        assert [(row.id, row.crash_count) for row in store.requeue_unfinished()] == [
            ("a", 3),
            ("b", 0),
        ]
        row = store.ended_prompt("old")
        assert row is not None
        assert row.result == {"outputs": {}}
        assert not store.works()
        ballast.unlink()
        assert store.works()
        store.begin("b")
        store.close()
        assert found(folder) == [("a", 3), ("b", 1)]


@pytest.mark.parametrize("left", [0, 10, 5000, 50_000, 100_000])
def test_a_log_that_was_cut(folder: Path, left: int) -> None:
    """What was written before the cut is there and in order, and it works on."""
    ids = [str(number) for number in range(20)]
    killed(folder, *map(ACCEPT, ids))
    os.truncate(folder / "queue.sqlite-wal", left)
    rows = [id for id, _ in found(folder)]
    assert rows == ids[: len(rows)]
    assert bool(rows) is (left >= 50_000)
    assert rows != ids
    store = Store(folder)
    accept(store, "after", 0, ITEM)
    store.close()
    assert [id for id, _ in found(folder)] == [*rows, "after"]


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_file_that_was_cut_is_refused(folder: Path, part: float) -> None:
    """It is left as it is, and is used again once it is whole."""
    store = Store(folder)
    ids = [str(number) for number in range(20)]
    for id in ids:
        accept(store, id, 0, ITEM)
    store.close()
    file = folder / "queue.sqlite"
    whole = file.read_bytes()
    os.truncate(file, int(part * len(whole)))
    for _ in range(2):
        with pytest.raises(ZImageError, match="ZI-QUEUE-FILE"):
            found(folder)
    assert file.read_bytes() == whole[: int(part * len(whole))]
    file.write_bytes(whole)
    assert [id for id, _ in found(folder)] == ids


@contextlib.contextmanager
def somebody() -> Iterator[Path]:
    """A folder of somebody whom permissions hold, and who this process is meanwhile."""
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    try:
        if root:
            os.chown(folder, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        yield folder
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["queue.sqlite", "queue.lock", "."])
def test_what_cannot_be_written_is_refused(name: str) -> None:
    """With the code, until it can."""
    with somebody() as folder:
        store = Store(folder)
        accept(store, "a", 0, ITEM)
        store.close()
        (folder / name).chmod(0o555)
        store = Store(folder, patience=None)
        with pytest.raises(ZImageError, match="ZI-QUEUE-FILE"):
            store.open()
        (folder / name).chmod(0o755)
        store.open()
        accept(store, "b", 0, ITEM)
        store.close()
        assert found(folder) == [("a", 0), ("b", 0)]


def test_a_disk_that_is_read_only(tmp_path: Path) -> None:
    """It is refused until it can be written."""
    with small_disk(tmp_path, "size=1m") as disk:
        store = Store(disk)
        accept(store, "a", 0, ITEM)
        store.close()
        mount = ["mount", str(disk), "-o"]
        subprocess.run([*mount, "remount,ro"], check=True, timeout=60)
        with pytest.raises(ZImageError, match="ZI-QUEUE-FILE"):
            store.open()
        subprocess.run([*mount, "remount,rw"], check=True, timeout=60)
        assert found(disk) == [("a", 0)]


def test_a_folder_that_goes_and_comes_back(folder: Path) -> None:
    """Nothing is taken into a file that nobody will find."""
    store = Store(folder)
    accept(store, "a", 0, ITEM)
    folder.rename(folder.with_name("elsewhere"))
    assert refused(store) == "ZI-QUEUE-FILE"
    folder.mkdir()
    (folder / "queue.sqlite").touch()
    assert refused(store) == "ZI-QUEUE-FILE"
    shutil.rmtree(folder)
    folder.with_name("elsewhere").rename(folder)
    assert store.works()
    accept(store, "b", 0, ITEM)
    store.close()
    assert found(folder) == [("a", 0), ("b", 0)]


@contextlib.contextmanager
def longest_file(size: int) -> Iterator[None]:
    """Writes behind so many bytes fail."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_log_that_cannot_be_reserved(folder: Path) -> None:
    """A quota is no free space that anybody sees: the log goes without."""
    with longest_file(2**20), contextlib.closing(Store(folder)) as store:
        accept(store, "a", 0, ITEM)
    assert found(folder) == [("a", 0)]


def test_writes_that_the_system_refuses(folder: Path) -> None:
    """Each step says so, and none is half done; then all goes on."""
    store = Store(folder)
    for id in "abc":
        accept(store, id, 0, ITEM)
    with longest_file(4096):
        assert refused(store) == "ZI-QUEUE-FILE"
        for step in (
            lambda: store.begin("a"),
            lambda: store.end("b", RESULT),
            lambda: store.remove(["c"], "waiting"),
        ):
            with pytest.raises(ZImageError, match="disk I/O error"):
                step()
    assert store.works()
    store.end("b", RESULT)
    accept(store, "d", 0, ITEM)
    store.close()
    assert found(folder) == [("a", 0), ("c", 0), ("d", 0)]


def test_a_clock_that_jumps(folder: Path) -> None:
    """What waits stays, and what ends after a jump, in either direction, is kept and last."""
    now = [1e9]
    store = Store(folder, Limits(), lambda: now[0])
    accept(store, "waiting", 0, ITEM)
    for id, jump in (("a", 0), ("b", -5e8), ("c", 1e9), ("d", -1e9)):
        now[0] += jump
        accept(store, id, 0, ITEM)
        store.end(id, RESULT)
        assert [*store.sizes][-1] == id
    store.close()
    store = Store(folder, Limits(), lambda: now[0])
    assert [row.id for row in store.requeue_unfinished()] == ["waiting"]
    assert [*store.sizes] == ["c", "d"]
    store.close()
