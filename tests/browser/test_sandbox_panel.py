"""The panel's section about sandboxes: how packs are, and its buttons, in both languages."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.server import Server, write_paths
from zimage_comfyui.tests.browser.chromium import FIRST_VISIT_IS_OVER
from zimage_comfyui.tests.fakes.waiting import wait

if TYPE_CHECKING:
    from zimage_comfyui.tests.browser.page import ComfyPage

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PACKS = Path(__file__).parents[1] / "fakes" / "packs"
BUTTON = ".zimage-status-tab-button"
STATUS = "**/zimage/status"
CHINESE = "[\u4e00-\u9fff]"
UNSERVED = re.compile(r'nodes\.EXTENSION.*\n|, web\.static\("/webby/etc.*?\)')
"""Folders that are refused: their messages would fill the panel."""
POLICY = """
[packs.trusted-pack]
run = "trusted"
[packs.unwanted-pack]
run = "blocked"
"""


@pytest.fixture(scope="module")
def server(
    chromium: str, host: Host, pack_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A ComfyUI with a pack that runs, one in quarantine and one that was refused."""
    folder = tmp_path_factory.mktemp("sandboxes")
    for source, name in (("webby", "a-good-pack"), ("webby", "a-crashing-pack"),
                         ("changes_host", "a-patching-pack")):  # fmt: skip
        shutil.copytree(
            PACKS / source, folder / "packs" / name, ignore=shutil.ignore_patterns("__pycache__")
        )
        code = folder / "packs" / name / "__init__.py"
        text = code.read_text().replace('"Webby', f'"{name} ')  # no node has two packs
        code.write_text(UNSERVED.sub("", text))
    write_paths(folder / "paths.yaml", {"custom_nodes": str(folder / "packs")})
    user = folder / "server" / "user" / "__zimage"
    user.mkdir(parents=True)
    (user / "sandbox.toml").write_text(POLICY)
    env = {**os.environ, "ZIMAGE_SANDBOX": "strict"}
    arguments = ("--extra-model-paths-config", str(folder / "paths.yaml"))
    with Server(host, pack_dir, folder / "server", arguments, env=env) as running:
        running.client.request("/settings", FIRST_VISIT_IS_OVER)
        quarantine(running)
        yield running


def quarantine(server: Server) -> None:
    """Have a pack end three times."""
    for _ in range(3):
        assert server.client.request("/zimage/sandbox/a-crashing-pack/webby/die")[0] == 502
    assert server.client.request("/zimage/sandbox/a-good-pack/webby/hello")[0] == 200


def packs_of(server: Server) -> dict[str, Any]:
    """As the server tells."""
    return server.client.get("/zimage/status")["sandboxes"]["packs"]


@pytest.fixture
def english(browser, server: Server) -> Iterator[ComfyPage]:
    """A page whose language is English."""
    from zimage_comfyui.tests.browser.page import tab

    with tab(browser, server.url, "en-US") as page:
        yield page


def section(comfy: ComfyPage) -> Any:
    """The section, with the panel opened if it is not."""
    if not comfy.page.locator(".zimage-panel").count():
        comfy.page.locator(BUTTON).click()
    found = comfy.page.locator(".zimage-panel .zimage-sandboxes")
    found.wait_for()
    return found


def pack(comfy: ComfyPage, name: str, text: str) -> Any:
    """A pack's entry once it says something."""
    found = section(comfy).locator(f"[data-pack={name}]", has_text=text)
    found.wait_for()
    return found


def test_how_every_pack_is(shared: ComfyPage) -> None:
    """Running, in quarantine, refused with the reason; which are elsewhere; all in Chinese."""
    found = section(shared)
    pack(shared, "a-good-pack", "运行中 · 2 个节点")
    crashed = pack(shared, "a-crashing-pack", "已隔离").inner_text()
    assert "exit 7" in crashed
    refused = pack(shared, "a-patching-pack", "未加载").inner_text()
    assert "[ZI-SANDBOX-HOST]" in refused
    text = found.inner_text()
    for expected in ("沙箱", "模式：严格，3 个节点包", "在 ComfyUI 进程内运行：trusted-pack",
                     "已禁止：unwanted-pack"):  # fmt: skip
        assert expected in text
    assert found.locator("[data-pack=a-patching-pack] button").count() == 0


def test_picture_for_the_manual(browser, server: Server, tmp_path: Path) -> None:
    """With ``ZIMAGE_PICTURES`` the one in the manual is made anew."""
    from zimage_comfyui.tests.browser.page import tab

    path = Path(os.environ.get("ZIMAGE_PICTURES") or tmp_path) / "sandboxes.png"
    wait(lambda: packs_of(server)["a-good-pack"]["memory_bytes"] > 2**20)
    with tab(browser, server.url, scale=2) as comfy:
        pack(comfy, "a-good-pack", "MiB")
        section(comfy).scroll_into_view_if_needed()
        box = section(comfy).bounding_box()
        clip = {"x": box["x"] - 12, "y": box["y"] + 1}
        clip |= {"width": box["width"] + 24, "height": box["height"] - 1}
        assert len(comfy.page.screenshot(path=path, clip=clip)) > 1000


def test_in_english(english: ComfyPage) -> None:
    """No Chinese anywhere."""
    pack(english, "a-good-pack", "running · 2 nodes")
    pack(english, "a-crashing-pack", "quarantined")
    text = section(english).inner_text()
    assert not re.search(CHINESE, text)
    for expected in ("Sandboxes", "mode: strict, 3 packs", "Restart", "Stop", "Lift",
                     "in ComfyUI's process: trusted-pack", "blocked: unwanted-pack"):  # fmt: skip
        assert expected in text


def test_buttons(comfy: ComfyPage, server: Server) -> None:
    """Stop, restart and lift do what they say, and the panel follows."""
    before = packs_of(server)["a-good-pack"]["pid"]
    pack(comfy, "a-good-pack", "运行中").locator("[data-action=stop]").click()
    pack(comfy, "a-good-pack", "未运行").locator("[data-action=restart]").click()
    pack(comfy, "a-good-pack", "运行中")
    assert packs_of(server)["a-good-pack"]["pid"] not in {before, None}
    pack(comfy, "a-crashing-pack", "已隔离").locator("[data-action=lift]").click()
    pack(comfy, "a-crashing-pack", "运行中")
    wait(lambda: packs_of(server)["a-crashing-pack"]["status"] == "running")


def test_a_button_that_fails_says_so(comfy: ComfyPage) -> None:
    """With the server's own words, or that it does not answer."""
    error = {"code": "ZI-SANDBOX-START", "zh": "没有启动。", "en": "Not started."}
    comfy.page.route(
        "**/zimage/sandbox/restart",
        lambda route: route.fulfill(status=503, json={"error": error}),
    )
    comfy.page.route("**/zimage/sandbox/stop", lambda route: route.abort())
    pack(comfy, "a-good-pack", "运行中").locator("[data-action=restart]").click()
    found = pack(comfy, "a-good-pack", "[ZI-SANDBOX-START] 没有启动。")
    found.locator("[data-action=stop]").click()
    pack(comfy, "a-good-pack", "服务器无响应")


def test_what_other_servers_have(comfy: ComfyPage) -> None:
    """Nothing confined, rules that wait for a restart; names are never markup; nothing when off."""
    comfy.page.locator(BUTTON).wait_for()

    def answer(route: Any, mode: str, packs: dict[str, Any]) -> None:
        found = route.fetch().json()
        found["sandboxes"] |= {"mode": mode, "packs": packs, "restart_for": ["packs.x.run"]}
        route.fulfill(status=200, content_type="application/json", body=json.dumps(found))

    gap = {"state": "unavailable", "reason": "Function not implemented", "gaps": ""}
    about = {"status": "running", "pid": 1, "starts": 3, "ends": 2, "crashes": 0, "nodes": 1,
             "last_end": "", "last_end_zh": "", "memory_bytes": 3 * 2**30, "routes": 0,
             "not_confined": {"landlock": gap}}  # fmt: skip
    comfy.page.route(STATUS, lambda route: answer(route, "auto", {"<b>x</b>": about}))
    text = section(comfy).inner_text()
    for expected in ("<b>x</b>", "模式：自动，1 个节点包", "3.0 GiB", "启动 3 次",
                     "未生效的限制：文件", "packs.x.run"):  # fmt: skip
        assert expected in text
    comfy.page.unroute(STATUS)
    comfy.page.route(STATUS, lambda route: answer(route, "off", {}))
    comfy.page.locator(".zimage-panel .zimage-sandboxes").wait_for(state="hidden")
