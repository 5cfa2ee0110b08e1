"""The disk guard refuses in time, tells of it, and comes back by itself."""

from __future__ import annotations

import contextlib
import errno
import smtplib
import socket
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from zimage_comfyui.config import Disk, Settings
from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base.registry import Registry
from zimage_comfyui.patches.disk import alerts, disk_guard
from zimage_comfyui.patches.disk.usage import NAMES, Watch, measure
from zimage_comfyui.patches.requests.disk_admission import DiskAdmission
from zimage_comfyui.tests.fakes.listeners import mailbox, webhook
from zimage_comfyui.tests.fakes.old_files import NOW, Queue, folder_paths, write
from zimage_comfyui.tests.fakes.slots import slots
from zimage_comfyui.tests.fakes.small_disk import fill, small_disk
from zimage_comfyui.tests.fakes.waiting import wait


@pytest.fixture
def host(tmp_path: Path) -> Any:
    """ComfyUI's ``folder_paths``."""
    return folder_paths(tmp_path)


def use(blocks: tuple[int, int, int], files: tuple[int, int, int] = (0, 0, 0)) -> Any:
    """As ``os.statvfs``: all, free, free for everybody."""
    names = ("f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail", "f_frsize")
    return SimpleNamespace(**dict(zip(names, (*blocks, *files, 4096), strict=True)))


@pytest.mark.parametrize(
    ("found", "percent", "what"),
    [
        (use((1000, 250, 250)), 75.0, "space"),
        (use((1000, 150, 100), (10, 5, 5)), 100 * 850 / 950, "space"),
        (use((1000, 250, 250), (100, 5, 5)), 95.0, "inodes"),
        (use((0, 0, 0)), 0.0, "space"),
    ],
    ids=["space", "reserved", "inodes", "counts nothing"],
)
def test_use_is_as_df_counts(tmp_path: Path, found: Any, percent: float, what: str) -> None:
    """The scarcer of both; a folder that is not there yet is on its parent's disk."""
    seen: list[Path] = []
    there = measure(tmp_path / "not" / "there", lambda path: seen.append(path) or found)
    assert (there.percent, there.what) == (pytest.approx(percent), what)
    assert seen == [tmp_path]


@pytest.mark.parametrize(("options", "what"), [("size=4m", "space"), ("nr_inodes=50", "inodes")])
def test_a_real_disk_that_is_full_is_seen(tmp_path: Path, options: str, what: str) -> None:
    """By its bytes and by its number of files."""
    with small_disk(tmp_path / "disk", options) as folder:
        watch = Watch(lambda: {"output": folder}, 90.0)
        assert watch.look() is None
        if what == "space":
            ballast = [fill(folder, leave=2**18)]
        else:
            ballast = [write(folder / str(number), size=0) for number in range(46)]
        news = watch.look()
        assert news is not None
        assert (news.code, news.found["what"]) == ("ZI-DISK-FULL", NAMES[what])
        for file in ballast:
            file.unlink()
        news = watch.look()
        assert news is not None
        assert news.code == "ZI-DISK-ROOM"


def test_each_change_is_told_once_with_room_between(tmp_path: Path, caplog) -> None:
    """Full above the limit, room again two points below; a disk that is silent counts as none."""
    percent: dict[str, float | None] = {"output": 0, "state": 0}

    def statvfs(path: Path) -> Any:
        if (used := percent[path.name]) is None:
            raise OSError(errno.ESTALE, "stale")
        return use((1000, 1000 - int(10 * used), 1000 - int(10 * used)))

    for name in percent:
        (tmp_path / name).mkdir()
    watch = Watch(lambda: {name: tmp_path / name for name in percent}, 90.0, statvfs)
    told = []
    for value in (50, 90, 90.1, 95, 89, 88.1, 88, 89, 90.1):
        percent["state"] = value
        news = watch.look()
        told.append(news.code if news else "")
    assert told == ["", "", "ZI-DISK-FULL", "", "", "", "ZI-DISK-ROOM", "", "ZI-DISK-FULL"]
    with pytest.raises(ZImageError, match=r"state .*90.1%.*90%.*88%") as caught:
        watch.check()
    assert caught.value.code == "ZI-DISK-FULL"
    percent["output"], percent["state"] = None, 10
    assert watch.look().code == "ZI-DISK-ROOM"
    percent["state"] = None
    for _ in range(3):
        assert watch.look() is None
    assert len([line for line in caplog.messages if "stale" in line]) == 2


@pytest.mark.parametrize(
    ("free", "length", "large", "fits"),
    [
        (200, 100 * 4096, True, True), (99, 0, True, False), (99, 0, False, True),
        (99, 100 * 4096, False, False), (0, 0, False, False), (200, 201 * 4096, True, False),
    ],
)  # fmt: skip
def test_room_for_what_is_small_stays(
    tmp_path: Path, free: int, length: int, large: bool, fits: bool
) -> None:
    """Above the limit nothing large is kept; small things are while they fit."""
    watch = Watch(lambda: {}, 90.0, lambda _path: use((1000, free, free)))
    with contextlib.nullcontext() if fits else pytest.raises(ZImageError, match="ZI-DISK-FULL"):
        watch.check_space(tmp_path, length, large)
    assert watch.fullest(tmp_path, tmp_path / "other").found["found"] == f"{100 - free / 10:.1f}"


class World:
    """A guard over a folder, whose clock and disk are numbers."""

    def __init__(self, folder: Path, settings: Disk | None = None) -> None:
        self.folder, self.percent, self.time = folder, 50.0, 1000.0
        self.server = SimpleNamespace(prompt_queue=Queue(), app=web.Application())
        watch = Watch(lambda: {"output": folder}, 90.0, self.statvfs)
        self.slot = slots(self.server.app)["disk"]
        others = {"input": folder, "user": folder}
        admission = DiskAdmission(self.slot, watch, lambda: others)
        self.guard = disk_guard.Guard(
            self.server, watch, lambda: {folder: set()}, settings or Disk(keep_days=7), admission,
            lambda: NOW, lambda: self.time,
        )  # fmt: skip

    def statvfs(self, _path: Path) -> Any:
        free = round(10 * (100 - self.percent))
        return use((1000, free, free))


@pytest.fixture
def world(tmp_path: Path, monkeypatch) -> World:
    """One whose thread looks as often as it can; it ends with the test."""
    monkeypatch.setattr(disk_guard, "PERIOD", 0.001)
    made = World(tmp_path)
    yield made
    made.guard._stop.set()
    wait(lambda: not running())


def running() -> list[threading.Thread]:
    """The guard's threads."""
    return [thread for thread in threading.enumerate() if thread.name == "zimage-disk"]


def test_prompts_are_refused_until_there_is_room(world: World) -> None:
    """The queue's own ``put`` is asked only when there is; ``/health`` knows both."""
    registry = Registry(("disk",))
    registry.apply((), lambda _name: world.guard)
    queue = world.server.prompt_queue
    queue.put((0, "a"))
    assert registry.reasons() == []
    world.percent = 93.0
    wait(registry.reasons)
    with pytest.raises(ZImageError, match="ZI-DISK-FULL"):
        queue.put((1, "b"))
    assert registry.describe()["disk"] == {"status": "active", "percent": {"output": 93.0}}
    world.percent = 80.0
    wait(lambda: not registry.reasons())
    queue.put((2, "c"))
    assert [item[1] for item in queue.queue] == ["a", "c"]


def test_applied_once_and_undone(world: World) -> None:
    """One thread and one check however often; afterwards the queue is as it was."""
    queue, guard = world.server.prompt_queue, world.guard
    for _ in range(2):
        for _ in range(2):
            guard.apply()
            assert guard.active
        assert len([thread for thread in running() if thread.daemon]) == 1
        world.percent = 99.0
        wait(guard.reasons)
        for _ in range(2):
            guard.revert()
            assert not guard.active
        assert guard.reasons() == []
        assert vars(queue).get("put") is None
        assert world.slot.middleware is None
        queue.put((0, "a"))
        wait(lambda: not running())


def test_a_queue_that_somebody_patched_over_stays(world: World) -> None:
    """What was there before comes back; what came later is not undone."""
    queue = world.server.prompt_queue
    theirs = queue.put = lambda item: None
    world.guard.apply()
    world.guard.revert()
    assert queue.put is theirs
    world.guard.apply()
    later = queue.put = lambda item: None
    assert not world.guard.active
    with pytest.raises(ZImageError, match="ZI-PATCH-COVERED"):
        world.guard.revert()
    assert queue.put is later


def test_a_different_queue_is_left_alone(world: World) -> None:
    """Nothing was changed and no thread begun."""
    queue = world.server.prompt_queue
    queue.put = None
    with pytest.raises(ZImageError, match="ZI-PATCH-SEAM"):
        world.guard.apply()
    assert queue.put is None
    assert not running()


def test_a_bug_does_not_end_the_guard(world: World, caplog, monkeypatch) -> None:
    """It is told once, and the guard looks again."""
    looks: list[int] = []
    monkeypatch.setattr(world.guard.watch, "look", lambda: looks.append(1) or 1 / 0)
    world.guard.apply()
    wait(lambda: len(looks) > 3)
    assert len([line for line in caplog.messages if "tries again" in line]) == 1


def test_rounds(world: World, caplog) -> None:
    """A minute after the start, each half hour, and at once when the disk fills up; told in one
    line."""
    caplog.set_level("INFO")
    rounds = [(0, False), (59, False), (60, True), (1859, False), (1860, True)]
    for seconds, gone in rounds:
        file = write(world.folder / "old.png", size=2**20)
        world.time = 1000.0 + seconds
        world.guard.step()
        assert file.exists() is not gone
    write(world.folder / "old.png")
    for percent, left in ((89, 1), (91, 0), (99, 1)):
        world.percent = percent
        world.guard.step()
        assert len(list(world.folder.iterdir())) == left
        write(world.folder / "old.png")
    assert [line for line in caplog.messages if "deleted" in line] == [
        "Z-Image: 1 old files deleted (1.0 MiB)", "Z-Image: 1 old files deleted (1.0 MiB)",
        "Z-Image: 1 old files deleted (0.0 MiB)",
    ]  # fmt: skip


def test_everything_can_be_kept(tmp_path: Path) -> None:
    """``ZIMAGE_KEEP_DAYS=0``: nothing is deleted, not even when the disk is full."""
    world = World(tmp_path, Disk(keep_days=0))
    file = write(tmp_path / "old.png")
    world.percent, world.time = 99.0, 10_000.0
    world.guard.step()
    assert file.exists()


def test_nothing_goes_while_the_history_is_not_known(world: World) -> None:
    """The queue lies on a disk that fails, or is another server's: so may be the pictures."""
    file = write(world.folder / "old.png")
    queue = world.guard.server.prompt_queue
    queue.refused = ZImageError("ZI-QUEUE-FILE", path="-", found="-")
    world.percent, world.time = 99.0, 10_000.0
    world.guard.step()
    assert file.exists()
    queue.refused = None
    world.guard.step()
    assert not file.exists()


def test_alerts_reach_everybody_once(tmp_path: Path, monkeypatch) -> None:
    """Full and room again: to the webhook, by mail and to Apprise."""
    told: list[tuple[str, str]] = []

    class Apprise:
        def add(self, url: str) -> bool:
            self.url = url
            return True

        def notify(self, title: str, body: str) -> bool:
            told.append((self.url, title))
            return True

    module = ModuleType("apprise")
    module.Apprise = Apprise  # pyright: ignore
    monkeypatch.setitem(sys.modules, "apprise", module)
    with webhook() as (url, events), mailbox() as (box, mails):
        mail = f"smtp://{box}/?to=ops+disk@example.org,b@example.org"
        world = World(tmp_path, Disk(alert_urls=(url, "tgram://bot/chat"), alert_mail=mail))
        for percent in (95, 96, 97, 50, 51):
            world.percent = percent
            world.guard.step()
        wait(lambda: len(events) + len(mails) + len(told) == 6)
    assert {event["event"] for event in events} == {"ZI-DISK-FULL", "ZI-DISK-ROOM"}
    full = next(event for event in events if event["event"] == "ZI-DISK-FULL")
    assert (full["path"], full["found"], full["what"]) == (str(tmp_path), "95.0", "space")
    assert "磁盘" in full["zh"]
    assert {"en", "time", "host"} <= set(full)
    assert {url for url, _ in told} == {"tgram://bot/chat"}
    assert all(b"ops+disk@example.org" in text and b"b@example.org" in text for text in mails)


def test_an_alert_that_fails_is_told_once(tmp_path: Path, caplog) -> None:
    """Without its address, which may be secret; and nothing waits for it."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    urls = (f"http://127.0.0.1:{port}/s3cr3t", "nobody-knows://s3cr3t")
    ways = alerts.Alerts(Disk(alert_urls=urls, alert_mail=f"smtp://127.0.0.1:{port}/?to=a@b.c"))
    error = ZImageError("ZI-DISK-ROOM", path="p", found="1", what="space", maximum="90")
    for _ in range(2):
        for thread in ways.send(error):
            thread.join(60)
    found = [line for line in caplog.messages if "no alert" in line]
    assert len(found) == 3
    assert not any("s3cr3t" in line for line in found)


def test_a_password_is_not_sent_in_the_clear() -> None:
    """A server without encryption gets no password, and no mail."""
    event = {"event": "E", "host": "h", "zh": "中", "en": "e", "time": "t"}
    with mailbox() as (box, mails):
        with pytest.raises(smtplib.SMTPNotSupportedError):
            alerts.mail(f"smtp://user:pass@{box}/?to=a@b.c", event)
        assert mails == []


def settings(**env: str) -> Disk:
    """The guard's settings in an environment."""
    return Settings.from_environment({f"ZIMAGE_{name}": text for name, text in env.items()}).disk


def test_settings() -> None:
    """Each variable arrives; unset and empty ones are the defaults."""
    assert settings() == settings(KEEP_DAYS="", ALERT_URL="") == Disk()
    mail = "smtps://u:p@mail.example.org/?to=a@b.c"
    found = settings(
        KEEP_DAYS="0.5", DISK_PERCENT="95", ALERT_URL=" https://a.b/c \n tgram://x ",
        ALERT_MAIL=mail,
    )  # fmt: skip
    assert found == Disk(0.5, 95.0, ("https://a.b/c", "tgram://x"), mail)
    assert "p@" not in repr(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("KEEP_DAYS", text) for text in ("week", "-1", "nan", "inf", "1e300")),
        *(("DISK_PERCENT", text) for text in ("90%", "9", "101", "")[:3]),
        *(("ALERT_URL", text) for text in ("a.b/c", "http://", "http://a:b/", "http://[", "x:y")),
        *(("ALERT_MAIL", text) for text in ("a@b.c", "smtp://a.b/", "http://a.b/?to=a@b.c")),
    ],
)
def test_a_setting_that_cannot_be_used_is_told(name: str, value: str) -> None:
    """ComfyUI starts with the default; what may be secret is not repeated."""
    found = settings(**{name: value})
    ((told, text, expected),) = found.unfit
    assert told == f"ZIMAGE_{name}"
    assert text == ("…" if name.startswith("ALERT") else value)
    assert found == Disk(unfit=found.unfit)
    assert str(ZImageError("ZI-SETTING", name=told, found=text, expected=expected))


def test_the_part_of_a_server(host, world: World, monkeypatch, caplog) -> None:
    """Made from the host's folders; a folder that holds more than results is told."""
    monkeypatch.setenv("ZIMAGE_KEEP_DAYS", "seven")
    monkeypatch.setitem(sys.modules, "folder_paths", host)
    monkeypatch.setattr(disk_guard.comfyui, "server", lambda: world.server)
    host.place["output"] = host.place["input"]
    part = disk_guard.create(lambda _watch: world.guard.admission)
    part.step()
    assert set(part.details()["percent"]) == {"output", "temp", "state"}
    assert part.settings.keep_days == 0
    text = "\n".join(caplog.messages)
    assert f"nothing is deleted in {host.place['input']}" in text
