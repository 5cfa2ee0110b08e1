"""Old files go; nothing goes that anybody still names, nor anything outside."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from zimage_comfyui.patches.disk import kept_files, retention
from zimage_comfyui.tests.fakes.old_files import NOW, WEEK, Queue, folder_paths, write


def clean(root: Path, queue: Queue | None = None, **more: Any) -> tuple[int, int]:
    """One round over a folder."""
    sweep = retention.Sweep(root, NOW - WEEK, kept_files.Named(queue or Queue()), **more)
    return sweep.run()


def test_old_files_go(tmp_path: Path) -> None:
    """Wherever they lie in the folder, hidden ones too; young ones stay."""
    young = [write(tmp_path / "a.png", 6.99), write(tmp_path / "b" / "c.png", -1)]
    old = [write(tmp_path / name) for name in ("d.png", ".e", "b/f.webp", "数/据.mp4")]
    old.append(write(tmp_path / "g", 7.01))
    assert clean(tmp_path) == (5, 5000)
    assert all(path.exists() for path in young)
    assert not any(path.exists() for path in old)
    assert clean(tmp_path) == (0, 0)
    assert clean(tmp_path / "missing") == (0, 0)


def test_what_is_named_stays(tmp_path: Path) -> None:
    """By history, by what runs and by what waits, in every way in which they name files."""
    queue = Queue()
    image = {"filename": "a.png", "subfolder": "sub", "type": "output"}
    queue.history["1"] = {
        "prompt": (0, "1", {"3": {"inputs": {"image": "again.png [output]"}}}, {}, []),
        "outputs": {"9": {"images": [image, None], "animated": (True,)}},
    }
    queue.currently_running[0] = (1, "2", {"1": {"inputs": {"image": "./sub//b.png [temp]"}}})
    queue.queue.append((2, "3", {"1": {"inputs": {"path": str(tmp_path / "c.png")}}}, {}, [], {}))
    names = ("sub/a.png", "again.png", "sub/b.png", "c.png")
    named = [write(tmp_path / name) for name in names]
    write(tmp_path / "a.png")
    write(tmp_path / "sub" / "c.png")
    assert clean(tmp_path, queue)[0] == 2
    assert all(path.exists() for path in named)
    assert (tmp_path / "sub").exists()


def test_what_is_named_meanwhile_stays(tmp_path: Path, monkeypatch) -> None:
    """A prompt that is accepted while old files go keeps what it names, also under an old id."""
    queue = Queue()
    queue.currently_running[0] = (0, "a", {"1": {"inputs": {"image": "2 [output]"}}}, {}, [])
    for number in range(8):
        write(tmp_path / str(number))
    left = [set(os.listdir(tmp_path))]

    def unlink(*given: Any, original: Any = os.unlink, **named: Any) -> None:
        original(*given, **named)
        left.append(set(os.listdir(tmp_path)))
        if len(left) == 3:  # then all that is still there is wanted
            graph = {name: {"inputs": {"image": f"{name} [output]"}} for name in left[-1]}
            queue.queue.append((1, "a", graph, {}, [], {}))

    monkeypatch.setattr(retention.os, "unlink", unlink)
    assert clean(tmp_path, queue)[0] == 2
    assert set(os.listdir(tmp_path)) == left[2] >= {"2"}
    assert len(left[2]) == 6


def test_links_are_left_alone(tmp_path: Path) -> None:
    """Neither they nor what they lead to goes; but the folder itself may be a link."""
    outside = write(tmp_path / "elsewhere" / "mine.png")
    output = tmp_path / "disk" / "output"
    write(output / "old.png")
    (output / "folder").symlink_to(outside.parent)
    (output / "file.png").symlink_to(outside)
    (output / "broken").symlink_to("nowhere")
    os.utime(output / "broken", (0, 0), follow_symlinks=False)
    os.mkfifo(output / "pipe")
    os.utime(output / "pipe", (0, 0))
    (tmp_path / "output").symlink_to(output)
    assert clean(tmp_path / "output")[0] == 1
    assert outside.exists()
    assert sorted(path.name for path in output.iterdir()) == [
        "broken", "file.png", "folder", "pipe",
    ]  # fmt: skip


def test_a_folder_that_becomes_a_link_leads_nowhere(tmp_path: Path, monkeypatch) -> None:
    """Exchanged between looking at it and opening it, it is not followed."""
    outside = write(tmp_path / "elsewhere" / "mine.png")
    folder = write(tmp_path / "output" / "sub" / "old.png").parent
    opened = retention._opened

    def exchange(name: str, parent: int | None = None) -> Any:
        if parent is not None:
            folder.rename(tmp_path / "sub")
            folder.symlink_to(outside.parent)
        return opened(name, parent)

    monkeypatch.setattr(retention, "_opened", exchange)
    assert clean(tmp_path / "output") == (0, 0)
    assert outside.exists()


def test_folders_that_became_empty_go(tmp_path: Path) -> None:
    """With their parents; those that were empty before stay, and all while something runs."""
    (tmp_path / "empty").mkdir()
    write(tmp_path / "2026" / "01" / "a.png")
    write(tmp_path / "half" / "b.png")
    write(tmp_path / "half" / "c.png", 1)
    clean(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "half"]
    write(tmp_path / "2026" / "a.png")
    assert clean(tmp_path, busy=lambda: True)[0] == 1
    assert (tmp_path / "2026").is_dir()


def test_what_cannot_be_removed_stays(tmp_path: Path, monkeypatch) -> None:
    """And does not keep the others."""
    write(tmp_path / "a.png")
    write(tmp_path / "b.png")
    unlink = os.unlink

    def refuse(name: str, **more: Any) -> None:
        if name == "a.png":
            raise PermissionError(errno.EPERM, "immutable")
        unlink(name, **more)

    monkeypatch.setattr(os, "unlink", refuse)
    assert clean(tmp_path)[0] == 1
    assert (tmp_path / "a.png").exists()


def test_depth_is_bounded(tmp_path: Path) -> None:
    """A folder name is a client's to choose; a thousand levels are not a thousand open files."""
    deep = tmp_path / Path(*["a"] * 900)
    write(deep / "old.png")
    write(tmp_path / "a" / "old.png")
    assert clean(tmp_path)[0] == 1
    assert (deep / "old.png").exists()


@pytest.fixture
def host(tmp_path: Path) -> Any:
    """ComfyUI's ``folder_paths``."""
    return folder_paths(tmp_path)


def test_models_and_other_folders_in_output_are_spared(host) -> None:
    """ComfyUI itself saves models below its output folder."""
    place = host.place
    place["temp"], place["input"] = place["output"] / "temp", place["output"] / "input"
    stay = [write(place["output"] / "loras" / "mine.safetensors"), write(place["input"] / "a.png")]
    stay.append(write(place["output"] / "_output_images_will_be_put_here", size=0))
    write(place["temp"] / "x.png")
    queue = Queue()
    queue.history["1"] = {"outputs": {"9": [{"filename": "x.png", "type": "temp"}]}}
    stay.append(place["temp"] / "x.png")
    write(place["output"] / "old.png")
    assert retention.sweep(kept_files.roots(host), queue, NOW - WEEK) == (1, 1000)
    assert all(path.exists() for path in stay)


@pytest.mark.parametrize("kind", ["input", "home", "program", "root", "model folder"])
def test_a_slip_on_the_command_line_costs_no_files(host, tmp_path, monkeypatch, kind) -> None:
    """An output folder that is also something else is not swept at all; temp still is."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    wrong = {
        "input": host.place["input"], "home": tmp_path / "home", "root": Path("/"),
        "program": host.place["output"].parent, "model folder": host.place["output"] / "loras",
    }  # fmt: skip
    host.place["output"] = wrong[kind]
    assert list(kept_files.roots(host)) == [host.place["temp"]]
