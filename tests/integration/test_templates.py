"""The bundled templates over ComfyUI's HTTP interface."""

from __future__ import annotations

import io
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

from zimage_comfyui.cli import templates
from zimage_comfyui.cli.client import Client
from zimage_comfyui.tests.fakes.shown import SHOWN


def test_every_template_is_looked_at(pack_dir: Path) -> None:
    """A new one needs its line in ``fakes/shown.py``."""
    assert sorted(SHOWN) == templates.names(pack_dir)


@pytest.mark.parametrize("name", SHOWN)
def test_api_form_makes_the_picture_that_its_prompt_describes(
    client: Client, pack_dir: Path, name: str
) -> None:
    """Subject, colour, background, place and style, by an independent look at the pixels."""
    done = client.run(templates.load(templates.find(pack_dir, name)))
    assert done.succeeded, done.error
    saved = [image for image in done.images if image["type"] == "output"]
    pictures = [Image.open(io.BytesIO(client.view(image))) for image in saved]
    assert {picture.format for picture in pictures} == {"WEBP"}
    SHOWN[name].check(pictures)


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
            assert fields["required"].keys() <= node["inputs"].keys() <= offered.keys()
            for key, value in node["inputs"].items():
                kind, *about = offered[key]
                choices = kind if isinstance(kind, list) else _choices(kind, about)
                assert choices is None or value in choices


def _choices(kind: str, about: list) -> list | None:
    return about[0]["options"] if kind == "COMBO" else None
