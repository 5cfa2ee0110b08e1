"""Bodies of requests: what the host could not take apart is refused with a code."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.http_body import DEEPEST, parse
from zimage_comfyui.patches.base.refusals import prefers_chinese
from zimage_comfyui.patches.requests.prompt_checks import Bounds, check_prompt, clamp

GRAPH = {
    "1": {"class_type": "KSampler", "inputs": {"steps": 8, "text": "猫 a cat 😀", "x": ["2", 0]}}
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
FIELDS = ("prompt", "number", "prompt_id", "client_id", "extra_data", "partial_execution_targets")


def attempt(step: Callable[[], Any]) -> Any:
    """What a step gives, or the code of its error."""
    try:
        return step()
    except ZImageError as error:
        return error.code


@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    """An object or a coded error, never anything else."""
    found = attempt(lambda: parse(data))
    assert isinstance(found, dict) or found == "ZI-REQUEST"


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES))
def test_any_fields(body: dict[str, Any]) -> None:
    """Fields of any type are taken or refused with a code."""
    found = attempt(lambda: check_prompt(body))
    assert found in {None, "ZI-REQUEST", "ZI-REQUEST-TEXT"}
    if found is None:
        assert isinstance(clamp(body.get("prompt", {}), Bounds()), list)


def test_what_clients_send_is_taken() -> None:
    """With and without the optional fields, and as deep as a workflow may be."""
    for more in (
        {}, {"number": -1}, {"number": 2.5, "front": True}, {"prompt_id": "4e1f", "client_id": "x"},
        {"extra_data": {"extra_pnginfo": {"workflow": {}}}}, {"partial_execution_targets": ["1"]},
        {"partial_execution_targets": None},
    ):  # fmt: skip
        body = parse(json.dumps({"prompt": GRAPH, **more}).encode())
        check_prompt(body)
        assert clamp(body["prompt"], Bounds()) == []
        assert body["prompt"] == GRAPH


def test_nesting_is_bounded() -> None:
    """What is deeper would exhaust the stack of whoever copies it."""
    for depth, taken in ((DEEPEST - 2, True), (DEEPEST + 1, False), (900, False), (10**5, False)):
        data = b'{"a":' + b"[" * depth + b"]" * depth + b"}"
        if taken:
            parse(data)
        else:
            with pytest.raises(ZImageError, match="ZI-REQUEST"):
                parse(data)


@pytest.mark.parametrize(
    "more",
    [
        {"prompt": []}, {"prompt": {"1": 5}}, {"prompt": {"1": {"inputs": 5}}},
        {"prompt": {"1": {"class_type": ["A"]}}}, {"number": True}, {"number": 1e300},
        {"prompt_id": ""}, {"prompt_id": "a\0"}, {"prompt_id": "x" * 257}, {"client_id": 5},
        {"extra_data": 5}, {"partial_execution_targets": [1]},
    ],
)  # fmt: skip
def test_wrong_types_are_refused(more: dict[str, Any]) -> None:
    """With the field and what it should be."""
    with pytest.raises(ZImageError, match="ZI-REQUEST"):
        check_prompt({"prompt": GRAPH, **more})


def test_texts_follow_the_rules_for_prompts() -> None:
    """Node and input are named, and the rule's own code."""
    graph = {"7": {"class_type": "A", "inputs": {"text": "好\ufffd"}}}
    with pytest.raises(ZImageError, match=r"text of node 7 .*ZI-TEXT-REPL"):
        check_prompt({"prompt": graph})


def test_long_texts_are_no_matter_of_the_fuse() -> None:
    """Other packs take pictures in base64."""
    for text in ("A" * 10**6, "图" * 200_000):
        check_prompt({"prompt": {"1": {"class_type": "A", "inputs": {"text": text}}}})


def source(**inputs: object) -> dict[str, Any]:
    """A prompt of one node that makes pictures."""
    return {
        "1": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, **inputs}}
    }


def test_large_sides_are_clamped() -> None:
    """To 4096, both sides, and what was changed is told."""
    prompt = source(width=9000, height=4097)
    assert clamp(prompt, Bounds()) == [
        {"node": "1", "input": "width", "from": 9000, "to": 4096},
        {"node": "1", "input": "height", "from": 4097, "to": 4096},
    ]
    assert prompt["1"]["inputs"] == {"width": 4096, "height": 4096}


def test_nodes_that_work_on_pictures_are_not_clamped() -> None:
    """An upscaler has width and height too, and a picture linked to it."""
    prompt = source(width=9000, image=["2", 0])
    assert clamp(prompt, Bounds()) == []
    assert prompt["1"]["inputs"]["width"] == 9000


def test_own_nodes_judge_themselves() -> None:
    """Apart from the clamp, and that only where width and height count."""
    prompt = source(width=9000, batch_size=10**6, steps=10**6)
    prompt["1"]["class_type"] = "ZImageLatent"
    prompt["2"] = {
        "class_type": "ZImageLatent",
        "inputs": {"size": "x", "width": 9000, "height": 1},
    }
    changed = clamp(prompt, Bounds())
    assert [entry["node"] for entry in changed] == ["1"]


@pytest.mark.parametrize(
    "inputs",
    [{"batch_size": 65}, {"steps": 201}, {"width": 4096, "height": 4096, "batch_size": 17}],
)
def test_too_much_work_is_refused(inputs: dict[str, int]) -> None:
    """Batches and steps have no smaller meaning, so they are not clamped."""
    with pytest.raises(ZImageError, match="ZI-REQUEST-WORK"):
        clamp(source(**inputs), Bounds())
    for name in inputs:
        inputs[name] -= 1
    if "width" in inputs:
        inputs |= {"width": 4096, "height": 4096}
    assert clamp(source(**inputs), Bounds()) == []


def sampler(link: Any, steps: Any = 200) -> dict[str, Any]:
    """A node that samples what a link gives."""
    return {"class_type": "KSampler", "inputs": {"latent_image": link, "steps": steps}}


LARGEST = {"width": 2048, "height": 2048, "batch_size": 64}


def test_the_work_of_all_samplers_is_bounded(pack_dir: Path) -> None:
    """One at every other limit passes, a second does not; the node that has most is named."""
    prompt = {**source(**LARGEST), "2": sampler(["1", 0])}
    assert clamp(prompt, Bounds()) == []
    prompt |= {"3": sampler(["2", 0], steps=40), "4": sampler(["5", 0])}
    with pytest.raises(ZImageError, match=r"steps × width .* = 61640 of node 2 .* 60000"):
        clamp(prompt, Bounds())
    assert clamp(prompt, Bounds(work=61_640)) == []
    for file in sorted((pack_dir / "workflows" / "api").glob("*.json")):
        template = json.loads(file.read_text(encoding="utf-8"))
        assert clamp(template, Bounds(work=100)) == []


@pytest.mark.parametrize(
    ("between", "work"),
    [
        ({}, 200 * 4 * 64), ({"class_type": "LatentUpscale", "width": 512, "height": 512}, 3200),
        ({"class_type": "RepeatLatentBatch", "amount": 2}, 400 * 4 * 64),
        ({"class_type": "ZImageEdit"}, 200), ({"class_type": "LoadImage", "samples": 1}, 200),
        ({"width": math.nan, "height": -1, "batch_size": True, "size": []}, 200 * 4 * 64),
        ({"size": "1024x512 (2:1)"}, 100 * 64), ({"samples": ["3", 0]}, 200),
    ],
)  # fmt: skip
def test_work_is_told_by_what_a_sampler_gets(between: dict[str, Any], work: int) -> None:
    """Through the nodes before it; what is not known is one picture of a megapixel."""
    inputs = {"samples": ["1", 0], **between}
    prompt = {
        **source(**LARGEST), "2": sampler(["3", 0]),
        "3": {"class_type": inputs.pop("class_type", "Some"), "inputs": inputs},
    }  # fmt: skip
    assert clamp(prompt, Bounds(work=work)) == []
    with pytest.raises(ZImageError, match=f"= {work} of node 2"):
        clamp(prompt, Bounds(work=work - 1))


def test_a_batch_that_is_repeated_for_ever_is_too_much() -> None:
    """Not an error of the fuse's own."""
    chain = {str(n): {"class_type": "RepeatLatentBatch",
                      "inputs": {"samples": [str(n - 1), 0], "amount": 64}}
             for n in range(2, 2000)}  # fmt: skip
    with pytest.raises(ZImageError, match="of node last"):
        clamp({**source(**LARGEST), **chain, "last": sampler(["1999", 0], 1)}, Bounds())


@pytest.mark.parametrize("steps", [-1, None, ["9", 0], "x", math.nan, 0])
def test_steps_that_are_not_told_are_those_of_a_preset(steps: Any) -> None:
    """The most of them; a number that is none hides nothing."""
    prompt = {"2": sampler(["1", 0], steps)}
    assert clamp(prompt, Bounds(work=50)) == []
    with pytest.raises(ZImageError, match="= 50 of node 2"):
        clamp(prompt, Bounds(work=49))


@pytest.mark.parametrize(
    ("header", "chinese"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", True), ("en-US,en;q=0.9,zh;q=0.8", False), ("", False),
        ("zh-TW", True), ("fr,zh;q=0.1", True), ("*", False), ("zh;q=x,en", False), ("ZH", True),
        ("zh; q=0.9, en; q=0.8", True), ("en ;\tQ=0.2 , zh-Hant-TW ; Q=0.7", True),
        ("zh;q=0, en;q=0.1", False), ("zh;q=0", False), ("en;q=0.5, *;q=0.9", True),
        ("zh;q=0, *", False), ("zh;level=1;q=0.9, en;q=0.8", True), ("zh;q=nan", False),
        (",;, ;q=,", False),
    ],
)  # fmt: skip
def test_language_of_a_refusal(header: str, chinese: bool) -> None:
    """Chinese where it is ranked before English."""
    assert prefers_chinese(header) is chinese
