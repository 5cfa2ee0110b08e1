"""One test for each rule that official templates, broken at random, do not reach."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from zimage_comfyui.page.templates import ENGINE, Templates
from zimage_comfyui.tests.fakes.workflows import check, official
from zimage_comfyui.validator import snapshot
from zimage_comfyui.validator.advice import our_classes
from zimage_comfyui.validator.check import check_bytes
from zimage_comfyui.validator.findings import Finding
from zimage_comfyui.validator.inputs import parse_input
from zimage_comfyui.validator.knowledge import Knowledge

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "workflows").glob("*.json"))
Document = dict[str, Any]
RED = "一只红色的气球"


@pytest.fixture(scope="module")
def stored() -> Knowledge:
    """The stored node classes."""
    return snapshot.load()


def _entry(kind: str, **inputs: Any) -> Document:
    return {"class_type": kind, "inputs": inputs}


def _find(document: object, known: Knowledge, code: str) -> list[Finding]:
    return [finding for finding in check(document, known).findings if finding.code == code]


# --- Chinese ---------------------------------------------------------------------------------

CLIP_L = _entry("CheckpointLoaderSimple", ckpt_name="v1-5-pruned-emaonly-fp16.safetensors")
SDXL = _entry("CLIPLoader", clip_name="clip_g.safetensors", type="sd3", device="default")
FLUX = _entry("DualCLIPLoader", clip_name1="clip_l.safetensors", clip_name2="t5xxl.safetensors",
              type="flux")  # fmt: skip
QWEN = _entry("CLIPLoader", clip_name="qwen_3_4b.safetensors", type="stable_diffusion")
WAN = _entry("CLIPLoader", clip_name="umt5_xxl_fp8_e4m3fn_scaled.safetensors", type="wan")
ACE = _entry("CheckpointLoaderSimple", ckpt_name="ace_step_v1_3.5b.safetensors")


def _encoded(loader: Document, text: object, **more: Document) -> Document:
    slot = 1 if loader["class_type"].startswith("Checkpoint") else 0
    return {
        "1": loader,
        "2": _entry("CLIPSetLastLayer", clip=["1", slot], stop_at_clip_layer=-2),
        "3": _entry("CLIPTextEncode", clip=["2", 0], text=text),
        **more,
    }


@pytest.mark.parametrize("loader", [CLIP_L, SDXL, FLUX], ids=["checkpoint", "sd3", "flux"])
def test_chinese_for_an_encoder_that_cannot_read_it(loader: Document, stored: Knowledge) -> None:
    """Told at the encoder, through nodes in between; English is fine."""
    (found,) = _find(_encoded(loader, RED), stored, "ZI-WF-CHINESE")
    assert (found.node, found.input, found.severity) == ("3", "text", "warning")
    assert loader["class_type"] in found.english
    assert _find(_encoded(loader, "a red balloon"), stored, "ZI-WF-CHINESE") == []


@pytest.mark.parametrize("loader", [QWEN, WAN, ACE], ids=["qwen", "umt5", "ace"])
def test_chinese_for_an_encoder_that_reads_it(loader: Document, stored: Knowledge) -> None:
    """By type or by the file's name."""
    assert _find(_encoded(loader, RED), stored, "ZI-WF-CHINESE") == []


@pytest.mark.parametrize("kind", [None, [], {"a": 1}, ["1", 0]])
def test_chinese_for_an_encoder_of_no_type(kind: object, stored: Knowledge) -> None:
    """A type that is no word is told as such, and nothing is said of Chinese."""
    loader = _entry("CLIPLoader", clip_name="x.safetensors", type=kind)
    assert _find(_encoded(loader, RED), stored, "ZI-WF-CHINESE") == []


def test_chinese_that_comes_from_a_text_node(stored: Knowledge) -> None:
    """The text may be written elsewhere; a ring of text nodes ends."""
    text = _entry("PrimitiveStringMultiline", value=RED)
    joined = _entry("StringConcatenate", string_a=["5", 0], string_b=["4", 0], delimiter="")
    prompt = _encoded(CLIP_L, ["4", 0], **{"5": text, "4": joined})
    assert [f.node for f in _find(prompt, stored, "ZI-WF-CHINESE")] == ["3"]


@pytest.mark.parametrize(("text", "told"), [
    (f"[EN] {RED}", True), (f"【en】{RED}", True), (f"[ZH] {RED}", False), (RED, False),
    ("[EN] a red balloon", False),
])  # fmt: skip
def test_a_tag_that_says_english_over_chinese(text: str, told: bool, stored: Knowledge) -> None:
    """In our own encoder, whatever feeds it."""
    prompt = {"1": _entry("ZImageTextEncode", prompt=text, negative_prompt="", clip=["9", 0])}
    found = _find(prompt, stored, "ZI-WF-TAG")
    assert [(f.node, f.input, f.severity) for f in found] == [("1", "prompt", "warning")] * told


# --- downloads and other packs ---------------------------------------------------------------


def _needing(name: str, url: object, **more: Any) -> Document:
    models = [{"name": "z.safetensors", "url": url, "directory": "vae"}]
    node = {"id": 1, "type": "VAELoader", "outputs": [{"type": "VAE"}], "inputs": [],
            "widgets_values": [name], "properties": {"models": models}, **more}  # fmt: skip
    return {"nodes": [node], "links": []}


def _listing(*names: str) -> Knowledge:
    required = {"vae_name": [list(names), {}]}
    return Knowledge({"VAELoader": {"input": {"required": required}, "output": ["VAE"]}})


def test_models_to_download_are_told_with_their_address(stored: Knowledge) -> None:
    """A warning with the whole address where the host's files are not known, else part of what is
    said of the file; nothing if the host has it or it is not chosen."""
    url = "https://example.org/" + "a/" * 90 + "z.safetensors"
    other = _listing("other.safetensors")
    for known, code in ((stored, "ZI-WF-DOWNLOAD"), (other, "ZI-WF-MODEL")):
        (found,) = _find(_needing("z.safetensors", url), known, code)
        assert (found.node, found.severity) == ("1", "warning" if known is stored else "error")
        assert url in found.english
        assert url in found.chinese
    assert not _find(_needing("z.safetensors", url), other, "ZI-WF-DOWNLOAD")
    assert not _find(_needing("z.safetensors", url), _listing("z.safetensors"), "ZI-WF-DOWNLOAD")
    assert not _find(_needing("other.safetensors", url), stored, "ZI-WF-DOWNLOAD")
    assert not _find(_needing("z.safetensors", url, mode=2), stored, "ZI-WF-DOWNLOAD")
    for odd in ("javascript:alert(1)", None, 7):
        assert not _find(_needing("z.safetensors", odd), stored, "ZI-WF-DOWNLOAD")


def test_nodes_of_other_packs_are_errors_when_asked_for() -> None:
    """ComfyUI's own and ours are not, wherever our folder lies."""
    entry = {"input": {"required": {}}, "output": [], "output_node": True}
    known = Knowledge({
        "Core": {**entry, "python_module": "comfy_extras.nodes_x"},
        "Cloud": {**entry, "python_module": "comfy_api_nodes.nodes_y"},
        "ZImageSave": {**entry, "python_module": "custom_nodes.my-folder"},
        "Foreign": {**entry, "python_module": "custom_nodes.somebody"},
        "NobodyKnows": entry,
    })  # fmt: skip
    data = json.dumps({name: _entry(name) for name in known.node_classes}).encode()
    assert check_bytes(data, known).ok
    found = check_bytes(data, known, core_only=True).findings.errors
    assert [(f.node, f.code) for f in found] == [
        ("Foreign", "ZI-WF-FOREIGN"), ("NobodyKnows", "ZI-WF-FOREIGN")
    ]  # fmt: skip


def test_our_nodes_are_those_that_the_pack_lists() -> None:
    """The stored node classes know which are ours."""
    source = (ROOT / "extension.py").read_text(encoding="utf-8")
    assert {name for name in our_classes() if name.startswith("ZImage")} <= set(source.split('"'))
    assert "ZImageLoader" in our_classes()
    assert "KSampler" not in our_classes()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_bundled_templates_need_no_other_pack_and_no_download(
    path: Path, stored: Knowledge
) -> None:
    """Only ComfyUI's nodes and ours, and not one finding."""
    found = check_bytes(path.read_bytes(), stored, core_only=True, engine=ENGINE).findings
    assert list(found) == []


def test_a_bundled_template_with_a_node_of_another_pack_is_left_out(
    tmp_path: Path, stored: Knowledge
) -> None:
    """It would not run where that pack is missing, though it would here."""
    entry = {"input": {"required": {}}, "output": [], "output_node": True}
    known = Knowledge({"Foreign": {**entry, "python_module": "custom_nodes.somebody"}})
    known.node_classes |= stored.node_classes
    text = (ROOT / "workflows" / "古风插画.json").read_text(encoding="utf-8")
    for name, kind in (("good", "ZImageSave"), ("foreign", "Foreign")):
        document = json.loads(text)
        document["nodes"].append({"id": 900, "type": kind, "mode": 2 * (kind != "Foreign")})
        (tmp_path / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    assert Templates(tmp_path, lambda: known).broken() == {"foreign"}


# --- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "severity"), [
    ("missing.png", "error"), ("folder/there.png", "warning"), ("there.png [output]", "warning"),
    (7, "warning"),
])  # fmt: skip
def test_pictures_that_are_not_listed(value: object, severity: str) -> None:
    """The list has the input folder's own files only; others may exist."""
    spec = [["here.png"], {"image_upload": True}]
    entry = {"input": {"required": {"image": spec}}, "output": [], "output_node": True}
    (found,) = _find({"1": _entry("Load", image=value)}, Knowledge({"Load": entry}), "ZI-WF-FILE")
    assert found.severity == severity


@pytest.mark.parametrize(("widget_type", "expected"), [("STRING", ""), ("INT", 0)])
def test_field_of_a_union_starts_with_the_default_of_its_widget_type(
    widget_type: str, expected: object
) -> None:
    """The option ``widgetType`` decides which field a union of types has, and its default."""
    entry = parse_input("x", ["STRING,INT", {"widgetType": widget_type}], required=True)
    assert entry is not None
    assert entry.is_widget
    assert entry.default() == expected


# --- types of newer hosts ------------------------------------------------------------------------

DYNAMIC = Knowledge({
    "Image": {"input": {"required": {}}, "output": ["IMAGE"]},
    "Mask": {"input": {"required": {}}, "output": ["MASK"]},
    "Any": {"input": {"required": {}}, "output": ["COMFY_MATCHTYPE_V3"]},
    "Batch": {"output_node": True, "output": [], "input": {"required": {"images": [
        "COMFY_AUTOGROW_V3",
        {"template": {"input": {"required": {"image": ["IMAGE", {}]}}, "prefix": "image",
                      "min": 2, "max": 9}},
    ]}}},
    "Resize": {"output_node": True, "output": [], "input": {"required": {
        "any": ["COMFY_MATCHTYPE_V3", {"template": {"template_id": "a",
                                                    "allowed_types": "IMAGE,MASK"}}],
        "how": ["COMFY_DYNAMICCOMBO_V3", {"options": [
            {"key": "by side", "inputs": {"required": {"side": ["INT", {"min": 1, "max": 64}]}}},
            {"key": "to mask", "inputs": {"required": {"mask": ["MASK", {}]}}},
        ]}],
        "new": ["COMFY_SOMETHING_V3", {}],
    }}},
})  # fmt: skip
SOURCES = {"i": _entry("Image"), "m": _entry("Mask"), "a": _entry("Any"), "l": _entry("Later")}


@pytest.mark.parametrize(("entry", "expected"), [
    (_entry("Batch", **{"images.image0": ["i", 0], "images.image1": ["a", 0]}), []),
    (_entry("Batch", **{"images.image0": ["i", 0]}), [("INPUT-MISSING", "images.image1")]),
    (_entry("Batch", **{"images.image0": ["i", 0], "images.image1": ["i", 0],
                        "images.image2": ["m", 0]}), [("TYPE", "images.image2")]),
    (_entry("Resize", any=["m", 0], how="by side", **{"how.side": 8}), []),
    (_entry("Resize", any=["a", 0], how="by side", **{"how.side": 65}), [("RANGE", "how.side")]),
    (_entry("Resize", any=8, how="by side"), [("INPUT-MISSING", "how.side")]),
    (_entry("Resize", any=["i", 0], how="to mask", **{"how.mask": ["i", 0]}),
     [("TYPE", "how.mask")]),
    (_entry("Resize", any=["i", 0], how="nonsense"), [("CHOICE", "how")]),
    (_entry("Resize", how="to mask", **{"how.mask": ["m", 0]}), [("INPUT-MISSING", "any")]),
])  # fmt: skip
def test_dynamic_inputs(entry: Document, expected: list[tuple[str, str]]) -> None:
    """Lists that grow, choices with inputs of their own, matched types; unknown ones are let be."""
    prompt = {**{k: v for k, v in SOURCES.items() if k != "l"}, "1": entry}
    errors = check(prompt, DYNAMIC).findings.errors
    assert [(f.code.removeprefix("ZI-WF-"), f.input) for f in errors] == expected


CHOICE = Knowledge({"Resize": {"output_node": True, "output": [], "input": {"required": {
    "how": ["COMFY_DYNAMICCOMBO_V3", {"options": [
        {"key": "by side", "inputs": {"required": {"side": ["INT", {"default": 8}]}}},
        {"key": "by sides", "inputs": {"required": {"width": ["INT", {}], "height": ["INT", {}],
                                                    "mask": ["MASK", {}]}}},
    ]}],
    "seed": ["INT", {"control_after_generate": True}],
    "method": [["area", "nearest"], {}],
}}}})  # fmt: skip


@pytest.mark.parametrize(("values", "expected"), [
    (["by sides", 100, 200, 5, "fixed", "nearest"],
     {"how": "by sides", "how.width": 100, "how.height": 200, "seed": 5, "method": "nearest"}),
    (["by side", 100, 5, "fixed", "nearest"],
     {"how": "by side", "how.side": 100, "seed": 5, "method": "nearest"}),
    ([], {"how": "by side", "how.side": 8, "seed": 0, "method": "area"}),
    ({"how": "by sides", "how.height": 7, "seed": 5},
     {"how": "by sides", "how.width": 0, "how.height": 7, "seed": 5, "method": "area"}),
])  # fmt: skip
def test_fields_of_a_choice_follow_it(values: Any, expected: dict[str, Any]) -> None:
    """As the page of newer hosts inserts them; each entry of a choice has fields of its own."""
    node = {"id": 1, "type": "Resize", "widgets_values": values}
    checked = check({"nodes": [node], "links": []}, CHOICE)
    assert checked.prompt is not None
    assert checked.prompt["1"]["inputs"] == expected


def test_dynamic_inputs_that_ask_for_too_much() -> None:
    """A description cannot make a check endless."""
    inner: list[Any] = ["INT", {}]
    for _ in range(100):
        inner = ["COMFY_AUTOGROW_V3", {"template": {"input": {"required": {"x": inner}},
                                                    "prefix": "p", "min": 10**9}}]  # fmt: skip
    known = Knowledge({"Odd": {"input": {"required": {"x": inner}}, "output": []}})
    assert not check({"1": _entry("Odd")}, known).ok


@pytest.mark.parametrize(("given", "accepted", "fine"), [
    ("INT", "INT,FLOAT", True), ("INT,FLOAT", "FLOAT", True), ("INT", "FLOAT, MASK", False),
    ("*", "IMAGE", True), ("IMAGE", "*", True),
])  # fmt: skip
def test_unions_and_any(given: str, accepted: str, fine: bool) -> None:
    """One type in common is enough."""
    known = Knowledge({
        "From": {"input": {"required": {}}, "output": [given]},
        "To": {"input": {"required": {"x": [accepted, {}]}}, "output": [], "output_node": True},
    })  # fmt: skip
    assert check({"1": _entry("From"), "2": _entry("To", x=["1", 0])}, known).ok is fine


# --- anything at all ---------------------------------------------------------------------------

ODD: list[Any] = [
    None, True, -1, 10**4000, 1e308, "", "\ud800", "[EN] 红", [], {}, [[]], ["1", 0], [{}, 0],
    ["1", 10**4000], {"__value__": [[]]}, {"type": {}}, "x" * 5000,
]  # fmt: skip


def test_odd_values_anywhere_are_findings_at_most(stored: Knowledge) -> None:
    """Any value in any place of a workflow or a prompt: never a traceback."""
    dice = random.Random(3)
    for path in [*official()[::4], *TEMPLATES]:
        workflow = json.loads(path.read_bytes())
        for document in (workflow, check(workflow, stored).prompt):
            odd = copy.deepcopy(document)
            for _ in range(12):
                _spoil(odd, dice)
            check(odd, stored)
    for kind in stored.node_classes.values():
        for value in ODD:
            check({"1": _entry(kind.name, **dict.fromkeys(kind.inputs, value))}, stored)


def _spoil(part: Any, dice: random.Random) -> None:
    """Go down by chance, and put something odd there."""
    while True:
        keys = list(part) if isinstance(part, dict) else list(range(len(part)))
        if not keys:
            return
        key = dice.choice(keys)
        if dice.random() < 0.3 or not isinstance(part[key], (dict, list)):
            part[key] = copy.deepcopy(dice.choice(ODD))
            return
        part = part[key]
