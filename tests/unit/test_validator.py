"""The validator on the bundled templates, on broken variants of them, and on hostile files."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zimage_comfyui.validator import snapshot
from zimage_comfyui.validator.check import check_bytes
from zimage_comfyui.validator.dynamic_prompts import first_choice
from zimage_comfyui.validator.knowledge import Knowledge

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "workflows").glob("*.json"))
OUTPUTS = ("ZImageSave", "PreviewImage")
Document = dict[str, Any]


@pytest.fixture(scope="module")
def knowledge() -> Knowledge:
    """The stored node classes."""
    return snapshot.load()


def check(document: object, knowledge: Knowledge):
    """Check a document as if it had come from a file."""
    return check_bytes(json.dumps(document).encode(), knowledge)


def codes(document: object, knowledge: Knowledge) -> set[str]:
    """Codes of the errors in a document."""
    return {finding.code for finding in check(document, knowledge).findings.errors}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_template_has_no_finding_and_becomes_its_api_form(path: Path, knowledge) -> None:
    """The API form beside it is what the page sends; the browser tests hold those together."""
    checked = check_bytes(path.read_bytes(), knowledge)
    assert list(checked.findings) == []
    expected = json.loads((path.parent / "api" / path.name).read_text(encoding="utf-8"))
    assert checked.prompt == expected


# --- broken variants of API form: each returns what it broke ----------------------------------


def _linked(prompt: Document, rng: random.Random) -> tuple[Document, str]:
    pairs = [
        (node, name)
        for node in prompt.values()
        for name, value in node["inputs"].items()
        if isinstance(value, list)
    ]
    node, name = rng.choice(pairs)
    return node["inputs"], name


def _remove_link(prompt: Document, rng: random.Random) -> None:
    inputs, name = _linked(prompt, rng)
    del inputs[name]


def _dangle(prompt: Document, rng: random.Random) -> None:
    inputs, name = _linked(prompt, rng)
    inputs[name] = ["no such node", 0]


def _wrong_slot(prompt: Document, rng: random.Random) -> None:
    inputs, name = _linked(prompt, rng)
    inputs[name] = [inputs[name][0], 99]


def _wrong_type(prompt: Document, rng: random.Random) -> None:
    loaders = [n for n, node in prompt.items() if node["class_type"] == "ZImageLoader"]
    inputs, name = _linked(prompt, rng)
    origin, slot = inputs[name]
    inputs[name] = [loaders[0], (slot + 1) % 3 if origin in loaders else 0]


def _rename(prompt: Document, rng: random.Random) -> None:
    rng.choice(list(prompt.values()))["class_type"] += "X"


def _cycle(prompt: Document, rng: random.Random) -> None:
    sampler = next(n for n, node in prompt.items() if node["class_type"] == "ZImageSampler")
    prompt[sampler]["inputs"]["latent_image"] = [sampler, 0]


def _out_of_range(prompt: Document, rng: random.Random) -> None:
    sampler = next(node for node in prompt.values() if node["class_type"] == "ZImageSampler")
    sampler["inputs"]["seed"] = rng.choice([-1, 2**64])


def _bad_choice(prompt: Document, rng: random.Random) -> None:
    sampler = next(node for node in prompt.values() if node["class_type"] == "ZImageSampler")
    sampler["inputs"][rng.choice(["sampler_name", "scheduler", "preset"])] = "nonsense"


def _no_number(prompt: Document, rng: random.Random) -> None:
    sampler = next(node for node in prompt.values() if node["class_type"] == "ZImageSampler")
    sampler["inputs"][rng.choice(["steps", "cfg", "shift"])] = "many"


def _no_output(prompt: Document, rng: random.Random) -> None:
    for number in [n for n, node in prompt.items() if node["class_type"] in OUTPUTS]:
        del prompt[number]


def _broken_text(prompt: Document, rng: random.Random) -> None:
    encode = next(node for node in prompt.values() if node["class_type"] == "ZImageTextEncode")
    encode["inputs"]["prompt"] = "红色的\ufffd球"


BREAKS: list[tuple[Callable[[Document, random.Random], None], str]] = [
    (_remove_link, "ZI-WF-INPUT-MISSING"),
    (_dangle, "ZI-WF-LINK"),
    (_wrong_slot, "ZI-WF-SLOT"),
    (_wrong_type, "ZI-WF-TYPE"),
    (_rename, "ZI-WF-NODE-UNKNOWN"),
    (_cycle, "ZI-WF-CYCLE"),
    (_out_of_range, "ZI-WF-RANGE"),
    (_bad_choice, "ZI-WF-CHOICE"),
    (_no_number, "ZI-WF-VALUE"),
    (_no_output, "ZI-WF-NO-OUTPUT"),
    (_broken_text, "ZI-WF-TEXT"),
]


@pytest.mark.parametrize(("damage", "code"), BREAKS, ids=[code for _, code in BREAKS])
def test_every_class_of_error_is_caught(damage, code: str, knowledge: Knowledge) -> None:
    """Thirty random variants of each template, every one told by its own code, in two languages."""
    for path in TEMPLATES:
        good = json.loads((path.parent / "api" / path.name).read_text(encoding="utf-8"))
        for seed in range(30):
            prompt = copy.deepcopy(good)
            damage(prompt, random.Random(seed))
            optional = code == "ZI-WF-INPUT-MISSING" and _lacks_optional(good, prompt, knowledge)
            assert optional or code in codes(prompt, knowledge), (path.stem, seed)


def _lacks_optional(good: Document, prompt: Document, knowledge: Knowledge) -> bool:
    """Whether what was removed may stay open, as the sampler's negative and a mask may."""
    for number, node in good.items():
        for name in node["inputs"].keys() - prompt[number]["inputs"].keys():
            kind = knowledge.get(node["class_type"])
            return kind is not None and not kind.inputs[name].required
    return False


# --- what the page saves -----------------------------------------------------------------------


def _node(
    number: object, kind: str, inputs: tuple = (), outputs: tuple = (), **more: Any
) -> Document:
    slots = [{"name": n, "type": t, "link": k} for n, t, k in inputs]
    sockets = [{"name": kind, "type": kind} for kind in outputs]
    return {"id": number, "type": kind, "inputs": slots, "outputs": sockets, **more}


def _picture(number: int) -> Document:
    return _node(number, "EmptyImage", outputs=("IMAGE",), widgets_values=[64, 32, 1, 7])


def _save(number: int, link: int) -> Document:
    return _node(number, "SaveImage", (("images", "IMAGE", link),), widgets_values=["x"])


def test_reroutes_bypass_and_notes(knowledge: Knowledge) -> None:
    """EmptyImage → Reroute → bypassed ImageInvert → SaveImage is a link from the first to the last;
    links may be objects."""
    workflow = {
        "nodes": [
            _picture(1),
            _node(2, "Reroute", (("", "*", 1),), ("IMAGE",)),
            _node(3, "ImageInvert", (("image", "IMAGE", 2),), ("IMAGE",), mode=4),
            _save(4, 3),
            _node(5, "MarkdownNote", widgets_values=["hello"]),
        ],
        "links": [
            [1, 1, 0, 2, 0, "IMAGE"],
            {"id": 2, "origin_id": 2, "origin_slot": 0, "target_id": 3, "target_slot": 0,
             "type": "IMAGE"},
            [3, 3, 0, 4, 0, "IMAGE"],
        ],
    }  # fmt: skip
    checked = check(workflow, knowledge)
    assert checked.ok, checked.findings
    assert set(checked.prompt) == {"1", "4"}
    assert checked.prompt["4"]["inputs"] == {"filename_prefix": "x", "images": ["1", 0]}
    assert checked.prompt["1"]["inputs"] == {"width": 64, "height": 32, "batch_size": 1, "color": 7}


def test_muted_source_leaves_the_input_open(knowledge: Knowledge) -> None:
    """A muted node is not sent; what needed it is told with its name, through a reroute too."""
    picture = {**_picture(1), "mode": 2, "title": "底图"}
    workflow = {
        "nodes": [picture, _node(2, "Reroute", (("", "*", 3),), ("IMAGE",)), _save(4, 5)],
        "links": [[3, 1, 0, 2, 0, "IMAGE"], [5, 2, 0, 4, 0, "IMAGE"]],
    }
    (found,) = check(workflow, knowledge).findings.errors
    assert (found.code, found.node, found.input) == ("ZI-WF-MUTED", "4", "images")
    assert "静音的节点“底图”" in found.chinese
    assert 'muted node "底图"' in found.english


def test_primitive_writes_into_the_field(knowledge: Knowledge) -> None:
    """The primitive's value goes where its link leads; widgets may also be saved by name."""
    picture = _node(1, "EmptyImage", (("width", "INT", 9),), ("IMAGE",),
                    widgets_values={"width": 64, "height": 32, "color": 7})  # fmt: skip
    primitive = _node(7, "PrimitiveNode", outputs=("INT",), widgets_values=[96, "fixed"])
    workflow = {
        "nodes": [picture, primitive, _save(4, 3)],
        "links": [[9, 7, 0, 1, 0, "INT"], [3, 1, 0, 4, 0, "IMAGE"]],
    }
    checked = check(workflow, knowledge)
    assert checked.ok, checked.findings
    assert checked.prompt["1"]["inputs"] == {"width": 96, "height": 32, "batch_size": 1, "color": 7}


def test_nested_subgraphs(knowledge: Knowledge) -> None:
    """Two levels: inner nodes get ids like 5:6:1, promoted values and outside links arrive."""
    inner = {
        "id": "inner", "inputs": [{"name": "width"}], "outputs": [{"name": "IMAGE"}],
        "nodes": [_node(1, "EmptyImage", (), ("IMAGE",), widgets_values=[64, 32, 1, 7])],
        "links": [[1, -10, 0, 1, 0, "INT"], [2, 1, 0, -20, 0, "IMAGE"]],
    }  # fmt: skip
    inner["nodes"][0]["inputs"] = [
        {"name": "width", "type": "INT", "link": 1, "widget": {"name": "width"}}
    ]
    outer = {
        "id": "outer", "inputs": [], "outputs": [{"name": "IMAGE"}],
        "nodes": [
            _node(6, "inner", outputs=("IMAGE",), widgets_values=[80],
                  properties={"proxyWidgets": [["-1", "width"]]}),
        ],
        "links": [[1, 6, 0, -20, 0, "IMAGE"]],
    }  # fmt: skip
    workflow = {
        "nodes": [_node(5, "outer", outputs=("IMAGE",)), _save(4, 3)],
        "links": [[3, 5, 0, 4, 0, "IMAGE"]],
        "definitions": {"subgraphs": [inner, outer]},
    }
    checked = check(workflow, knowledge)
    assert checked.ok, checked.findings
    assert checked.prompt["5:6:1"]["inputs"]["width"] == 80
    assert checked.prompt["4"]["inputs"]["images"] == ["5:6:1", 0]


def test_dynamic_prompts() -> None:
    """Comments go, the first of the choices stays, escaped braces are braces."""
    assert first_choice("a {red|{big|small} blue} ball // really\n/* no */b") == "a red ball \nb"
    assert first_choice(r"keep \{this\} and \| that") == "keep {this} and | that"
    assert first_choice("a {b|c") == "a b"
    assert first_choice("a } b | c") == "a } b | c"
    assert first_choice("/* a */// b\nc /* d // e") == "\nc /* d "
    assert first_choice(r"{a\|b|c} \n") == r"a|b \n"


def test_dynamic_prompts_that_never_close() -> None:
    """Every character is looked at once; these would take hours otherwise."""
    many = 300_000
    assert first_choice("{" * many + "a" + "|b}" * many) == "a"
    assert first_choice("{" * many) == ""
    assert first_choice("/* " * many) == "/* " * many


# --- hostile files -----------------------------------------------------------------------------


def _slots(inner: int, bypassed: int) -> bytes:
    """A subgraph and a bypassed node whose links name slots that there cannot be."""
    box = {"id": "box", "nodes": [{"id": 1, "type": "PreviewAny",
                                   "inputs": [{"name": "source", "type": "*", "link": 1}]}],
           "inputs": [{"name": "x", "type": "*", "linkIds": [1]}], "outputs": [],
           "links": [{"id": 1, "origin_id": -10, "origin_slot": inner, "target_id": 1,
                      "target_slot": 0, "type": "*"}]}  # fmt: skip
    nodes = [
        {"id": 1, "type": "VAELoader", "outputs": [{"type": "VAE"}]},
        {"id": 2, "type": "Foo", "mode": 4, "inputs": [{"name": "a", "type": "*", "link": 1}],
         "outputs": [{"type": "*"}]},
        {"id": 3, "type": "PreviewAny", "inputs": [{"name": "source", "type": "*", "link": 2}]},
        {"id": 4, "type": "box", "inputs": [{"name": "x", "type": "*", "link": None}]},
    ]  # fmt: skip
    links = [[1, 1, 0, 2, 0, "*"], [2, 2, bypassed, 3, 0, "*"]]
    graph = {"nodes": nodes, "links": links, "definitions": {"subgraphs": [box]}}
    return json.dumps(graph).encode()


def _crowded(types: int, links: int) -> bytes:
    """A bypassed node with inputs of many types, and as many links that ask for another one."""
    inputs = [{"name": f"i{n}", "type": f"T{n}", "link": None} for n in range(types)]
    outputs = [{"name": f"o{n}", "type": f"U{n}"} for n in range(links)]
    nodes = [{"id": 1, "type": "Foo", "mode": 4, "inputs": inputs, "outputs": outputs}]
    nodes += [{"id": 2 + n, "type": "Bar",
               "inputs": [{"name": "a", "type": f"U{n}", "link": n}]}
              for n in range(links)]  # fmt: skip
    rows = [[n, 1, n, 2 + n, 0, f"U{n}"] for n in range(links)]
    return json.dumps({"nodes": nodes, "links": rows}).encode()


HOSTILE: dict[str, bytes] = {
    **{f"slots {inner} {outer}": _slots(inner, outer)
       for inner in (-5, -1, 9, 10**30) for outer in (-7, -1, 99, 10**30)},
    "a crowded bypass": _crowded(10_000, 3000),
    "empty": b"",
    "not JSON": b"nodes: 5",
    "a picture": b"\x89PNG",
    "half a character": '{"1": "红'.encode()[:-1],
    "null": b"null",
    "number": b"3",
    "list": b"[1, 2]",
    "deep": b"[" * 200_000,
    "deep but whole": b'{"nodes": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "nodes of every kind": b'{"nodes": [1, null, "x", [], {}, {"id": {}}, {"id": 1, "type": 3}]}',
    "links of every kind": b'{"nodes": [], "links": [1, null, [], [1], {"id": 1}, [{},1,1,1,1]]}',
    "inputs of every kind": b'{"1": {"class_type": "KSampler", "inputs": []}, "2": 7, "3": {}}',
    "links to itself": b'{"1": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}}',
    "odd links": b'{"1": {"class_type": "SaveImage", "inputs": {"images": [{}, []]}}}',
    "no numbers": b'{"1": {"class_type": "EmptyImage", "inputs": {"width": 1e400, "color": NaN}}}',
    "numbers too long for int": b'{"1": ' + b"9" * 10_000 + b"}",
    "unhashable choice": b'{"1": {"class_type": "KSampler", "inputs": {"scheduler": {"a": []}}}}',
    "odd title": b'{"1": {"class_type": "Nope{0}", "_meta": {"title": {"x": 1}}, "inputs": {}}}',
}  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_file_is_a_finding(data: bytes, knowledge: Knowledge) -> None:
    """Never a traceback; every text can be printed."""
    checked = check_bytes(data, knowledge)
    assert not checked.ok
    for finding in checked.findings:
        assert finding.code.startswith("ZI-WF-")
        assert len(finding.chinese) < 1000
        finding.english.encode()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x89PNG\r\n", "ZI-WF-PICTURE"), (b"RIFF\0\n\r\0WEBPVP8 ", "ZI-WF-PICTURE"),
        (b"\xff\xd8\xff\xe0", "ZI-WF-PICTURE"), (b"[]", "ZI-WF-SHAPE"), (b"{}", "ZI-WF-EMPTY"),
        (b"RIFF", "ZI-WF-JSON"), (b'{"nodes": []}', "ZI-WF-EMPTY"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_finding(data: bytes, code: str, knowledge: Knowledge) -> None:
    """Pictures get a hint of their own; nothing is said about nodes where there are none."""
    assert [finding.code for finding in check_bytes(data, knowledge).findings] == [code]


def test_subgraphs_that_hold_themselves_or_multiply(knowledge: Knowledge) -> None:
    """Recursion and exponential growth end as findings, in bounded time and memory."""
    loop = {"id": "a", "nodes": [_node(1, "a"), _node(2, "a")], "links": []}
    workflow = {"nodes": [_node(1, "a")], "definitions": {"subgraphs": [loop]}}
    found = check(workflow, knowledge).findings
    assert (found[0].code, found[0].node) == ("ZI-WF-NESTED", "1:1")
    assert len({f.code for f in found}) == len(found)
    bombs = [
        {"id": f"b{n}", "nodes": [_node(i, f"b{n + 1}") for i in range(10)], "links": []}
        for n in range(12)
    ]
    workflow = {"nodes": [_node(1, "b0")], "definitions": {"subgraphs": bombs}}
    (found,) = [f for f in check(workflow, knowledge).findings if f.code == "ZI-WF-LARGE"]
    assert "超过 50000 个节点" in found.chinese
    assert "more than 50000 nodes" in found.english


def test_long_chains_and_wide_nodes(knowledge: Knowledge) -> None:
    """Ten thousand nodes in a row: no recursion limit is reached."""
    size = {"width": 8, "height": 8, "batch_size": 1, "color": 0}
    prompt: Document = {"0": {"class_type": "EmptyImage", "inputs": size}}
    for number in range(1, 10_000):
        prompt[str(number)] = {
            "class_type": "ImageInvert",
            "inputs": {"image": [str(number - 1), 0]},
        }
    prompt["end"] = {"class_type": "SaveImage",
                     "inputs": {"images": ["9999", 0], "filename_prefix": "x"}}  # fmt: skip
    assert check(prompt, knowledge).ok
    prompt["0"] = {"class_type": "ImageInvert", "inputs": {"image": ["9999", 0]}}
    assert codes(prompt, knowledge) == {"ZI-WF-CYCLE"}


def test_wide_subgraphs(knowledge: Knowledge) -> None:
    """Forty thousand nodes inside one subgraph, each fed from outside and seen from outside."""
    many = range(1, 40_001)
    inside = [_node(n, "EmptyImage", (), ("IMAGE",), widgets_values=[8, 8, 1, 0]) for n in many]
    for number, node in zip(many, inside, strict=True):
        node["inputs"] = [
            {"name": "width", "type": "INT", "link": number, "widget": {"name": "width"}}
        ]
    inner = {
        "id": "wide", "inputs": [{"name": f"w{n}"} for n in many],
        "outputs": [{"name": f"o{n}"} for n in many], "nodes": inside,
        "links": [[n, -10, n - 1, n, 0, "INT"] for n in many]
        + [[100_000 + n, n, 0, -20, n - 1, "IMAGE"] for n in many],
    }  # fmt: skip
    user = _node(1, "wide", outputs=("IMAGE",) * len(many), widgets_values=[16] * len(many),
                 properties={"proxyWidgets": [["-1", f"w{n}"] for n in many]})  # fmt: skip
    saves = [_save(200_000 + n, n) for n in many[:5000]]
    links = [[n, 1, n - 1, 200_000 + n, 0, "IMAGE"] for n in many[:5000]]
    workflow = {"nodes": [user, *saves], "links": links, "definitions": {"subgraphs": [inner]}}
    checked = check(workflow, knowledge)
    assert not checked.findings.errors
    assert checked.prompt["1:40000"]["inputs"]["width"] == 16
    assert checked.prompt["204999"]["inputs"]["images"] == ["1:4999", 0]


ODD_NODES: list[Any] = [
    {"input": {"required": [], "optional": 3, "hidden": 7}, "output": "IMAGE"},
    {"input": {"required": {"a": 3, "b": [], "c": [None], "d": [["x"], 7], "e": [{}, {}]}}},
    {"input": {"required": {"a": ["INT", {"min": "0", "max": None}], "b": ["FLOAT", {"max": []}]}}},
    {"input": {"required": {"a": ["COMBO", {"options": 3}], "b": ["COMBO", {"options": [[]]}]}}},
    {"input": None}, [], None, 3,
]  # fmt: skip


@pytest.mark.parametrize("entry", ODD_NODES, ids=range(len(ODD_NODES)))
def test_nodes_of_other_packs_may_say_anything(entry: object) -> None:
    """What ``/object_info`` says of a pack is no more trusted than a file."""
    knowledge = Knowledge({"Odd": entry})
    values: list[object] = ["text", 3, None, [], {}, ["1", 0], True, 1e300]
    for value in values:
        inputs = dict.fromkeys("abcde", value)
        check({"1": {"class_type": "Odd", "inputs": inputs}}, knowledge)
        node = {**_node(1, "Odd"), "widgets_values": [value] * 5}
        check({"nodes": [node], "links": []}, knowledge)
