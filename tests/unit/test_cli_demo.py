"""What ``demo`` hands to the server."""

from __future__ import annotations

import errno
import io
import sys
from http.client import IncompleteRead
from pathlib import Path

import pytest

from zimage_comfyui.cli import demo, templates
from zimage_comfyui.cli.arguments import parse
from zimage_comfyui.cli.client import Client, Run
from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.terminal import Stop
from zimage_comfyui.config import Settings


class _ReachedError(Exception):
    pass


@pytest.mark.parametrize("named", [True, False])
def test_the_log_goes_where_the_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """``comfyui.log`` in ``$ZIMAGE_LOG_DIR``; without it the server chooses."""

    def reach(*_: object, log: Path | None) -> None:
        assert log == (tmp_path / "comfyui.log" if named else None)
        raise _ReachedError

    monkeypatch.setattr(demo.signal, "signal", lambda *_: None)
    monkeypatch.setattr(demo, "discover", lambda *_: Host(tmp_path, Path("python"), "argument"))
    monkeypatch.setattr(demo, "Server", reach)
    settings = Settings(home=tmp_path, log_dir=tmp_path if named else None)
    with pytest.raises(_ReachedError):
        demo.run(parse(["demo", "--out", str(tmp_path)]), settings)


def test_progress_has_the_names_that_the_page_shows(capsys: pytest.CaptureFixture[str]) -> None:
    """In both languages; other people's nodes go by their title, or their class."""
    graph = {
        "1": {"class_type": "ZImageSampler", "_meta": {"title": "再次采样"}},
        "2": {"class_type": "PreviewImage", "_meta": {"title": "原图"}},
        "3": {"class_type": "EmptyImage"},
    }
    progress = demo._Progress(graph)
    for node in (*graph, "9", None):
        progress({"type": "executing", "data": {"node": node}})
    for step in (2, 8):
        progress({"type": "progress", "data": {"node": "1", "value": step, "max": 8}})
    shown = capsys.readouterr().err
    assert shown.split("\n") == [
        "  Z-Image 采样 / Z-Image Sampler", "  原图", "  EmptyImage", "  ?",
        "  Z-Image 采样 / Z-Image Sampler 8/8", "",
    ]  # fmt: skip


def test_a_terminal_counts_steps_in_place(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that is written over; a file (the test above) has the last count alone."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = demo._Progress({"1": {"class_type": "EmptyImage"}})
    for step in (1, 2):
        progress({"type": "progress", "data": {"node": "1", "value": step, "max": 2}})
    assert capsys.readouterr().err == "\r  EmptyImage 1/2\r  EmptyImage 2/2\n"


@pytest.mark.parametrize("name", templates.names(demo.PACK_DIR))
def test_no_class_name_of_ours_is_shown(name: str) -> None:
    """Every class in a template has its names in ``locales``."""
    graph = templates.load(templates.find(demo.PACK_DIR, name))
    shown = templates.display_names(demo.PACK_DIR, graph).values()
    assert not [text for text in shown if text.startswith("ZImage")]


def test_a_prompt_that_cannot_be_read_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the code that the server would give, as wrong usage."""
    monkeypatch.setattr(demo.signal, "signal", lambda *_: None)
    with pytest.raises(Stop) as caught:
        demo.run(parse(["demo", "--prompt", "坏\ufffd字"]), Settings(home=tmp_path))
    assert (caught.value.code, caught.value.status) == ("ZI-TEXT-REPLACEMENT", 2)


class _Client(Client):
    """A client whose run has ended with this history, and whose downloads fail."""

    def __init__(self, history: dict, error: Exception | None = None) -> None:
        super().__init__("http://127.0.0.1:1")
        self.finished = Run("id", history, 0.0, [])
        self.error = error

    def run(self, *_: object, **__: object) -> Run:
        return self.finished

    def view(self, image: dict[str, str]) -> bytes:
        assert self.error is not None
        raise self.error


def test_an_interrupted_run_is_reported_as_interrupted() -> None:
    """In both languages, and not as a run without a picture."""
    status = {"status_str": "error", "messages": [["execution_interrupted", {"node_id": "1"}]]}
    with pytest.raises(Stop) as caught:
        demo._generate(_Client({"status": status}), {})
    assert caught.value.code == "ZI-RUN-FAILED"
    assert "中断" in caught.value.chinese
    assert "interrupted" in caught.value.english


@pytest.mark.parametrize("error", [OSError("GET /view: 404"), IncompleteRead(b"")])
def test_a_picture_that_cannot_be_downloaded(tmp_path: Path, error: Exception) -> None:
    """A failed download is a coded error, as a failed run is."""
    image = {"filename": "a.png", "subfolder": "", "type": "output"}
    client = _Client({"outputs": {"1": {"images": [image]}}}, error)
    with pytest.raises(Stop) as caught:
        demo._save(client, client.finished, tmp_path, "generate")
    assert (caught.value.code, caught.value.status) == ("ZI-RUN-FAILED", 1)
    assert str(error) in caught.value.english


class _Rival(_Client):
    """A client during whose download another demo saves a picture of the same template."""

    def __init__(self, history: dict, rival: Path) -> None:
        super().__init__(history)
        self.rival = rival

    def view(self, image: dict[str, str]) -> bytes:
        self.rival.write_bytes(b"theirs")
        return b"ours"


PICTURE = {"outputs": {"1": {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}}}


def test_two_demos_at_once_keep_both_pictures(tmp_path: Path) -> None:
    """A name that another process takes in the meantime is left to it."""
    rival = tmp_path / "generate.png"
    client = _Rival(PICTURE, rival)
    assert demo._save(client, client.finished, tmp_path, "generate") == [
        tmp_path / "generate-2.png"
    ]
    assert (rival.read_bytes(), (tmp_path / "generate-2.png").read_bytes()) == (b"theirs", b"ours")


def test_a_name_that_appears_at_the_last_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check and the creation of the file are one step, also for a broken link."""
    (tmp_path / "generate.png").symlink_to(tmp_path / "elsewhere.png")
    monkeypatch.setattr(Path, "exists", lambda *_, **__: False)
    (tmp_path / "generate-2.png").write_bytes(b"theirs")
    assert demo._write(b"ours", tmp_path, "generate", ".png") == tmp_path / "generate-3.png"
    assert (tmp_path / "generate-2.png").read_bytes() == b"theirs"
    assert not (tmp_path / "elsewhere.png").is_file()


def test_a_picture_that_cannot_be_written_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is given in both languages."""

    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "generate.png"
    path.touch()
    monkeypatch.setattr(demo, "_create", lambda *_: (path, Full()))
    with pytest.raises(Stop) as caught:
        demo._write(b"ours", tmp_path, "generate", ".png")
    assert (caught.value.code, list(tmp_path.iterdir())) == ("ZI-OUTPUT", [])
    assert "磁盘空间已满" in caught.value.chinese
    assert "No space left on device" in caught.value.english


def test_the_check_of_the_folder_disturbs_no_other_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two demos may check one folder at once, so no fixed name is used and nothing is left."""
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: pytest.fail("a shared file"))
    assert demo._writable(tmp_path / "new") == tmp_path / "new"
    assert list((tmp_path / "new").iterdir()) == []


def test_a_server_that_does_not_answer_in_time() -> None:
    """The reason is Chinese in the Chinese text."""
    client = _Client({}, None)
    client.run = lambda *_, **__: (_ for _ in ()).throw(TimeoutError())
    with pytest.raises(Stop) as caught:
        demo._generate(client, {})
    assert "等待超时" in caught.value.chinese
    assert "it timed out" in caught.value.english
