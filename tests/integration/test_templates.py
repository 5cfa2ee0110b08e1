"""The bundled templates over ComfyUI's HTTP interface."""

from __future__ import annotations

import io
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

from zimage_comfyui.cli import templates
from zimage_comfyui.cli.client import Client
from zimage_comfyui.demo.checker import read
from zimage_comfyui.demo.world import Scene

SHOWN = {
    "电商海报生成": ((112, 144), Scene("gift", "red", "blue", "centre", "poster")),
    "古风插画": ((144, 112), Scene("vase", "cyan", "white", "right", "ink")),
}


@pytest.mark.parametrize("name", SHOWN)
def test_api_form_makes_the_picture_that_its_prompt_describes(
    client: Client, pack_dir: Path, name: str
) -> None:
    """Subject, colour, background, place and style, by an independent look at the pixels."""
    size, scene = SHOWN[name]
    done = client.run(templates.load(templates.find(pack_dir, name)))
    assert done.succeeded, done.error
    (saved,) = done.images
    picture = Image.open(io.BytesIO(client.view(saved)))
    assert (picture.format, picture.size) == ("WEBP", size)
    assert all(read(picture).matches(scene).values()), read(picture)


@pytest.mark.parametrize("name", SHOWN)
def test_card_and_graph_are_served_to_the_templates_dialog(client: Client, name: str) -> None:
    """Listed under the pack's folder name, with graph and picture under the same Chinese name."""
    listed = client.get("/workflow_templates")
    pack = next(pack for pack, names in listed.items() if name in names)
    assert set(listed[pack]) == set(SHOWN)
    place = f"/api/workflow_templates/{quote(pack)}/{quote(name)}"
    assert {node["type"] for node in client.get(f"{place}.json")["nodes"]} >= {"ZImageSave"}
    status, picture = client.request(f"{place}.jpg")
    assert status == 200
    assert Image.open(io.BytesIO(picture)).format == "JPEG"


def test_every_value_is_one_that_the_nodes_offer(client: Client, pack_dir: Path) -> None:
    """Names of inputs and choices of the API forms, against ``/object_info``."""
    for name in SHOWN:
        for node in templates.load(templates.find(pack_dir, name)).values():
            fields = client.get(f"/object_info/{node['class_type']}")[node["class_type"]]["input"]
            offered = {**fields["required"], **fields.get("optional", {})}
            assert node["inputs"].keys() == offered.keys()
            for key, value in node["inputs"].items():
                kind, *about = offered[key]
                choices = kind if isinstance(kind, list) else _choices(kind, about)
                assert choices is None or value in choices


def _choices(kind: str, about: list) -> list | None:
    return about[0]["options"] if kind == "COMBO" else None
