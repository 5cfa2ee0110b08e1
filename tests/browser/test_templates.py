"""In the page: a template from the dialog, Run, the picture, and the graph back from the file."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from zimage_comfyui.cli.server import Server
from zimage_comfyui.tests.fakes.shown import SHOWN

if TYPE_CHECKING:
    from zimage_comfyui.tests.browser.page import ComfyPage

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize("name", ["电商海报生成", "古风插画"])
def test_template_runs_with_one_click_and_its_file_restores_the_graph(
    comfy: ComfyPage, server: Server, pack_dir: Path, pack_name: str, tmp_path: Path, name: str
) -> None:
    """Dialog, API form, Run, picture of what the prompt says, WebP dropped on a fresh page."""
    card = comfy.open_template(pack_name, name)
    with Image.open(pack_dir / "workflows" / f"{name}.jpg") as picture:
        assert card == picture.size
    graph, prompt = comfy.graph(), comfy.api_form()
    assert prompt == _json(pack_dir / "workflows" / "api" / f"{name}.json")
    assert comfy.page.locator(".p-dialog").count() == 0  # nothing is missing, nothing to download

    comfy.run()
    where = {
        key: values[0] for key, values in parse_qs(urlsplit(comfy.wait_for_picture()).query).items()
    }
    data = server.client.view({key: where[key] for key in ("filename", "subfolder", "type")})
    picture = Image.open(io.BytesIO(data))
    assert picture.format == "WEBP"
    SHOWN[name].check([picture])

    file = tmp_path / where["filename"]
    file.write_bytes(data)
    comfy.open()
    comfy.page.evaluate("() => app.graph.clear()")
    comfy.drop(file)
    assert comfy.graph()["nodes"] == graph["nodes"]
    assert comfy.graph()["links"] == graph["links"]
    assert comfy.api_form() == prompt


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_page_sends_the_api_form(
    shared: ComfyPage, pack_dir: Path, pack_name: str, name: str
) -> None:
    """Opened from the dialog, nothing is missing, and Run would send what lies in ``api/``."""
    shared.open_template(pack_name, name)
    assert shared.api_form() == _json(pack_dir / "workflows" / "api" / f"{name}.json")
    assert shared.page.locator(".p-dialog").count() == 0


def test_a_template_opens_with_the_view_in_its_file(
    shared: ComfyPage, pack_dir: Path, pack_name: str
) -> None:
    """So what is on the screen can be told from the file."""
    name = "批量多尺寸出图"
    shared.open_template(pack_name, name)
    view = _json(pack_dir / "workflows" / f"{name}.json")["extra"]["ds"]
    shared.page.wait_for_function("(scale) => app.canvas.ds.scale === scale", arg=view["scale"])
    assert shared.page.evaluate("() => [...app.canvas.ds.offset]") == view["offset"]
    canvas = shared.page.evaluate(
        "() => { const { x, y } = app.canvas.canvas.getBoundingClientRect(); return [x, y]; }"
    )
    assert canvas == [0, 0]


def test_a_dropped_png_restores_the_graph_too(
    comfy: ComfyPage, server: Server, pack_name: str, tmp_path: Path
) -> None:
    """PNG carries the workflow as WebP does (ComfyUI's page does not read it from a JPEG)."""
    comfy.open_template(pack_name, "电商海报生成")
    comfy.set_widget("ZImageSave", "format", "png")
    prompt = comfy.api_form()
    comfy.run()
    query = parse_qs(urlsplit(comfy.wait_for_picture()).query)
    file = tmp_path / query["filename"][0]
    file.write_bytes((server.folder / "output" / query["subfolder"][0] / file.name).read_bytes())
    comfy.page.evaluate("() => app.graph.clear()")
    comfy.drop(file)
    assert comfy.api_form() == prompt


def test_wrong_size_is_told_in_both_languages_with_its_code(
    comfy: ComfyPage, server: Server, pack_name: str
) -> None:
    """The page shows our message, and the server goes on."""
    comfy.open_template(pack_name, "电商海报生成")
    comfy.set_widget("ZImageLatent", "size", "custom")
    comfy.set_widget("ZImageLatent", "width", 1000)
    comfy.run()
    report = comfy.page.locator(".p-dialog", has_text="[ZI-SIZE]")
    report.wait_for()
    text = report.inner_text()
    assert "图像尺寸 1000×1024 无效" in text
    assert "Invalid image size 1000×1024" in text
    assert server.client.answers()


def test_widgets_are_named_in_the_language_of_the_page(shared: ComfyPage, pack_dir: Path) -> None:
    """Chinese in a Chinese page, although the page loads its own texts over those of packs."""
    nodes = _json(pack_dir / "locales" / "zh" / "nodeDefs.json")
    for node in ("ZImageLoader", "ZImageSampler"):
        shown = shared.labels(node)
        named = {key: text["name"] for key, text in nodes[node]["inputs"].items()}
        assert {key: label for key, label in shown.items() if key in named} == {
            key: named[key] for key in shown if key in named
        }
        assert named.keys() & shown.keys()


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
