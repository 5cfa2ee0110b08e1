"""The status panel in the page's sidebar: what it shows, in both languages, and when it asks."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.server import Server, write_paths
from zimage_comfyui.patches.base.registry import NAMES
from zimage_comfyui.tests.browser.chromium import FIRST_VISIT_IS_OVER
from zimage_comfyui.tests.fakes.waiting import wait

if TYPE_CHECKING:
    from zimage_comfyui.tests.browser.page import ComfyPage

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BUTTON = ".zimage-status-tab-button"
STATUS = "**/zimage/status"
WAITS = """
import threading
from comfy.model_management import throw_exception_if_processing_interrupted

class Waits:
    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "waits", "run", (), True
    INPUT_TYPES = classmethod(lambda cls: {"required": {}})

    def run(self):
        while not threading.Event().wait(0.05):
            throw_exception_if_processing_interrupted()

NODE_CLASS_MAPPINGS = {"Waits": Waits}
"""
"""A pack whose node runs until it is interrupted."""
PIECES = """(count) =>
  document.querySelector('.zimage-stroke').getAttribute('d').split('M').length === count + 1"""


@pytest.fixture(scope="module")
def server(
    chromium: str, host: Host, pack_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A ComfyUI with a node that takes its time, and one part switched off."""
    packs = tmp_path_factory.mktemp("packs")
    (packs / "waits.py").write_text(WAITS)
    write_paths(packs / "paths.yaml", {"custom_nodes": str(packs)})
    arguments = ("--extra-model-paths-config", str(packs / "paths.yaml"))
    env = {**os.environ, "ZIMAGE_OFF": "history"}
    with Server(host, pack_dir, tmp_path_factory.mktemp("panel"), arguments, env=env) as running:
        running.client.request("/settings", FIRST_VISIT_IS_OVER)
        yield running


@pytest.fixture
def english(browser, server: Server) -> Iterator[ComfyPage]:
    """A page whose language is English."""
    from zimage_comfyui.tests.browser.page import tab

    with tab(browser, server.url, "en-US") as page:
        yield page


def _panel(comfy: ComfyPage):
    """The panel, opened if it is not."""
    if not comfy.page.locator(".zimage-panel").count():
        comfy.page.locator(BUTTON).click()
    comfy.page.locator(".zimage-panel .zimage-grid").wait_for()
    return comfy.page.locator(".zimage-panel")


def _figure(panel, key: str, text: str) -> None:
    """Wait until a number of the queue is as it should be."""
    panel.locator(f"[data-key={key}] b", has_text=re.compile(f"^{text}$")).wait_for()


def _submit(server: Server) -> str:
    return server.client.submit({"1": {"class_type": "Waits", "inputs": {}}})[1]["prompt_id"]


ONE_LINE = """() => {
  const label = document.querySelector('.zimage-status-tab-button .side-bar-button-label');
  const other = document.querySelector('.workflows-tab-button .side-bar-button-label');
  return [label.textContent.trim(), label.offsetHeight === other.offsetHeight];
}"""


def test_the_label_in_the_sidebar_is_one_line_in_chinese(shared: ComfyPage) -> None:
    """The whole title is shown on hovering."""
    shared.page.locator(BUTTON).wait_for()
    assert shared.page.evaluate(ONE_LINE) == ["Z-Image", True]
    assert shared.page.locator(BUTTON).get_attribute("aria-label") == "Z-Image 状态"


def test_the_label_in_the_sidebar_is_one_line_in_english(english: ComfyPage) -> None:
    """The whole title is shown on hovering."""
    english.page.locator(BUTTON).wait_for()
    assert english.page.evaluate(ONE_LINE) == ["Z-Image", True]
    assert english.page.locator(BUTTON).get_attribute("aria-label") == "Z-Image status"


def test_the_queue_is_seen_to_move(shared: ComfyPage, server: Server) -> None:
    """Running and waiting count up with prompts and down when they end."""
    panel = _panel(shared)
    _figure(panel, "running", "0")
    first, second = _submit(server), _submit(server)
    _figure(panel, "running", "1")
    _figure(panel, "waiting", "1")
    server.client.request("/queue", {"delete": [second]})
    _figure(panel, "waiting", "0")
    server.client.request("/interrupt", {"prompt_id": first})
    wait(lambda: server.client.get(f"/history/{first}"))
    _figure(panel, "running", "0")
    _figure(panel, "history", "1")


def test_every_part_is_told_in_chinese(shared: ComfyPage) -> None:
    """Under a Chinese name, the ones that are not active with the reason."""
    panel = _panel(shared)
    panel.locator(".zimage-state", has_text="就绪").wait_for()
    parts = panel.locator("[data-part]")
    named = {
        part.get_attribute("data-part"): part.inner_text().split("\n\n") for part in parts.all()
    }
    assert set(named) == set(NAMES)
    assert all(re.search("[\u4e00-\u9fff]", text[0]) for text in named.values())
    reasons = {name: text[1:] for name, text in named.items() if len(text) > 1}
    assert reasons == {
        "history": ["已通过 ZIMAGE_OFF 关闭。"], "guarded": ["此服务器没有守护进程。"]
    }  # fmt: skip
    assert named["queue"] == ["持久队列"]


def test_memory_and_disk_are_shown(shared: ComfyPage) -> None:
    """Of this process, with a curve that grows; without a GPU or a guardian nothing of them."""
    panel = _panel(shared)
    curve = panel.locator(".zimage-curve")
    assert re.search(r"[\d.]+ [MG]iB / [\d.]+ GiB", curve.inner_text())
    assert "本进程内存" in curve.inner_text()
    shared.page.wait_for_function(
        "() => document.querySelector('.zimage-stroke').getAttribute('d').split('L').length > 2"
    )
    disk = panel.locator(".zimage-disk")
    assert re.search(r"[\d.]+ %", disk.inner_text())
    assert panel.locator(".zimage-guardian").is_hidden()


def test_in_english(english: ComfyPage) -> None:
    """Title, headings, names and reasons; no Chinese anywhere."""
    panel = _panel(english)
    panel.locator(".zimage-state", has_text="Ready").wait_for()
    text = panel.inner_text()
    assert not re.search("[\u4e00-\u9fff]", text)
    for expected in ("Queue", "Process memory", "Hardening", "Durable queue",
                     "Switched off by ZIMAGE_OFF."):  # fmt: skip
        assert expected in text
    assert english.page.locator(BUTTON).get_attribute("aria-label") == "Z-Image status"


def test_a_closed_panel_does_not_ask(comfy: ComfyPage) -> None:
    """Every two seconds while it is open; a curve that is opened again goes on with a gap."""
    asked: list[str] = []
    comfy.page.on("request", lambda one: asked.append(one.url) if "status" in one.url else None)
    comfy.page.clock.install()
    panel = _panel(comfy)
    for count in (2, 3):
        with comfy.page.expect_response(STATUS):
            comfy.page.clock.run_for(2000)
        assert len(asked) == count
    comfy.page.wait_for_function(PIECES, arg=1)
    comfy.page.locator(BUTTON).click()
    panel.wait_for(state="detached")
    comfy.page.clock.run_for(60_000)
    assert len(asked) == 3
    _panel(comfy)
    comfy.page.wait_for_function(PIECES, arg=2)
    assert len(asked) == 4


def test_a_server_that_does_not_answer_is_told(comfy: ComfyPage) -> None:
    """What was known stays, faded; it goes on by itself."""
    panel = _panel(comfy)
    comfy.page.route(STATUS, lambda route: route.abort())
    panel.locator(".zimage-state", has_text="服务器无响应").wait_for()
    comfy.page.wait_for_selector(".zimage-panel.zimage-stale .zimage-grid")
    comfy.page.unroute(STATUS)
    panel.locator(".zimage-state", has_text="就绪").wait_for()


def test_what_other_servers_have(comfy: ComfyPage) -> None:
    """A GPU, a guardian, a part that does not fit, a full disk."""

    def answer(route: Any) -> None:
        found = route.fetch().json()
        found["memory"]["gpu"] = {"used": 12 * 2**30, "total": 80 * 2**30}
        found["guardian"] = [
            "2026-01-02 03:04:05,678 guardian: <b>replaced</b>",
            "2026-01-02 03:05:00,000 guardian: ok",
        ]
        found["patches"]["queue"] = {
            "status": "refused", "code": "ZI-QUEUE-TAKEN", "zh": "别的服务器在用。", "en": "Taken."
        }  # fmt: skip
        found["patches"]["disk"] = {"status": "active", "percent": {"output": 95.0, "temp": 10.0}}
        found |= {
            "reasons": ["disk", "queue"],
            "models_loaded": ["Lumina2", "Lumina2", "ZImageTEModel_"],
        }
        route.fulfill(status=200, content_type="application/json", body=json.dumps(found))

    comfy.page.route(STATUS, answer)
    panel = _panel(comfy)
    texts = {name: panel.locator(f".zimage-{name}").inner_text() for name in (
        "state", "memory", "guardian", "disk", "models")}  # fmt: skip
    assert "无法运行任务" in texts["state"]
    assert "磁盘已满" in texts["state"]
    assert "任务队列无法写入磁盘" in texts["state"]
    assert "12.0 GiB / 80.0 GiB" in texts["memory"]
    assert "01-02 03:04:05 <b>replaced</b>" in texts["guardian"]
    assert "95.0 %" in texts["disk"]
    assert "Lumina2 × 2" in texts["models"]
    assert panel.locator(".zimage-bar.zimage-bad").count() == 1
    part = panel.locator("[data-part=queue]")
    assert "[ZI-QUEUE-TAKEN] 别的服务器在用。" in part.inner_text()
    assert "Taken." not in part.inner_text()
