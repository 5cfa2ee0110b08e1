"""The bundled templates as files: complete, consistent, nothing in them that needs a download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
MODELS = WORKFLOWS.parent / "demo" / "models"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
OURS = {
    "ZImageLoader", "ZImageDualLoader", "ZImageTextEncode", "ZImageEdit", "ZImageLatent",
    "ZImageSampler", "ZImageDecode", "ZImageKeep", "ZImageSave",
}  # fmt: skip
CORE = {"PreviewImage", "SolidMask", "MaskComposite", "EmptyImage", "ImageCompositeMasked"}
"""ComfyUI's own, there since its first versions."""
FOLDERS = {
    "model_name": "diffusion_models", "text_encoder": "text_encoders", "vae": "vae",
    "clip_name": "text_encoders", "bert_name": "text_encoders", "adapter_name": "zimage_adapters",
}  # fmt: skip
PROMPTS = {"ZImageTextEncode", "ZImageEdit"}
FREE = (58, 130, 1600, 900)
"""Left, top, right and bottom, in pixels, of what the page's bars leave of 1600×900."""
MINIMAP = (1343, 643)
"""Left and top of the map that covers the corner at the bottom right."""
SMALLEST_SCALE = 0.6
"""Below, the page leaves out the text in nodes."""
NOTE = "MarkdownNote"  # drawn by the page, never sent to the server


def test_the_issued_templates_are_there() -> None:
    """Poster and ancient-style illustration, by the names that people know."""
    assert {"电商海报生成", "古风插画"} <= set(NAMES)


def test_the_folder_holds_nothing_else() -> None:
    """ComfyUI serves the whole folder to browsers."""
    expected = {f"{name}{suffix}" for name in NAMES for suffix in (".json", ".jpg")}
    expected |= {f"api/{name}.json" for name in NAMES}
    files = (path for path in WORKFLOWS.rglob("*") if path.is_file())
    assert {path.relative_to(WORKFLOWS).as_posix() for path in files} == expected


@pytest.mark.parametrize("name", NAMES)
def test_page_form_and_api_form_are_the_same_graph(name: str) -> None:
    """Same nodes, links and values; the note is the page's alone."""
    page, api = _load(f"{name}.json"), _load(f"api/{name}.json")
    nodes = {str(node["id"]): node for node in page["nodes"] if node["type"] != NOTE}
    assert nodes.keys() == api.keys()
    for key, node in nodes.items():
        values = [value for value in api[key]["inputs"].values() if not isinstance(value, list)]
        shown = node["widgets_values"]
        assert api[key]["class_type"] == node["type"]
        assert [value for value in shown if value != "randomize"] == values
    links = {(str(a), slot, str(b)) for _, a, slot, b, _, _ in page["links"]}
    values = ((key, value) for key, node in api.items() for value in node["inputs"].values())
    assert links == {(value[0], value[1], key) for key, value in values if isinstance(value, list)}


@pytest.mark.parametrize("name", NAMES)
def test_only_our_nodes_and_bundled_models_are_used(name: str) -> None:
    """So that it runs on a fresh install."""
    api = _load(f"api/{name}.json")
    assert {node["class_type"] for node in api.values()} <= OURS | CORE
    named = [(field, value) for node in api.values() for field, value in node["inputs"].items()]
    files = [
        MODELS / FOLDERS[field] / value
        for field, value in named
        if field in FOLDERS and isinstance(value, str)
    ]
    assert len(files) >= 3
    assert all(file.is_file() for file in files)


@pytest.mark.parametrize("name", NAMES)
def test_titles_are_chinese_and_the_note_is_in_both_languages(name: str) -> None:
    """What designers read first."""
    page = _load(f"{name}.json")
    assert all(_chinese(node["title"]) for node in page["nodes"])
    assert all(_chinese(group["title"]) for group in page["groups"])
    (note,) = (node for node in page["nodes"] if node["type"] == NOTE)
    assert _chinese(note["widgets_values"][0])
    assert "press Run" in note["widgets_values"][0]


@pytest.mark.parametrize("name", NAMES)
def test_nodes_do_not_lie_on_each_other(name: str) -> None:
    """A tidy layout: titles are 30 units high above a node's position."""
    boxes = [
        (x, y - 30, x + width, y + height)
        for (x, y), (width, height) in (
            (node["pos"], node["size"]) for node in _load(f"{name}.json")["nodes"]
        )
    ]
    for index, a in enumerate(boxes):
        for b in boxes[index + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


@pytest.mark.parametrize("name", NAMES)
def test_prompts_and_results_are_on_the_screen(name: str) -> None:
    """On a page of 1600×900, with the view that the file stores, and clear of the page's bars."""
    page = _load(f"{name}.json")
    scale, (left, top) = page["extra"]["ds"]["scale"], page["extra"]["ds"]["offset"]
    assert scale >= SMALLEST_SCALE
    nodes = [node for node in page["nodes"] if node["type"] in PROMPTS | {"ZImageSave"}]
    assert {node["type"] for node in nodes} > {"ZImageSave"}
    for node in nodes:
        (x, y), (width, height) = node["pos"], node["size"]
        begin = (scale * (x + left), scale * (y - 30 + top))
        end = (scale * (x + width + left), scale * (y + height + top))
        assert FREE[0] <= begin[0], node["title"]
        assert FREE[1] <= begin[1], node["title"]
        assert end[0] <= FREE[2], node["title"]
        assert end[1] <= FREE[3], node["title"]
        assert end[0] <= MINIMAP[0] or end[1] <= MINIMAP[1], node["title"]


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_on_the_card_is_a_jpeg(name: str) -> None:
    """Large enough for the card, small enough to load at once."""
    path = WORKFLOWS / f"{name}.jpg"
    with Image.open(path) as picture:
        assert picture.format == "JPEG"
        assert min(picture.size) >= 256
    assert path.stat().st_size < 200_000


def _load(name: str) -> dict[str, Any]:
    return json.loads((WORKFLOWS / name).read_text(encoding="utf-8"))


def _chinese(text: str) -> bool:
    return any("\u4e00" <= letter <= "\u9fff" for letter in text)
