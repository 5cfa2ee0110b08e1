"""What the validator says of files that are none, rings, links and what would not run."""

from __future__ import annotations

import argparse
import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from zimage_comfyui.cli import arguments, validate
from zimage_comfyui.cli.terminal import Stop
from zimage_comfyui.config import Settings
from zimage_comfyui.tests.fakes.workflows import check
from zimage_comfyui.validator import snapshot
from zimage_comfyui.validator.check import check_bytes
from zimage_comfyui.validator.findings import LIMIT, Finding, Findings
from zimage_comfyui.validator.knowledge import Knowledge

Document = dict[str, Any]
HAN = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def known() -> Knowledge:
    """The stored node classes."""
    return snapshot.load()


def _of(document: object, known: Knowledge, code: str) -> list[Finding]:
    return [finding for finding in check(document, known).findings if finding.code == code]


# --- no JSON -------------------------------------------------------------------------------------

NO_JSON = {
    "GBK": ('{"1": "红色"}'.encode("gbk"), "第 8 个字节", "Save it as UTF-8"),
    "UTF-16": ('{"1": "红色"}'.encode("utf-16"), "UTF-16", "Save it as UTF-8"),
    "UTF-16 without a mark": ("{}".encode("utf-16-le"), "UTF-16", "Save it as UTF-8"),
    "empty": (b" \n", "文件是空的", "the file is empty"),
    "deep": (b"[" * 200_000, "嵌套太深", "nested deeper"),
    "a long number": (
        b'{"a": ' + b"9" * 5000 + b"}",
        "一个数超过 4300 位",
        "more than 4300 digits",
    ),
    "a comma too many": (b'{"a": 1,\n  }', "第 2 行第 3 列", "line 2, column 3"),
}


@pytest.mark.parametrize(("data", "zh", "en"), NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_json_is_told_in_both_languages(
    data: bytes, zh: str, en: str, known: Knowledge
) -> None:
    """What it is, where, and what to do; Python's own words stay out of the Chinese."""
    (found,) = check_bytes(data, known).findings
    assert found.code == "ZI-WF-JSON"
    assert zh in found.chinese
    assert en in found.english
    assert not re.search("[a-z]{3}", found.chinese)
    assert not HAN.search(found.english)


def test_keys_that_are_written_twice(known: Knowledge) -> None:
    """The host reads the last one and says nothing; the other node is lost."""
    node = '{"class_type": "EmptyImage", "inputs": {}}'
    found = check_bytes(f'{{"7": {node}, "7": {node}}}'.encode(), known).findings
    assert (found[0].code, found[0].severity) == ("ZI-WF-KEY", "warning")
    assert "“7”" in found[0].chinese


# --- nothing to run ------------------------------------------------------------------------------


def _node(number: int, kind: str, link: int | None = None, **more: Any) -> Document:
    inputs = [{"name": "images", "type": "IMAGE", "link": link}] if link is not None else []
    outputs = [{"name": "IMAGE", "type": "IMAGE"}]
    return {"id": number, "type": kind, "inputs": inputs, "outputs": outputs, **more}


@pytest.mark.parametrize(("nodes", "zh", "en"), [
    ([], "里面没有节点", "no node in it"),
    ([_node(1, "Note"), _node(2, "MarkdownNote")], "2 个只在页面上", "2 only on the page"),
    ([_node(1, "EmptyImage", mode=2), _node(2, "SaveImage", mode=4)], "1 个被静音，1 个被绕过",
     "1 muted, 1 bypassed"),
])  # fmt: skip
def test_nothing_would_run(nodes: list[Document], zh: str, en: str, known: Knowledge) -> None:
    """One finding that says why."""
    (found,) = check({"nodes": nodes, "links": []}, known).findings
    assert (found.code, found.severity) == ("ZI-WF-EMPTY", "error")
    assert zh in found.chinese
    assert en in found.english


def test_a_node_without_a_class(known: Knowledge) -> None:
    """It is not called a class that has to be installed."""
    for entry in ({"inputs": {}}, {"class_type": None}, {"class_type": 7}):
        (found,) = _of({"3": entry}, known, "ZI-WF-CLASS")
        assert "class_type" in found.chinese
        assert "Install" not in found.english


# --- links and rings -----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["no row", "no node", "not named"])
def test_a_dangling_link_is_told_once(fault: str, known: Knowledge) -> None:
    """Not a second time as an input that is missing, nor through a reroute."""
    reroute = fault != "not named"
    workflow = _chain(1 if reroute else 0, PICTURE)
    if fault == "no row":
        workflow["links"].pop(0)
    elif fault == "no node":
        workflow["links"][0][1] = 99
    else:
        workflow["nodes"][-1]["inputs"][0]["link"] = None
    found = check(workflow, known).findings.errors
    assert [(f.code, f.node) for f in found] == [("ZI-WF-LINK", "2")]


def test_faults_inside_a_subgraph_have_its_node_in_their_ids(known: Knowledge) -> None:
    """Ids are only unique within one graph: another node of the root may have the same."""
    inner = {**_chain(0, PICTURE), "id": "sub"}
    inner["links"].clear()
    inner["nodes"].append(inner["nodes"][0])
    unused = {**inner, "id": "unused"}
    outer = _chain(0, PICTURE) | {"definitions": {"subgraphs": [
        {**unused, "id": "around", "nodes": [_node(8, "sub")]}, inner, unused]}}  # fmt: skip
    outer["nodes"].append(_node(7, "around"))
    found = check(outer, known).findings
    told = {(f.code, f.node) for f in found.errors}
    faults = ("ZI-WF-LINK", "2"), ("ZI-WF-DUPLICATE", "1")
    assert told == {(code, f"{at}:{node}") for at in ("7:8", "unused") for code, node in faults}


def _chain(length: int, start: Document, ring: bool = False) -> Document:
    """A node, so many reroutes, and a SaveImage; the first reroute may hang on the last."""
    reroutes = [_node(number, "Reroute", number) for number in range(2, length + 2)]
    links = [[number, number - 1, 0, number, 0, "IMAGE"] for number in range(2, length + 3)]
    if ring:
        links[0][1] = length + 1
    return {"nodes": [start, *reroutes, _node(length + 2, "SaveImage", length + 2,
                                              widgets_values=["x"])], "links": links}  # fmt: skip


PICTURE = _node(1, "EmptyImage", widgets_values=[64, 32, 1, 7])


@pytest.mark.parametrize("length", [1, 70, 10_000])
def test_a_long_chain_of_reroutes_is_no_ring(length: int, known: Knowledge) -> None:
    """However long, it is followed to its beginning."""
    checked = check(_chain(length, PICTURE), known)
    assert list(checked.findings) == []
    assert checked.prompt is not None
    assert checked.prompt[str(length + 2)]["inputs"]["images"] == ["1", 0]


def test_many_nodes_at_a_long_chain(known: Knowledge) -> None:
    """Every link is followed once, whatever hangs on it."""
    workflow = _chain(10_000, PICTURE)
    for number in range(20_000, 30_000):
        workflow["nodes"].append(_node(number, "SaveImage", number, widgets_values=["x"]))
        workflow["links"].append([number, 10_001, 0, number, 0, "IMAGE"])
    checked = check(workflow, known)
    assert checked.prompt is not None
    assert checked.prompt["29999"]["inputs"]["images"] == ["1", 0]


def test_a_ring_of_reroutes_is_told_once_with_its_nodes(known: Knowledge) -> None:
    """And nothing is said of the input that it should have fed."""
    found = check(_chain(3, PICTURE, ring=True), known).findings.errors
    assert [f.code for f in found] == ["ZI-WF-CYCLE"]
    for text in (found[0].chinese, found[0].english):
        (shown,) = re.findall(r"(?:\d \w+ → )+\d \w+", text)
        names = shown.split(" → ")
        assert sorted(names[:-1]) == ["2 Reroute", "3 Reroute", "4 Reroute"]
        assert names[0] == names[-1]
    itself = check(_chain(1, PICTURE, ring=True), known).findings.errors
    assert "2 Reroute → 2 Reroute" in itself[0].chinese


def test_rings_of_a_prompt_are_told_once_with_their_nodes(known: Knowledge) -> None:
    """Two links between the same nodes are one ring; a node may hang on itself."""
    mixed = {"mask": ["2", 0], "source": ["2", 0], "destination": ["2", 0], "x": 0, "y": 0}
    prompt = {
        "1": {"class_type": "MaskComposite", "inputs": {**mixed, "operation": "add"}},
        "2": {"class_type": "InvertMask", "inputs": {"mask": ["1", 0]}},
        "3": {"class_type": "InvertMask", "inputs": {"mask": ["3", 0]}},
    }
    first, second = _of(prompt, known, "ZI-WF-CYCLE")
    assert "1 MaskComposite → 2 InvertMask → 1 MaskComposite" in first.english
    assert "3 InvertMask → 3 InvertMask" in second.chinese
    long = {str(n): {"class_type": "InvertMask", "inputs": {"mask": [str((n + 1) % 50), 0]}}
            for n in range(50)}  # fmt: skip
    (found,) = _of(long, known, "ZI-WF-CYCLE")
    assert "… (+43)" in found.chinese


def test_two_links_to_one_input(known: Knowledge) -> None:
    """Both are named, and the input."""
    workflow = {
        "nodes": [PICTURE, _node(2, "PreviewImage", 1)],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 1, 0, 2, 0, "IMAGE"]],
    }
    (found,) = check(workflow, known).findings.errors
    assert (found.code, found.input) == ("ZI-WF-LINK", "images")
    assert "连线 1 占用了同一个输入" in found.chinese
    assert "link 1 claims the same input" in found.english


def test_ids_that_occur_twice(known: Knowledge) -> None:
    """Of subgraphs, and of a node beside the one that a subgraph becomes."""
    inner = {"id": "s", "nodes": [_node(3, "EmptyImage")], "links": []}
    workflow = {"nodes": [_node(1, "s"), {**PICTURE, "id": "1:3"}, _node(9, "SaveImage")],
                "definitions": {"subgraphs": [inner, {**inner, "nodes": []}]}}  # fmt: skip
    texts = [f.chinese for f in _of(workflow, known, "ZI-WF-DUPLICATE")]
    assert [text.partition(" 出现")[0] for text in texts] == ["子图编号 s", "节点编号 1:3"]


def test_named_fields_are_decided_like_listed_ones(known: Knowledge) -> None:
    """Dynamic prompts and comments, whichever way the file holds them."""
    text = "a {red|blue} ball // really"
    for values in ([text], {"text": text}):
        node = {"id": 1, "type": "CLIPTextEncode", "inputs": [], "widgets_values": values}
        prompt = check({"nodes": [node], "links": []}, known).prompt
        assert prompt is not None
        assert prompt["1"]["inputs"]["text"] == "a red ball "


# --- many findings, large files, the command ---------------------------------------------------


def test_more_findings_than_are_kept() -> None:
    """It is said that there are more, and an error among them is not forgotten."""
    found = Findings()
    for _ in range(LIMIT + 5):
        found.add("ZI-WF-UNREACHABLE", "1", severity="warning")
    assert [f.code for f in found[LIMIT:]] == ["ZI-WF-MORE"]
    assert f"前 {LIMIT} 个" in found[-1].chinese
    assert found.errors == []
    found.add("ZI-WF-NO-OUTPUT")
    assert [f.code for f in found.errors] == ["ZI-WF-MORE"]
    assert len(found) == LIMIT + 1


def _command(*words: str) -> argparse.Namespace:
    return arguments.parse(["validate", *words])


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any], str]:
    status = validate.run(_command("--json", *words), Settings.from_environment())
    shown = capsys.readouterr()
    return status, json.loads(shown.out), shown.err


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gigabyte costs nothing."""
    large = tmp_path / "large.json"
    with large.open("wb") as stream:
        stream.truncate(2**30)
    _run(capsys, str(large))  # imports and node classes are there now
    tracemalloc.start()
    try:
        status, report, _ = _run(capsys, str(large))
        assert tracemalloc.get_traced_memory()[1] < 48 * 2**20
    finally:
        tracemalloc.stop()
    assert status == 1
    assert [f["code"] for f in report["files"][0]["findings"]] == ["ZI-WF-LARGE"]


def test_every_file_is_reported_though_one_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """2 in the end; a folder is called a folder."""
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    words = [str(tmp_path / "no.json"), str(tmp_path), str(broken)]
    status, report, errors = _run(capsys, *words)
    assert status == 2
    codes = [[f["code"] for f in entry["findings"]] for entry in report["files"]]
    assert codes == [["ZI-FILE-MISSING"], ["ZI-WF-UNREADABLE"], ["ZI-WF-EMPTY"]]
    assert f"找不到文件 {words[0]}。" in errors
    assert "这是文件夹" in errors
    assert "it is a folder" in errors


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there, and that is said."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    found = validate._check_file(tmp_path / "secret.json", Knowledge({})).findings
    assert "没有读取权限" in found[0].chinese
    assert "permission denied" in found[0].english


@pytest.mark.parametrize("text", ["{}", "[]", '{"1": {"class_type": "X", "inputs": {}}}', "{", ""])
def test_object_info_that_is_none(text: str, tmp_path: Path) -> None:
    """Told of that file, not as hundreds of unknown nodes."""
    file = tmp_path / "info.json"
    file.write_text(text)
    with pytest.raises(Stop) as stopped:
        validate.run(_command("--object-info", str(file)), Settings.from_environment())
    assert (stopped.value.status, stopped.value.code) == (2, "ZI-OBJECT-INFO")
    assert "info.json" in stopped.value.chinese
    assert re.search("没有节点类|不是 JSON", stopped.value.chinese)


def test_nodes_of_other_packs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors when that is asked for."""
    entry = {"input": {"required": {}}, "output": [], "output_node": True}
    info = tmp_path / "info.json"
    info.write_text(json.dumps({"Foreign": {**entry, "python_module": "custom_nodes.somebody"}}))
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps({"1": {"class_type": "Foreign", "inputs": {}}}))
    words = [str(file), "--object-info", str(info)]
    assert _run(capsys, *words)[0] == 0
    status, report, _ = _run(capsys, *words, "--core-only")
    assert status == 1
    assert [f["code"] for f in report["files"][0]["findings"]] == ["ZI-WF-FOREIGN"]
