"""ComfyUI's page as a person uses it: templates dialog, Run, dropping a file."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

READY = "() => !!window.app?.extensionManager && !!window.LiteGraph?.registered_node_types?.{node}"
DROP = """([name, mime, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: mime }));
  const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
  document.querySelector('#graph-canvas').dispatchEvent(new DragEvent('drop', options));
}"""
PICTURES = """(type) => app.graph.nodes.filter((node) => node.type === type)
  .flatMap((node) => (node.imgs ?? []).filter((image) => image.naturalWidth > 0)
    .map((image) => image.src))"""
TIMEOUT_MS = 300_000  # a page takes seconds; a machine that does other work as well, minutes
MIME = {".webp": "image/webp", ".png": "image/png", ".jpg": "image/jpeg"}


class ComfyPage:
    """One tab on a ComfyUI server.

    Args:
        page: a Playwright page; every wait uses its default timeout.
        url: the server's address without a slash at the end.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url

    def open(self) -> ComfyPage:
        """Load the page and wait until it knows our nodes."""
        self.page.goto(self.url + "/", wait_until="commit")
        self.page.wait_for_function(READY.format(node="ZImageSave"))
        return self

    def open_template(self, pack: str, name: str) -> tuple[int, int]:
        """Templates button, the pack's entry at the left, the template's card.

        Returns:
            Width and height in pixels of the picture on the card.
        """
        self.page.evaluate("() => app.graph.clear()")  # so that the wait is for this template
        self.page.locator(".templates-tab-button").click()
        dialog = self.page.locator(".workflow-template-selector-dialog")
        dialog.get_by_text(pack, exact=True).first.click()
        card = self.page.get_by_test_id(f"template-workflow-{name}")
        card.scroll_into_view_if_needed()  # a card out of sight has no picture yet
        picture = card.locator("img").first
        picture.wait_for()
        size = picture.evaluate(
            "async (image) => { await image.decode();"
            " return [image.naturalWidth, image.naturalHeight]; }"
        )
        card.click()
        dialog.wait_for(state="hidden")
        self.wait_for_graph()
        return tuple(size)

    def wait_for_graph(self) -> None:
        """Wait until the graph holds a save node of ours."""
        self.page.wait_for_function(
            "() => app.graph.nodes.some((node) => node.type === 'ZImageSave')"
        )

    def run(self) -> None:
        """Press Run."""
        self.page.get_by_test_id("queue-button").click()

    def wait_for_picture(self) -> str:
        """The address of the picture that the save node shows, once the page has loaded it."""
        self.page.wait_for_function(f"() => ({PICTURES})('ZImageSave').length > 0")
        return self.page.evaluate(PICTURES, "ZImageSave")[0]

    def drop(self, file: Path) -> None:
        """Drop a file on the canvas and wait for its graph."""
        data = base64.b64encode(file.read_bytes()).decode()
        self.page.evaluate(DROP, [file.name, MIME[file.suffix], data])
        self.wait_for_graph()

    def set_widget(self, node: str, widget: str, value: object) -> None:
        """Give a widget of the only node of a type another value."""
        self.page.evaluate(
            "([type, name, value]) => { app.graph.nodes.find((node) => node.type === type)"
            ".widgets.find((widget) => widget.name === name).value = value; }",
            [node, widget, value],
        )

    def labels(self, node: str) -> dict[str, str]:
        """What a node of a type calls its widgets, by their names."""
        return self.page.evaluate(
            "(type) => Object.fromEntries(LiteGraph.createNode(type).widgets"
            ".map((widget) => [widget.name, widget.label ?? widget.name]))",
            node,
        )

    def api_form(self) -> dict[str, Any]:
        """What Run would send as the prompt."""
        return self.page.evaluate("async () => (await app.graphToPrompt()).output")

    def graph(self) -> dict[str, Any]:
        """The graph as the page saves it, without what changes by looking at it."""
        saved = self.page.evaluate("async () => (await app.graphToPrompt()).workflow")
        saved = {key: value for key, value in saved.items() if key not in {"extra", "config"}}
        saved["nodes"] = sorted(saved["nodes"], key=lambda node: node["id"])
        return saved


@contextmanager
def tab(
    browser: Browser,
    url: str,
    locale: str = "zh-CN",
    width: int = 1600,
    height: int = 950,
    scale: float = 1,
) -> Iterator[ComfyPage]:
    """A fresh page in a fresh profile, with no way out of this machine.

    Args:
        browser: a Playwright browser.
        url: the server's address without a slash at the end.
        locale: the person's language, such as ``en-US``.
        width, height: pixels of the page.
        scale: pixels of a picture for each of them.
    """
    size: Any = {"width": width, "height": height}
    context = browser.new_context(locale=locale, viewport=size, device_scale_factor=scale)
    context.set_default_timeout(TIMEOUT_MS)
    context.route(
        lambda wanted: not wanted.startswith((url, "data:", "blob:")), lambda route: route.abort()
    )
    yield ComfyPage(context.new_page(), url).open()
    context.close()
