"""Which bundled templates are left out of the page's list, and that it is told once."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from pathlib import Path

import pytest

from zimage_comfyui.page import live
from zimage_comfyui.page.templates import Templates, without
from zimage_comfyui.validator import snapshot
from zimage_comfyui.validator.knowledge import Knowledge

ROOT = Path(__file__).resolve().parents[2]
POSTER, PAINTING = "电商海报生成", "古风插画"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of two bundled templates."""
    for name in (POSTER, PAINTING):
        shutil.copy(ROOT / "workflows" / f"{name}.json", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def known() -> Knowledge:
    """The stored node classes."""
    return snapshot.load()


def change(folder: Path, name: str, old: str, new: str) -> None:
    """Replace text in a template; the file's time moves on, as it does between two edits."""
    path = folder / f"{name}.json"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    moved = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(moved, moved))


def test_every_bundled_template_is_listed(known: Knowledge) -> None:
    """Nothing of ours is broken."""
    assert Templates(ROOT / "workflows", lambda: known).broken() == frozenset()


def test_a_broken_one_is_found_and_told_once(
    folder: Path, known: Knowledge, caplog: pytest.LogCaptureFixture
) -> None:
    """Its name, the reason in both languages and a code, in one line however often one asks."""
    change(folder, POSTER, '"ZImageSampler"', '"ZImageSampler2"')
    templates = Templates(folder, lambda: known)
    with caplog.at_level(logging.WARNING):
        assert [templates.broken() for _ in range(3)] == [frozenset({POSTER})] * 3
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"[ZI-TEMPLATE-BROKEN] 模板“{POSTER}”无法运行")
    assert "This ComfyUI has no node class ZImageSampler2" in message


@pytest.mark.parametrize("data", [b"{", b"\xff\xfe", b"", b"null", b"[" * 100_000])
def test_what_is_no_workflow_is_left_out(folder: Path, known: Knowledge, data: bytes) -> None:
    """Half a file, another encoding, nothing, and what would exhaust a parser."""
    (folder / f"{POSTER}.json").write_bytes(data)
    assert Templates(folder, lambda: known).broken() == {POSTER}


def test_a_template_that_cannot_be_read(
    folder: Path,
    known: Knowledge,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The reason is the system's, not that the file is empty; new permissions list it again."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    templates = Templates(folder, lambda: known)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refuse)
        assert templates.broken() == frozenset({POSTER, PAINTING})
    message = caplog.messages[0]
    assert f"无法读取 {PAINTING}.json：没有权限" in message or f"{POSTER}.json：没有权限" in message
    assert "Permission denied" in message
    for name in (POSTER, PAINTING):
        (folder / f"{name}.json").chmod(0o640)
    assert templates.broken() == frozenset()


def test_a_mended_file_is_listed_again(folder: Path, known: Knowledge) -> None:
    """Without a restart; and broken again, it is left out again."""
    templates = Templates(folder, lambda: known)
    change(folder, PAINTING, '"ZImageLoader"', '"NoLoader"')
    assert templates.broken() == {PAINTING}
    change(folder, PAINTING, '"NoLoader"', '"ZImageLoader"')
    assert templates.broken() == frozenset()
    change(folder, PAINTING, '"ZImageLoader"', '"NoLoader"')
    assert templates.broken() == {PAINTING}


def test_node_classes_are_read_only_when_a_file_is_new(folder: Path, known: Knowledge) -> None:
    """A request for the list costs a look at the files' times."""
    asked = []
    templates = Templates(folder, lambda: asked.append(1) or known)
    for _ in range(3):
        templates.broken()
    assert len(asked) == 1


def test_a_missing_model_file_does_not_hide_a_template(folder: Path, known: Knowledge) -> None:
    """The user can add it; the page and /prompt say which."""
    info = {"input": {"required": {"model_name": [["other.safetensors"]]}}, "output": []}
    kinds = {**known.node_classes, **Knowledge({"ZImageLoader": info}).node_classes}
    kinds["ZImageLoader"] = known.node_classes["ZImageLoader"].__class__(
        "ZImageLoader",
        {**known.node_classes["ZImageLoader"].inputs, **kinds["ZImageLoader"].inputs},
        known.node_classes["ZImageLoader"].outputs,
    )
    local = Knowledge({})
    local.node_classes = kinds
    assert Templates(folder, lambda: local).broken() == frozenset()


def test_only_our_pack_s_names_are_taken_out() -> None:
    """Another pack may have a template of the same name; an empty group goes altogether."""
    listed = {"ours": ["a", "b"], "theirs": ["a"]}
    assert without(listed, "ours", frozenset({"a"})) == {"ours": ["b"], "theirs": ["a"]}
    assert without(listed, "ours", frozenset({"a", "b"})) == {"theirs": ["a"]}
    assert listed == {"ours": ["a", "b"], "theirs": ["a"]}


@pytest.mark.parametrize("listed", [[], None, {"ours": {"a": 1}}, {"theirs": ["a"]}])
def test_a_list_of_another_shape_is_left_as_it_is(listed: object) -> None:
    """A later ComfyUI may answer in another way."""
    assert without(listed, "ours", frozenset({"a"})) == listed


class Stock:
    """A node class of the older kind."""

    RETURN_TYPES = ("IMAGE",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"mode": (["a", "b"],), "amount": ("INT", {"min": 1})}}


class Modern:
    """A node class that describes itself."""

    @classmethod
    def GET_NODE_INFO_V1(cls) -> dict:
        return {"input": {"optional": {"x": ("FLOAT", {})}}, "output": ["MODEL"]}


class Failing:
    """A node class that cannot be described here."""

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        raise RuntimeError("no such folder")


def test_live_classes_are_described_when_asked_for() -> None:
    """Both kinds of class as /object_info gives them; a failing one is like an unknown one."""
    known = live.LiveKnowledge({"Stock": Stock, "Modern": Modern, "Failing": Failing})
    assert known.node_classes == {}
    stock = known.get("Stock")
    assert stock is not None
    assert (stock.is_output, stock.outputs) == (True, ("IMAGE",))
    assert stock.inputs["mode"].choices == ("a", "b")
    assert stock.inputs["amount"].limits[0] == 1
    modern = known.get("Modern")
    assert modern is not None
    assert not modern.inputs["x"].required
    assert known.get("Failing") is None
    assert known.get("Nothing") is None
    assert known.get(["Stock"]) is None


def test_without_a_host_the_stored_classes_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module called nodes without any class is no host."""
    monkeypatch.setitem(__import__("sys").modules, "nodes", None)
    assert "ZImageLoader" in live.knowledge().node_classes


def test_stored_classes_are_plain_json() -> None:
    """So that the two ways to know a class agree."""
    info = {"input": Stock.INPUT_TYPES(), "output": Stock.RETURN_TYPES, "output_node": True}
    info["python_module"] = "nodes"  # what the host says of classes of its own
    same = Knowledge({"Stock": json.loads(json.dumps(info))}).node_classes["Stock"]
    assert live.LiveKnowledge({"Stock": Stock}).get("Stock") == same
