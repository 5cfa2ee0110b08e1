"""Names that the host does not know, what was probably meant, and where missing files are."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from zimage_comfyui.page.live import LiveKnowledge
from zimage_comfyui.tests.fakes.workflows import check, official
from zimage_comfyui.validator import snapshot
from zimage_comfyui.validator.findings import Finding
from zimage_comfyui.validator.knowledge import Knowledge
from zimage_comfyui.validator.suggestions import BUDGET, Suggestions

Document = dict[str, Any]


@pytest.fixture(scope="module")
def stored() -> Knowledge:
    """The stored node classes."""
    return snapshot.load()


def _entry(kind: str, **inputs: Any) -> Document:
    return {"class_type": kind, "inputs": inputs}


def _of(document: object, known: Knowledge, code: str) -> list[Finding]:
    return [finding for finding in check(document, known).findings if finding.code == code]


def _one(name: str, known: Knowledge, **inputs: Any) -> list[Finding]:
    return _of({"1": _entry(name, **inputs)}, known, "ZI-WF-INPUT-UNKNOWN")


# --- inputs ------------------------------------------------------------------------------------


def test_a_misspelt_input_is_told_with_the_one_that_was_meant(stored: Knowledge) -> None:
    """A warning, since the host takes it; ``steps`` itself is missing beside it."""
    (found,) = _one("KSampler", stored, stepz=4)
    assert (found.severity, found.node, found.input) == ("warning", "1", "stepz")
    assert found.chinese_help.endswith("是否想写“steps”？")
    assert found.english.endswith('Did you mean "steps"?')


def test_an_input_that_nobody_knows_is_told_without_a_guess(stored: Knowledge) -> None:
    """Neither far names nor inputs that are given already are guessed."""
    for name, others in (("wobble", {}), ("stepz", {"steps": 4})):
        (found,) = _one("KSampler", stored, **{name: 4}, **others)
        assert "Did you mean" not in found.english


@pytest.mark.parametrize(("name", "value"), [
    ("unique_id", "7"), ("extra_pnginfo", {}), ("upload", "image"), ("audioUI", ""), ("clear", ""),
    ("refresh", None), ("a link to nowhere", ["no", 0]),
])  # fmt: skip
def test_what_hosts_and_pages_put_in_is_no_unknown_input(
    name: str, value: object, stored: Knowledge
) -> None:
    """Hidden inputs, buttons and players; what leads nowhere is told as such."""
    assert _one("LoadImage", stored, **{name: value}) == []


def test_a_field_of_the_page_is_not_taken_for_a_misspelt_input(stored: Knowledge) -> None:
    """A player beside an open input of nearly its name, and the picture of a scene."""
    assert _one("SaveAudio", stored, audioUI="") == []
    assert _one("Preview3D", stored, image="scene.png") == []
    assert len(_one("KSampler", stored, image="scene.png")) == 1


PACK = Knowledge({
    "Hidden": {"input": {"hidden": {"me": "UNIQUE_ID"}}, "python_module": "nodes"},
    "Any": {"input": {"required": {}, "optional": {}}, "python_module": "custom_nodes.x"},
    "Some": {"input": {"optional": {"image1": ["IMAGE"], "strength": ["FLOAT"]}},
             "python_module": "custom_nodes.x"},
    "Grows": {"python_module": "comfy_extras.nodes_x", "input": {"required": {
        "images": ["COMFY_AUTOGROW_V3", {"template": {"names": ["a"], "min": 0, "input": {
            "required": {"image": ["IMAGE", {}]}}}}],
        "how": ["COMFY_DYNAMICCOMBO_V3", {"options": [
            {"key": "side", "inputs": {"required": {"length": ["INT", {}]}}},
            {"key": "area", "inputs": {"required": {"pixels": ["INT", {}]}}}]}],
        "new": ["COMFY_SOMETHING_V3", {}],
    }}},
})  # fmt: skip


@pytest.mark.parametrize(("kind", "inputs", "told"), [
    ("Hidden", {"me": "1"}, {}),
    ("Hidden", {"you": "1"}, {"you": ""}),
    ("Any", {"lora_1": {"on": True}, "anything": 4}, {}),
    ("Some", {"image2": ["9", 0], "image_3": 1, "whatever": 4}, {}),
    ("Some", {"strengthh": 0.5}, {"strengthh": "strength"}),
    ("Grows", {"images.b": 1, "image1_$images_ag$": 1, "new.part": 2}, {}),
    ("Grows", {"how": "side", "how.pixels": 9}, {}),
    ("Grows", {"how": "side", "how.lengt_h": 9}, {"how.lengt_h": "how.length"}),
    ("Grows", {"other": 9}, {"other": ""}),
])  # fmt: skip
def test_nodes_that_take_more_than_they_say(
    kind: str, inputs: Document, told: dict[str, str]
) -> None:
    """Nothing false of packs whose nodes take any input, nor of inputs that grow."""
    found = _one(kind, PACK, **inputs)
    assert {f.input: f.english.partition('Did you mean "')[2][:-2] for f in found} == told


def test_no_official_template_has_an_unknown_input(stored: Knowledge) -> None:
    """What the page saves becomes inputs that the host has."""
    for path in official():
        assert _of(json.loads(path.read_bytes()), stored, "ZI-WF-INPUT-UNKNOWN") == [], path.stem


# --- classes and choices -------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "meant"), [
    ("KSamplr", "KSampler"), ("ksampler", "KSampler"), ("ZImageLoadr", "ZImageLoader"),
    ("Nobody", ""),
])  # fmt: skip
def test_a_misspelt_class(name: str, meant: str, stored: Knowledge) -> None:
    """The nearest class; none if none is near."""
    (found,) = _of({"1": _entry(name)}, stored, "ZI-WF-NODE-UNKNOWN")
    assert found.english.partition('Did you mean "')[2].rstrip('"?') == meant


def test_a_misspelt_class_of_a_running_host() -> None:
    """Classes that nobody has looked at yet count, too."""
    known = LiveKnowledge({"Blur": object(), "Sharpen": object()})
    (found,) = _of({"1": _entry("Sharpn")}, known, "ZI-WF-NODE-UNKNOWN")
    assert "是否想写“Sharpen”？" in found.chinese


def test_a_misspelt_choice(stored: Knowledge) -> None:
    """Words by a guess, and case does not matter; files only if they are very near."""
    for value in ("eulr", "EULER", "Euler"):
        (found,) = [f for f in _of({"1": _entry("KSampler", sampler_name=value)}, stored,
                                   "ZI-WF-CHOICE")]  # fmt: skip
        assert found.chinese_help == "请选择其中之一。是否想写“euler”？"
    (found,) = _of({"1": _entry("KSampler", sampler_name=7)}, stored, "ZI-WF-CHOICE")
    assert "Did you mean" not in found.english


def _listing(*names: str) -> Knowledge:
    required = {"vae_name": [list(names), {}]}
    return Knowledge({"VAELoader": {"input": {"required": required}, "output": ["VAE"]}})


def test_a_misspelt_file() -> None:
    """One that is nearly the same is asked for, one that only looks alike is not."""
    known = _listing("wan_2.1_vae.safetensors", "ae.safetensors")
    for name, meant in (("wan2.1_vae.safetensors", True), ("flux_vae.safetensors", False)):
        (found,) = _of({"1": _entry("VAELoader", vae_name=name)}, known, "ZI-WF-MODEL")
        asked = found.english.partition('Did you mean "')[2]
        assert asked == ('wan_2.1_vae.safetensors"?' if meant else "")


def test_guesses_cost_little() -> None:
    """However many names a file asks for, and however long they are."""
    similar, names = Suggestions(), [f"a class with a name {n}" for n in range(5000)]
    began = time.process_time()
    asked = [similar.find("", f"a glass with a name {n}", names) for n in range(1000)]
    assert time.process_time() - began < 5
    assert sum(map(bool, asked)) == BUDGET // len(names)
    assert similar.find("other", "x" * 10**6, ["x" * 10**6 + "y"]) == ""


# --- files ---------------------------------------------------------------------------------------


def test_a_missing_model_is_told_once_with_its_address() -> None:
    """Not a second time as something to download."""
    url = "https://example.org/z.safetensors"
    models = [{"name": "z.safetensors", "url": url, "directory": "vae"}]
    node = {"id": 1, "type": "VAELoader", "widgets_values": ["z.safetensors"],
            "properties": {"models": models}}  # fmt: skip
    known = _listing("other.safetensors")
    found = [f for f in check({"nodes": [node]}, known).findings if "z.safetensors" in f.english]
    assert [f.code for f in found] == ["ZI-WF-MODEL"]
    assert found[0].chinese_help.endswith(f"可从此处下载：{url}")
    assert found[0].english_help.endswith(f"It can be downloaded from {url}")


# --- what to do, and shapes ---------------------------------------------------------------------


def test_what_to_do_ends_every_text(stored: Knowledge) -> None:
    """In both languages, as a part of the text."""
    prompt = {
        "1": _entry("KSampler", steps="x", seed=-1, model=["9", 0], cfgg=3),
        "2": _entry("No"),
    }
    found = check(prompt, stored).findings
    assert len(found) > 5
    for finding in found:
        assert finding.chinese.endswith(finding.chinese_help)
        assert finding.english.endswith(finding.english_help)
    (link,) = [f for f in found if f.code == "ZI-WF-LINK"]
    assert (link.chinese_help, link.english_help) == ("请重新连接。", "Connect it again.")


@pytest.mark.parametrize(("text", "zh", "en"), [
    ("[1, 2]", "最外层是有 2 项的数组 [1, 2]，应为一个对象", "top level is an array of 2, [1, 2]"),
    ("null", "最外层是空值 null", "its top level is null"),
    ("7", "最外层是数字 7", "the number 7"),
    ("true", "最外层是布尔值 true", "its top level is true"),
    ('"x"', '最外层是字符串 "x"', 'the string "x"'),
    ('{"7": [1]}', '["7"] 是有 1 项的数组 [1]，应为含有 class_type', '["7"] is an array of 1, [1]'),
    ('{"nodes": [3]}', "nodes[0] 是数字 3，应为含有 id 和 type", "nodes[0] is the number 3"),
    ('{"nodes": [], "links": ["x"]}', 'links[0] 是字符串 "x"，应为 [编号', "links[0] is the str"),
])  # fmt: skip
def test_what_stands_where_a_workflow_has_something_else(
    text: str, zh: str, en: str, stored: Knowledge
) -> None:
    """What was found and what was expected."""
    from zimage_comfyui.validator.check import check_bytes

    found = [f for f in check_bytes(text.encode(), stored).findings if f.code == "ZI-WF-SHAPE"]
    assert len(found) == 1
    assert zh in found[0].chinese.replace("应为[", "应为 [")
    assert en in found[0].english
    assert "prompt" not in found[0].chinese


# --- types that have to match -------------------------------------------------------------------

ALLOWED = {"template": {"template_id": "t", "allowed_types": "IMAGE,MASK"}}
MATCHED = Knowledge({
    "Image": {"input": {"required": {}}, "output": ["IMAGE"]},
    "Mask": {"input": {"required": {}}, "output": ["MASK"]},
    "Model": {"input": {"required": {}}, "output": ["MODEL"]},
    "Switch": {"output": ["COMFY_MATCHTYPE_V3"], "output_node": True, "input": {"required": {
        "yes": ["COMFY_MATCHTYPE_V3", ALLOWED], "no": ["COMFY_MATCHTYPE_V3", ALLOWED]}}},
})  # fmt: skip


@pytest.mark.parametrize(("yes", "no", "told"), [
    ("Image", "Image", {}), ("Switch", "Mask", {}),
    ("Image", "Mask", {"no": "IMAGE (yes)"}), ("Model", "Mask", {"yes": "IMAGE, MASK"}),
])  # fmt: skip
def test_inputs_that_take_the_same_type(yes: str, no: str, told: dict[str, str]) -> None:
    """Warnings: the page sees to it, no host does."""
    prompt = {"y": _entry(yes), "n": _entry(no),
              "1": _entry("Switch", yes=["y", 0], no=["n", 0])}  # fmt: skip
    found = [f for f in check(prompt, MATCHED).findings if f.code == "ZI-WF-TYPE" and f.node == "1"]
    assert {f.input for f in found} == set(told)
    assert all(f.severity == "warning" and f"expected {told[f.input]}." in f.english for f in found)
