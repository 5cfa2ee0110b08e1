"""What ``serve`` starts under a guardian."""

from __future__ import annotations

from pathlib import Path

import pytest

from zimage_comfyui.cli import guard
from zimage_comfyui.cli.host import Host
from zimage_comfyui.config import PACK_DIR, Settings
from zimage_comfyui.guardian.limits import Limits
from zimage_comfyui.guardian.mode import Mode


@pytest.mark.parametrize(
    ("mode", "given", "words"),
    [
        (Mode.NORMAL, [], ["--temp-directory", "/t/1"]),
        (Mode.NORMAL, ["--temp-directory", "/own"], []),
        (Mode.NORMAL, ["--temp=/own"], []),
        (Mode.SAFE, [], ["--temp-directory", "/t/1", "--disable-all-custom-nodes",
                         "--whitelist-custom-nodes", "ours"]),
        (Mode.CPU, [], ["--temp-directory", "/t/1", "--disable-all-custom-nodes",
                        "--whitelist-custom-nodes", "ours", "--cpu"]),
    ],
)  # fmt: skip
def test_each_mode_leaves_out_more(mode: Mode, given: list[str], words: list[str]) -> None:
    """This pack is always loaded: without it nobody would listen to the guardian."""
    assert guard.more_arguments(mode, Path("/t/1"), given, ["ours"]) == words


def test_the_pack_is_found_under_any_name(tmp_path: Path) -> None:
    """ComfyUI knows a pack by its folder, which may be a link of any name."""
    nodes = tmp_path / "custom_nodes"
    nodes.mkdir()
    (nodes / "我的节点").symlink_to(PACK_DIR)
    (nodes / "another").mkdir()
    found = guard.names_of(Host(tmp_path, Path("python"), "argument"))
    assert {"我的节点", PACK_DIR.name} <= set(found)
    assert "another" not in found


@pytest.mark.parametrize(
    ("given", "own"),
    [
        ([], False),
        (["--lowvram"], False),
        (["--port=9"], True),
        (["--listen", "0.0.0.0"], True),
    ],
)
def test_an_address_behind_our_back_is_not_guarded(given: list[str], own: bool) -> None:
    """ComfyUI itself listens there, then."""
    assert guard.own_address(given) is own


def test_limits_can_be_changed_by_name() -> None:
    """Unknown names are left out, and a 0 that would end every server at once."""
    assert Limits.with_changes({"silence": 5, "noise": 1}) == Limits(silence=5)
    assert Limits.with_changes({"silence": 0, "quick": 0}) == Limits(quick=0)
    assert Limits.with_changes({}) == Limits()


@pytest.mark.parametrize(
    ("text", "limits", "found", "expected"),
    [
        ("silence=30s,grace=9", Limits(grace=9), "silence=30s", "silence=30,grace=120"),
        ("silence=-1", Limits(), "silence=-1", "silence=30,grace=120"),
        ("silense=30", Limits(), "silense=30", "start, silence, probes"),
        ("probes=0", Limits(), "probes=0", "> 0"),
    ],
)
def test_a_wrong_limit_is_told_at_the_start(
    text: str, limits: Limits, found: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In Chinese and in English, with what is expected; its default counts."""
    assert guard.limits(Settings.from_environment({"ZIMAGE_GUARD": text})) == limits
    chinese, english = capsys.readouterr().err.splitlines()
    for line in (chinese, english):
        assert line.startswith("[ZI-SETTING] ")
        assert {"ZIMAGE_GUARD", found, expected} == {
            one for one in ("ZIMAGE_GUARD", found, expected) if one in line
        }
    assert "已改用默认值" in chinese
    assert "The default is used instead" in english


def test_right_limits_are_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A start without mistakes says nothing of them."""
    settings = Settings.from_environment({"ZIMAGE_GUARD": "silence=30, quick=0"})
    assert guard.limits(settings) == Limits(silence=30, quick=0)
    assert capsys.readouterr().err == ""
