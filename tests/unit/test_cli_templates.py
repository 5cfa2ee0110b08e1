"""What ``demo`` finds and changes in a template."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zimage_comfyui.cli import templates
from zimage_comfyui.cli.terminal import LACKING, USAGE, Stop

GRAPH = {
    "1": {"class_type": "ZImageTextEncode", "inputs": {"prompt": "红", "negative_prompt": "糊"}},
    "2": {"class_type": "ZImageSampler", "inputs": {"seed": 1, "steps": -1}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"prompt": "stays", "seed": 5}},
}


def _pack(folder: Path, *names: str) -> Path:
    (folder / "workflows" / "api").mkdir(parents=True)
    for name in names:
        path = folder / "workflows" / "api" / f"{name}.json"
        path.write_text(json.dumps(GRAPH, ensure_ascii=False), encoding="utf-8")
    return folder


def test_template_is_found_by_its_chinese_name(tmp_path: Path) -> None:
    """And read as it was written."""
    pack = _pack(tmp_path, "古风插画", "电商海报生成")
    assert templates.load(templates.find(pack, "古风插画")) == GRAPH


@pytest.mark.parametrize("name", ["", "../api/古风插画", "古风", "古风插画.json"])
def test_unknown_template_names_those_there_are(tmp_path: Path, name: str) -> None:
    """Wrong usage, with the list to choose from; paths are not names."""
    pack = _pack(tmp_path, "古风插画", "电商海报生成")
    with pytest.raises(Stop, match="古风插画, 电商海报生成") as stop:
        templates.find(pack, name)
    assert stop.value.status == USAGE


@pytest.mark.parametrize(("name", "meant"), [
    ("古风", "古风插画"), ("古风插花", "古风插画"), ("workflows/古风插画.json", "古风插画"),
    ("base", "Base 高质量"), ("海报", "电商海报生成"),
])  # fmt: skip
def test_a_template_that_was_probably_meant_is_named(tmp_path: Path, name: str, meant: str) -> None:
    """By a part of its name, or by one that is near it; nothing where none is."""
    pack = _pack(tmp_path, "古风插画", "电商海报生成", "Base 高质量")
    with pytest.raises(Stop) as stop:
        templates.find(pack, name)
    assert f"是否想写“{meant}”？" in stop.value.chinese
    assert f"Did you mean {meant}? " in stop.value.english
    for far in ("", "xyz"):
        with pytest.raises(Stop) as stop:
            templates.find(pack, far)
        assert "是否想写" not in stop.value.chinese


def test_a_copy_without_templates_is_the_machine_s_fault(tmp_path: Path) -> None:
    """Without any template the person did nothing wrong."""
    with pytest.raises(Stop, match="ZI-FILE-MISSING") as stop:
        templates.find(tmp_path, "古风插画")
    assert stop.value.status == LACKING


def test_prompt_and_seed_change_only_what_they_name() -> None:
    """The original stays, other nodes and inputs too."""
    before = json.dumps(GRAPH)
    changed = templates.with_seed(templates.with_prompt(GRAPH, "蓝"), 7)
    assert json.dumps(GRAPH) == before
    assert changed["1"]["inputs"] == {"prompt": "蓝", "negative_prompt": "糊"}
    assert changed["2"]["inputs"] == {"seed": 7, "steps": -1}
    assert changed["3"] == GRAPH["3"]


def test_a_prompt_for_an_edit_is_its_instruction() -> None:
    """What draws the reference picture stays."""
    edit = {"class_type": "ZImageEdit", "inputs": {"prompt": "把雨伞改成蓝色"}}
    changed = templates.with_prompt(GRAPH | {"9": edit}, "把雨伞改成红色")
    assert changed["9"]["inputs"]["prompt"] == "把雨伞改成红色"
    assert {key: node for key, node in changed.items() if key != "9"} == GRAPH
