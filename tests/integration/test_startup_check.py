"""A real ComfyUI with a second copy of the pack in which one template is broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from zimage_comfyui.cli.server import Server
from zimage_comfyui.tests.fakes.second_pack import NAME, SecondPack, told

pytestmark = pytest.mark.slow

BROKEN, WHOLE = "电商海报生成", "古风插画"


@pytest.fixture
def second(pack_dir: Path, tmp_path: Path) -> SecondPack:
    """A copy of the pack beside the real one."""
    return SecondPack(pack_dir, tmp_path)


def test_a_broken_template_is_hidden_and_told_once_and_the_rest_is_listed(
    start_server: Callable[..., Server], second: SecondPack
) -> None:
    """The other copy's templates of the same names stay; mended, it is back without a restart."""
    second.edit(BROKEN, '"ZImageSampler"', '"ZImageNoSuchSampler"')
    before = second.template(BROKEN).read_bytes()
    server = start_server(*second.arguments)

    for path in ("/workflow_templates", "/api/workflow_templates", "/workflow_templates"):
        listed = server.client.get(path)
        assert BROKEN not in listed[NAME]
        assert WHOLE in listed[NAME]
        assert any({BROKEN, WHOLE} <= set(names) for key, names in listed.items() if key != NAME)
    (line,) = told(server)
    assert f"模板“{BROKEN}”无法运行" in line
    assert "no node class ZImageNoSuchSampler" in line
    assert second.template(BROKEN).read_bytes() == before

    second.edit(BROKEN, '"ZImageNoSuchSampler"', '"ZImageSampler"')
    assert {BROKEN, WHOLE} <= set(server.client.get("/workflow_templates")[NAME])
    assert len(told(server)) == 1


def test_a_check_that_cannot_run_does_not_stop_comfyui(
    start_server: Callable[..., Server], second: SecondPack
) -> None:
    """The module that adds the page's part does not import: nodes and templates are all there."""
    (second.path / "page" / "routes.py").write_text("import does_not_exist_anywhere\n")
    server = start_server(*second.arguments)
    assert {BROKEN, WHOLE} <= set(server.client.get("/workflow_templates")[NAME])
    assert "ZImageLoader" in server.client.get("/object_info/ZImageLoader")
    log = server.log.read_text(encoding="utf-8", errors="replace")
    assert log.count("Z-Image: templates are not checked") == 1


def test_the_page_s_requests_answer_on_a_real_host(
    start_server: Callable[..., Server], pack_dir: Path
) -> None:
    """Findings against the live node classes, counts with the host's tokenizers."""
    client = start_server().client
    graph = json.loads((pack_dir / "workflows/api/古风插画.json").read_text(encoding="utf-8"))
    graph["4"]["inputs"]["latent_image"] = ["1", 0]
    status, body = client.request("/zimage/validate", {"prompt": graph})
    answer = json.loads(body)
    assert status == 200
    assert {(f["code"], f["node"]) for f in answer["findings"] if f["severity"] == "error"} == {
        ("ZI-WF-TYPE", "4")
    }
    long = "画面中间一个红色的礼盒，" * 12 + "a ball near the lake"
    status, body = client.request("/zimage/tokens", {"text": long, "encoder": "dual"})
    answer = json.loads(body)
    assert (status, answer["tag"]) == (200, "[ZH]")
    chinese, other = answer["encoders"]
    assert (chinese["name"], chinese["count"], chinese["limit"]) == ("BERT", 12 * 12 + 2, 77)
    assert chinese["cut"] == ("画面中间一个红色的礼盒，" * 12)[75:]
    assert (other["name"], other["count"], other["cut"]) == ("CLIP", 7, "")
    assert "".join(piece["text"] for piece in answer["pieces"]) == long
    assert "".join(piece["text"] for piece in answer["pieces"] if piece["cut"]) == chinese["cut"]
