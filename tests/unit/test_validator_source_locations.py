"""Where in a file a finding is: line, column, and how much of the line."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from zimage_comfyui.tests.fakes.workflows import official
from zimage_comfyui.validator import snapshot, source_locations
from zimage_comfyui.validator.check import check_bytes
from zimage_comfyui.validator.findings import Finding, Findings
from zimage_comfyui.validator.knowledge import Knowledge
from zimage_comfyui.validator.source_locations import locate


@pytest.fixture(scope="module")
def stored() -> Knowledge:
    """The stored node classes."""
    return snapshot.load()


def _marked(text: str, code: str, known: Knowledge, name: str = "") -> tuple[int | None, str]:
    """Line, and the text that is marked there, of the one finding with that code and input."""
    data = text.encode()
    (found,) = [f for f in locate(data, check_bytes(data, known).findings, known)
                if f.code == code and name in ("", f.input)]  # fmt: skip
    if found.line is None or found.column is None:
        return None, ""
    row = text.split("\n")[found.line - 1]
    return found.line, row[found.column - 1 : found.column - 1 + found.length]


PROMPT = """{
  "3": {"class_type": "KSamplr", "inputs": {}},
  "4": {
    "inputs": {"红": "色", "stepz" : 4,
               "model": ["9",
                         0]},
    "class_type": "KSampler"
  }
}"""


@pytest.mark.parametrize(("code", "name", "line", "marked"), [
    ("ZI-WF-NODE-UNKNOWN", "", 2, '"class_type": "KSamplr"'),
    ("ZI-WF-INPUT-UNKNOWN", "stepz", 4, '"stepz" : 4'),
    ("ZI-WF-LINK", "model", 5, '"model": ["9",'),
    ("ZI-WF-INPUT-MISSING", "seed", 3, '"4"'),
])  # fmt: skip
def test_places_in_a_prompt(
    code: str, name: str, line: int, marked: str, stored: Knowledge
) -> None:
    """An input with its value, as far as its first line goes; else the node."""
    assert _marked(PROMPT, code, stored, name) == (line, marked)
    body = '{"client_id": "4",\n"prompt":\n' + PROMPT + "}"
    assert _marked(body, code, stored, name) == (line + 2, marked)
    assert _marked("\ufeff" + PROMPT, code, stored, name)[0] == line


def test_a_mark_ends_before_the_line_break(stored: Knowledge) -> None:
    """A value of several lines is marked without the CR of CRLF."""
    text = PROMPT.replace("\n", "\r\n")
    assert _marked(text, "ZI-WF-LINK", stored, "model") == (5, '"model": ["9",')


def test_the_last_of_equal_names_is_the_one_that_counts(stored: Knowledge) -> None:
    """As for whoever reads the file."""
    text = '{"1": {"class_type": "EmptyImage",\n"inputs": {"wobble": 1,\n"wobble": 2}}}'
    assert _marked(text, "ZI-WF-INPUT-UNKNOWN", stored, "wobble") == (3, '"wobble": 2')


def _page(**more: Any) -> str:
    """A saved workflow with everything on a line of its own."""
    inner = {"id": "sub", "nodes": [{"id": 7, "type": "EmptyImage", "inputs": [],
                                     "widgets_values": [64, -5, 1, 0], "outputs": []}]}  # fmt: skip
    nodes = [
        {"id": 1, "type": "SaveImage", "widgets_values": ["x"],
         "inputs": [{"name": "images", "type": "IMAGE", "link": 8}]},
        {"id": 2, "type": "Nobody"},
        {"id": 3, "type": "sub"},
        {"id": 4, "type": "KSampler", "widgets_values": {"steps": "many"}},
    ]  # fmt: skip
    graph = {"nodes": nodes, "links": [], "definitions": {"subgraphs": [inner]}, **more}
    return json.dumps(graph, indent=1)


@pytest.mark.parametrize(("code", "name", "marked"), [
    ("ZI-WF-LINK", "images", '"name": "images"'),
    ("ZI-WF-NODE-UNKNOWN", "", '"type": "Nobody"'),
    ("ZI-WF-RANGE", "height", "-5"),
    ("ZI-WF-VALUE", "steps", '"steps": "many"'),
    ("ZI-WF-INPUT-MISSING", "model", '"id": 4'),
])  # fmt: skip
def test_places_in_a_saved_workflow(code: str, name: str, marked: str, stored: Knowledge) -> None:
    """Fields by their place in the list, sockets by name, nodes by id, inside subgraphs too."""
    text = _page()
    line, found = _marked(text, code, stored, name)
    assert found == marked
    assert line is not None
    assert marked in text.split("\n")[line - 1]


def test_fields_that_do_not_fit_their_class_are_not_marked(stored: Knowledge) -> None:
    """Rather the node than the wrong value."""
    node = {"id": 4, "type": "EmptyImage", "widgets_values": [64, -5, 1]}
    assert _marked(json.dumps({"nodes": [node]}), "ZI-WF-RANGE", stored) == (1, '"id": 4')


@pytest.mark.parametrize(("data", "line", "column"), [
    (b'{"a": 1,\n  }', 2, 3), (b'{"a": 1\n "b"', 2, 2), (b'{\n "\xba\xec": 1}', 2, 3),
    ('{\n "红\udc80'.encode(errors="surrogateescape"), 2, 4), (b"[1]", 1, 1), (b"", None, None),
])  # fmt: skip
def test_the_place_of_what_is_no_json(
    data: bytes, line: int | None, column: int | None, stored: Knowledge
) -> None:
    """Where it stops being JSON or UTF-8, in characters."""
    (found,) = check_bytes(data, stored).findings
    assert (found.line, found.column) == (line, column)
    if line is not None and found.code == "ZI-WF-JSON" and b"\xba" not in data:
        assert f"第 {line} 行" in found.chinese or "个字节" in found.chinese


def test_large_files_and_strange_ids_have_no_place(
    stored: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Findings are told without one."""
    found = Findings()
    found.add("ZI-WF-UNREACHABLE", "5:nobody", "x")
    found.add("ZI-WF-UNREACHABLE", "99", "x", "input")
    for text in (PROMPT, _page()):
        assert locate(text.encode(), found, stored) == found
    monkeypatch.setattr(source_locations, "MAX_FILE_SIZE", 10)
    data = PROMPT.encode()
    assert all(f.line is None for f in locate(data, check_bytes(data, stored).findings, stored))


def test_every_node_of_every_official_template_has_a_place(stored: Knowledge) -> None:
    """In bounded time, and at its id."""
    count, began = 0, time.process_time()
    for path in official()[::6]:
        data = path.read_bytes()
        text = data.decode().split("\n")
        prompt = check_bytes(data, stored).prompt or {}
        asked = [Finding("ZI-WF-UNREACHABLE", "warning", n, "", "", "", "") for n in prompt]
        for found in locate(data, asked, stored):
            assert found.line is not None
            assert found.column is not None
            shown = text[found.line - 1][found.column - 1 :][: found.length]
            assert shown.endswith(found.node.rpartition(":")[2])
            assert shown.startswith('"id":')
            count += 1
    assert count > 200
    assert time.process_time() - began < 20


def test_many_findings_in_a_wide_file_are_placed_quickly(stored: Knowledge) -> None:
    """Nodes are found by a table, not one by one."""
    nodes = {str(n): {"class_type": "EmptyImage", "inputs": {"wobble": n}} for n in range(20_000)}
    data = json.dumps(nodes).encode()
    checked = check_bytes(data, stored)
    began = time.process_time()
    found = locate(data, checked.findings, stored)
    assert time.process_time() - began < 5
    assert len(found) == 1001
    assert all(f.line == 1 for f in found[:1000])
