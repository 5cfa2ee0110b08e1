"""What the server refuses or changes, and what our nodes refuse, is told beforehand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui.engine import presets, sizes
from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.requests.prompt_checks import check_prompt, clamp
from zimage_comfyui.tests.fakes.workflows import check
from zimage_comfyui.validator import snapshot, work
from zimage_comfyui.validator.bounds import Bounds
from zimage_comfyui.validator.findings import Finding
from zimage_comfyui.validator.knowledge import Knowledge

ROOT = Path(__file__).resolve().parents[2]
Document = dict[str, Any]


@pytest.fixture(scope="module")
def stored() -> Knowledge:
    """The stored node classes."""
    return snapshot.load()


def _entry(kind: str, **inputs: Any) -> Document:
    return {"class_type": kind, "inputs": inputs}


def _latent(**inputs: Any) -> Document:
    size = {"width": 64, "height": 64, "batch_size": 1}
    return {"1": _entry("EmptySD3LatentImage", **{**size, **inputs}),
            "2": _entry("SaveLatent", samples=["1", 0], filename_prefix="x")}  # fmt: skip


def _painting(kind: str, **inputs: Any) -> Document:
    """A bundled template with other values in its node of a class."""
    path = ROOT / "workflows" / "api" / "古风插画.json"
    prompt = json.loads(path.read_text(encoding="utf-8"))
    next(entry for entry in prompt.values() if entry["class_type"] == kind)["inputs"] |= inputs
    return prompt


def _errors(document: Document, known: Knowledge) -> list[tuple[str, str]]:
    return [(f.code, f.input) for f in check(document, known).findings.errors]


# --- the request fuse --------------------------------------------------------------------------

STEPS = _entry("KSampler", steps=5000)
REFUSED: dict[str, tuple[Document, str]] = {
    "text of a file's name": (_latent() | {"2": _entry("SaveLatent", filename_prefix="x\ufffd")},
                              "filename_prefix"),
    "text of an unknown node": (_latent() | {"9": _entry("Nobody", words="\ue000")}, "words"),
    "text of an unknown input": (_latent(note="x\u202ey"), "note"),
    "steps": (_latent() | {"9": STEPS}, "steps"),
    "batch": (_latent(batch_size=100), "batch_size"),
    "pixels": (_latent(width=4096, height=4096, batch_size=64), "width × height × batch_size"),
    "pixels once clamped": (_latent(width=8192, height=8192, batch_size=17),
                            "width × height × batch_size"),
    "work of all": (_latent(width=2048, height=2048, batch_size=64)
                    | {n: _entry("KSampler", steps=200, latent_image=["1", 0]) for n in "89"},
                    work.FORMULA),
}  # fmt: skip


@pytest.mark.parametrize(("prompt", "name"), REFUSED.values(), ids=REFUSED)
def test_what_the_fuse_refuses_is_an_error(prompt: Document, name: str, stored: Knowledge) -> None:
    """In any node, whether an output needs it or not."""
    found = [f for f in check(prompt, stored).findings.errors if f.input == name]
    assert {f.code for f in found} & {"ZI-WF-TEXT", "ZI-REQUEST-WORK"}
    with pytest.raises(ZImageError) as refused:
        _judge(prompt)
    assert refused.value.found["name"] == name
    if refused.value.code == "ZI-REQUEST-WORK":
        assert refused.value.chinese in [f.chinese for f in found]


def _judge(prompt: Document) -> list[dict[str, Any]]:
    """As the server does it."""
    check_prompt({"prompt": prompt})
    return clamp(prompt, Bounds())


@pytest.mark.parametrize("prompt", [_latent(width=8192), _painting("ZImageLatent", size="custom",
                                    width=64, height=4112)])  # fmt: skip
def test_what_the_fuse_makes_smaller_is_a_warning(prompt: Document, stored: Knowledge) -> None:
    """With the size that comes of it; nothing is changed by the check itself."""
    before = json.dumps(prompt)
    checked = check(prompt, stored)
    (found,) = [f for f in checked.findings if f.code == "ZI-WF-CLAMPED"]
    assert checked.ok
    assert json.dumps(prompt) == before
    (told,) = _judge(prompt)
    assert (told["node"], told["input"]) == (found.node, found.input)
    assert "改为 4096" in found.chinese
    assert "changes it to 4096" in found.english


def test_what_the_fuse_lets_through_is_fine(stored: Knowledge) -> None:
    """The greatest sizes, long texts of other packs, and nodes that work on other pictures."""
    prompt = _latent(width=4096, height=4096, batch_size=16)
    prompt["9"] = _entry("Nobody", picture="图" * 200_000)
    assert _judge(prompt) == []
    assert _errors(prompt, stored) == [("ZI-WF-NODE-UNKNOWN", "")]
    scale = _entry("ImageScale", image=["1", 0], width=9000, height=9000, crop="disabled",
                   upscale_method="area")  # fmt: skip
    assert not [f for f in check({"1": scale}, stored).findings if f.input == "width"]


@pytest.mark.parametrize("count", [2, 8, 9, 100_000])
def test_every_broken_character_of_a_text_is_named(count: int, stored: Knowledge) -> None:
    """Up to eight of them, each by its place; beyond that it says that there are more."""
    prompt = _painting("ZImageTextEncode", prompt="红" + "\u202e" + "\ufffd" * (count - 1))
    (found,) = [f for f in check(prompt, stored).findings if f.code == "ZI-WF-TEXT"]
    assert "第 2 个 U+202E、第 3 个 U+FFFD" in found.chinese
    assert "2 (U+202E), 3 (U+FFFD)" in found.english
    assert found.chinese.count("U+") == min(count, 8)
    assert (" 等。" in found.chinese) == (", 9 (U+FFFD) and more." in found.english) == (count > 8)


def test_endless_prompts(stored: Knowledge) -> None:
    """Refused by our encoder; another encoder may read them."""
    (found,) = check(_painting("ZImageTextEncode", prompt="x" * 100_001), stored).findings.errors
    assert (found.code, found.input) == ("ZI-WF-TEXT-LONG", "prompt")
    assert "a prompt may have 100000" in found.english
    other = {"1": _entry("CLIPTextEncode", text="x" * 100_001, clip=["2", 0])}
    (found,) = [f for f in check(other, stored).findings if f.code == "ZI-WF-TEXT-LONG"]
    assert found.severity == "warning"


# --- our nodes -----------------------------------------------------------------------------------


def _raised(judge: Any, *arguments: Any, **named: Any) -> ZImageError:
    with pytest.raises(ZImageError) as raised:
        judge(*arguments, **named)
    return raised.value


@pytest.mark.parametrize(("name", "value"), [
    ("steps", 0), ("steps", 10**6), ("steps", -2), ("cfg", 0.5), ("cfg", 101.0), ("shift", 0.0),
    ("denoise", 0.0), ("denoise", 1.5),
])  # fmt: skip
def test_settings_that_our_sampler_refuses(name: str, value: float, stored: Knowledge) -> None:
    """With the code and the words of the engine, at the input."""
    (found,) = check(_painting("ZImageSampler", **{name: value}), stored).findings.errors
    error = _raised(presets.resolve, model_variant="turbo", **{name: value})
    assert (found.code, found.input) == (error.code, name)
    assert (found.chinese, found.english) == (error.chinese, error.english)


def test_the_preset_in_a_message_is_that_of_the_model(stored: Knowledge) -> None:
    """What the sampler says, else the loader, else its file's name."""
    cases = [({}, {}, "(8)"), ({"preset": "base"}, {}, "(28)"), ({}, {"variant": "edit"}, "(50)"),
             ({}, {"model_name": "diffusers/z-image"}, "(28)")]  # fmt: skip
    for sampler, loader, shown in cases:
        prompt = _painting("ZImageSampler", steps=0, **sampler)
        node = next(entry for entry in prompt.values() if entry["class_type"] == "ZImageLoader")
        node["inputs"] |= loader
        (found,) = [f for f in check(prompt, stored).findings if f.code == "ZI-STEPS"]
        assert shown in found.english
    prompt = {"1": _entry("ZImageSampler", steps=0, model=["1", 0])}
    assert "ZI-STEPS" in {f.code for f in check(prompt, stored).findings}  # a ring ends


@pytest.mark.parametrize(("size", "code", "name"), [
    ({"width": 1000}, "ZI-SIZE", "width"), ({"height": 70}, "ZI-SIZE", "height"),
    ({"width": 0, "height": 0}, "ZI-SIZE", "width"), ({"batch_size": 0}, "ZI-BATCH", "batch_size"),
    ({"batch_size": 65}, "ZI-BATCH", "batch_size"),
])  # fmt: skip
def test_sizes_that_our_node_refuses(
    size: dict[str, int], code: str, name: str, stored: Knowledge
) -> None:
    """Multiples of 16 where the size is one's own; else width and height do not count."""
    given = {"width": 64, "height": 64, "batch_size": 1, **size}
    prompt = _painting("ZImageLatent", size="custom", **given)
    (found,) = check(prompt, stored).findings.errors
    assert (found.code, found.input) == (code, name)
    if code == "ZI-SIZE":
        error = _raised(sizes.resolve, "custom", given["width"], given["height"])
        assert found.chinese == error.chinese
        assert check(_painting("ZImageLatent", **size), stored).ok


def test_values_that_are_wrong_for_the_host_are_told_once(stored: Knowledge) -> None:
    """What is no number, or beyond the field's own limits, or linked, is not judged again."""
    for wrong in ("many", 10**12, None, ["1", 0], {"a": 1}):
        found = check(_painting("ZImageSampler", steps=wrong), stored).findings
        assert "ZI-STEPS" not in {f.code for f in found}


def test_pickles_in_our_loaders_are_errors(stored: Knowledge) -> None:
    """They are never opened; elsewhere it is a warning."""
    for name in ("evil.ckpt", "folder/evil.PT"):
        (found,) = check(_painting("ZImageLoader", model_name=name), stored).findings.errors
        assert (found.code, found.input) == ("ZI-FILE-PICKLE", "model_name")
    other: list[Finding] = check({"1": _entry("VAELoader", vae_name="e.pt")}, stored).findings
    assert [f.severity for f in other if f.code == "ZI-WF-UNSAFE"] == ["warning"]


@pytest.mark.parametrize("tolerance", [-1, 256.5])
def test_a_tolerance_that_our_keep_node_refuses(tolerance: float, stored: Knowledge) -> None:
    """A colour is at most 255 away from another."""
    path = ROOT / "workflows" / "api" / "颜色改款.json"
    prompt = json.loads(path.read_text(encoding="utf-8"))
    keep = next(entry for entry in prompt.values() if entry["class_type"] == "ZImageKeep")
    keep["inputs"]["tolerance"] = tolerance
    (found,) = check(prompt, stored).findings.errors
    assert (found.code, found.input) == ("ZI-VALUE", "tolerance")
    keep["inputs"]["tolerance"] = 255
    assert check(prompt, stored).ok


@pytest.mark.parametrize(("name", "value", "fine"), [
    ("quality", 0, 85), ("quality", 500, 100), ("filename_prefix", "../../x", "海报/x"),
    ("filename_prefix", "/etc/x", "a/../x"), ("filename_prefix", "a/../../x", "%year%/图"),
])  # fmt: skip
def test_what_our_save_node_refuses(
    name: str, value: object, fine: object, stored: Knowledge
) -> None:
    """Qualities that no encoder has, and names that lead out of the output folder."""
    graph = _painting("ZImageSave", **{name: value})
    (found,) = check(graph, stored).findings.errors
    assert (found.code, found.input) == ("ZI-VALUE", name)
    assert check(_painting("ZImageSave", **{name: fine}), stored).ok


def test_an_absolute_name_in_the_output_folder_of_the_host(
    stored: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page knows the folder, so it accepts what the host accepts."""
    host = SimpleNamespace(get_output_directory=lambda: "/data/pictures")
    monkeypatch.setitem(sys.modules, "folder_paths", host)
    assert check(_painting("ZImageSave", filename_prefix="/data/pictures/x"), stored).ok
    (found,) = check(_painting("ZImageSave", filename_prefix="/output/x"), stored).findings.errors
    assert "/data/pictures 内的路径" in found.chinese
    assert "a path inside /data/pictures" in found.english
