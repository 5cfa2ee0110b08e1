"""In the page: token counts, cut prompts, and the validator's messages on the nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.server import Server
from zimage_comfyui.tests.browser.chromium import FIRST_VISIT_IS_OVER
from zimage_comfyui.tests.fakes.second_pack import NAME, SecondPack, told

if TYPE_CHECKING:
    from zimage_comfyui.tests.browser.page import ComfyPage

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TEMPLATE = "电商海报生成"
PAIR = "双编码器中英混合"
SENTENCE = "画面中间一个红色的礼盒，浅蓝色背景，高级感。"
INTO_A_SUBGRAPH = """(type) => {
  const node = app.graph.nodes.find((node) => node.type === type);
  const { subgraph } = app.graph.convertToSubgraph(new Set([node]));
  app.canvas.openSubgraph(subgraph);
}"""
LINK_A_PROMPT = """(text) => {
  const source = LiteGraph.createNode('PrimitiveStringMultiline');
  app.graph.add(source);
  source.widgets[0].value = text;
  const node = app.graph.nodes.find((node) => node.type === 'ZImageTextEncode');
  source.connect(0, node, node.inputs.findIndex((input) => input.name === 'prompt'));
}"""
CUT_LINK = """() => {
  const node = app.graph.nodes.find((node) => node.type === 'ZImageDecode');
  node.disconnectInput(node.inputs.findIndex((input) => input.name === 'samples'));
  return String(node.id);
}"""
RING_IS_ON = """(type) => {
  const node = app.graph.nodes.find((node) => node.type === type);
  const [left, top, width, height] = node.boundingRect;
  const { scale, offset } = app.canvas.ds;
  const canvas = app.canvas.canvas.getBoundingClientRect();
  return [...document.querySelectorAll('.zimage-ring.zimage-error')].some((ring) => {
    const box = ring.getBoundingClientRect();
    return Math.abs(box.left - canvas.left - (left + offset[0]) * scale) < 2
      && Math.abs(box.top - canvas.top - (top + offset[1]) * scale) < 2
      && Math.abs(box.width - width * scale) < 2 && Math.abs(box.height - height * scale) < 2;
  });
}"""


@pytest.fixture
def english(browser, server: Server) -> Iterator[ComfyPage]:
    """A page whose language is English."""
    from zimage_comfyui.tests.browser.page import tab

    with tab(browser, server.url, "en-US") as page:
        yield page


@pytest.fixture
def second(host: Host, pack_dir: Path, tmp_path: Path) -> Iterator[Server]:
    """A ComfyUI with a second copy of the pack, in which one template is broken."""
    copy = SecondPack(pack_dir, tmp_path)
    copy.edit(TEMPLATE, '"ZImageSampler"', '"ZImageNoSuchSampler"')
    with Server(host, pack_dir, tmp_path / "comfyui", copy.arguments) as running:
        running.client.request("/settings", FIRST_VISIT_IS_OVER)
        yield running


def _row(comfy: ComfyPage, field: str = "prompt"):
    return comfy.page.locator(f".zimage-row[data-field={field}]")


def _note(comfy: ComfyPage, node: str):
    return comfy.page.locator(f".zimage-note[data-node='{node}']")


def _command(comfy: ComfyPage) -> None:
    comfy.page.evaluate("() => app.extensionManager.command.execute('ZImage.CheckWorkflow')")


def test_a_typed_prompt_is_counted_and_nothing_is_saved_of_it(
    comfy: ComfyPage, pack_name: str
) -> None:
    """Against the official 512; the widget is in neither the file nor the prompt."""
    comfy.open_template(pack_name, TEMPLATE)
    saved, sent = comfy.graph(), comfy.api_form()
    row = _row(comfy)
    row.filter(has_text=re.compile(r"提示词\s*\[ZH\]\s*Qwen3 \d+/512")).wait_for()
    box = comfy.page.locator("textarea.comfy-multiline-input").first
    box.fill("a red ball")
    row.filter(has_text="Qwen3 11/512").wait_for()
    box.fill("字" * 600)
    row.locator(".zimage-warn").first.wait_for()
    node = next(node for node in saved["nodes"] if node["type"] == "ZImageTextEncode")
    assert len(node["widgets_values"]) == 2
    assert not [inputs for inputs in sent.values() if "zimage_tokens" in inputs["inputs"]]


def test_unreadable_text_is_told_while_typing(comfy: ComfyPage, pack_name: str) -> None:
    """The same coded message that /prompt would give."""
    comfy.open_template(pack_name, TEMPLATE)
    comfy.page.locator("textarea.comfy-multiline-input").first.fill("坏\ufffd字")
    _row(comfy).filter(has_text="[ZI-TEXT-REPLACEMENT] 提示词第 2 个字符").wait_for()


def test_a_pair_of_encoders_is_counted_apart_and_what_is_cut_is_struck_through(
    comfy: ComfyPage, pack_name: str
) -> None:
    """BERT's 77 and CLIP's 77; exactly the characters beyond BERT's limit are struck through."""
    comfy.open_template(pack_name, PAIR)
    prompt = SENTENCE * 5 + "Mercedes parked near a lake"
    comfy.set_widget("ZImageTextEncode", "prompt", prompt)
    _row(comfy).filter(has_text=f"BERT {len(SENTENCE) * 5 + 2}/77").wait_for()
    assert "CLIP 7/77" in _row(comfy).inner_text()
    rest = comfy.page.locator(".zimage-cut[data-field=prompt]")
    assert rest.text_content() == prompt
    assert rest.locator("s").all_text_contents() == [(SENTENCE * 5)[75:]]
    comfy.set_widget("ZImageTextEncode", "prompt", SENTENCE)
    rest.wait_for(state="hidden")


@pytest.mark.parametrize("inside", ["ZImageTextEncode", "ZImageDualLoader"])
def test_a_pair_is_known_through_subgraphs(comfy: ComfyPage, pack_name: str, inside: str) -> None:
    """Whichever of the two is in one; the BERT's own vocabulary counts."""
    comfy.open_template(pack_name, PAIR)
    comfy.page.evaluate(INTO_A_SUBGRAPH, inside)
    if inside == "ZImageDualLoader":
        comfy.page.evaluate("() => app.canvas.setGraph(app.graph.rootGraph ?? app.graph)")
    box = comfy.page.locator("textarea.comfy-multiline-input >> visible=true").first
    box.fill("红色ARMY包")
    _row(comfy).filter(has_text=re.compile(r"BERT 6/77\s*CLIP 2/77")).wait_for()


def test_a_linked_prompt_is_known_after_it_ran(comfy: ComfyPage, pack_name: str) -> None:
    """What BERT did not read of it is struck through, and is in ``/history``."""
    comfy.open_template(pack_name, PAIR)
    comfy.page.evaluate(LINK_A_PROMPT, SENTENCE * 5)
    _row(comfy).filter(has_text="由连线输入").wait_for()
    comfy.run()
    comfy.wait_for_picture()
    rest = comfy.page.locator(".zimage-cut[data-field=prompt]")
    rest.wait_for()
    assert rest.locator("s").all_text_contents() == [(SENTENCE * 5)[75:]]
    _row(comfy).filter(has_text=f"✂ 有 {len(SENTENCE) * 5 - 75} 字未读").wait_for()


def test_the_count_can_be_switched_off(comfy: ComfyPage, pack_name: str) -> None:
    """A setting of the page."""
    comfy.open_template(pack_name, TEMPLATE)
    _row(comfy).wait_for()
    switch = "(on) => app.extensionManager.setting.set('ZImage.TokenCount', on)"
    try:
        comfy.page.evaluate(switch, False)
        _row(comfy).wait_for(state="hidden")
    finally:
        comfy.page.evaluate(switch, True)
    _row(comfy).wait_for()


def test_a_refused_workflow_is_explained_on_the_node_in_chinese(
    comfy: ComfyPage, pack_name: str
) -> None:
    """After Run: ring and text on the node with the fault; they go when the user changes it."""
    comfy.open_template(pack_name, TEMPLATE)
    node = comfy.page.evaluate(CUT_LINK)
    comfy.run()
    note = _note(comfy, node)
    note.filter(has_text="潜空间 [ZI-WF-INPUT-MISSING] “解码”缺少必需的输入 samples").wait_for()
    comfy.page.wait_for_function(RING_IS_ON, arg="ZImageDecode")
    comfy.set_widget("ZImageDecode", "tiling", "off")
    note.wait_for(state="detached")


def test_a_node_that_stops_a_run_says_why_in_the_page_s_language(
    comfy: ComfyPage, pack_name: str
) -> None:
    """The coded message of our node, on it, in Chinese alone."""
    comfy.open_template(pack_name, TEMPLATE)
    comfy.set_widget("ZImageLatent", "size", "custom")
    comfy.set_widget("ZImageLatent", "width", 1000)
    comfy.run()
    note = comfy.page.locator(".zimage-note", has_text="[ZI-SIZE] 图像尺寸 1000×1024 无效")
    note.wait_for()
    assert "Invalid image size" not in note.inner_text()
    comfy.page.wait_for_function(RING_IS_ON, arg="ZImageLatent")


def test_a_checked_workflow_is_explained_on_the_node_in_english(
    english: ComfyPage, pack_name: str
) -> None:
    """By the menu's command, without running anything; ring and text follow the node."""
    english.open_template(pack_name, TEMPLATE)
    node = english.page.evaluate(CUT_LINK)
    _command(english)
    note = _note(english, node)
    note.filter(
        has_text='[ZI-WF-INPUT-MISSING] "解码" has no value for its required input samples'
    ).wait_for()
    english.page.evaluate("() => { app.canvas.ds.offset[0] += 111; app.canvas.ds.scale *= 0.9; }")
    english.page.wait_for_function(RING_IS_ON, arg="ZImageDecode")
    note.locator(".zimage-close").click()
    note.wait_for(state="detached")


def test_a_good_workflow_is_said_to_be_good(comfy: ComfyPage, pack_name: str) -> None:
    """From the menu, under its Chinese name."""
    comfy.open_template(pack_name, TEMPLATE)
    comfy.page.locator(".comfy-menu-button-wrapper").click()
    menu = comfy.page.locator("[data-pc-name='tieredmenu']").first
    menu.get_by_text("Z-Image", exact=True).first.hover()
    comfy.page.get_by_text("检查工作流", exact=True).click()
    comfy.page.locator(".p-toast", has_text="工作流没有问题").wait_for()
    assert comfy.page.locator(".zimage-note").count() == 0


def test_a_broken_template_is_not_in_the_dialog(browser, second: Server) -> None:
    """The rest of its group is, and so is the other copy's template of the same name."""
    from zimage_comfyui.tests.browser.page import tab

    with tab(browser, second.url) as comfy:
        comfy.page.locator(".templates-tab-button").click()
        dialog = comfy.page.locator(".workflow-template-selector-dialog")
        dialog.get_by_text(NAME, exact=True).first.click()
        dialog.get_by_test_id("template-workflow-古风插画").wait_for()
        assert dialog.get_by_test_id(f"template-workflow-{TEMPLATE}").count() == 0
    listed = second.client.get("/workflow_templates")
    assert [key for key, names in listed.items() if TEMPLATE in names]
    assert len(told(second)) == 1
