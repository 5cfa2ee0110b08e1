"""Our conversion to API form beside the page's own, for the browser tests and the benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from playwright.sync_api import Browser

from zimage_comfyui.tests.browser.page import ComfyPage, tab
from zimage_comfyui.tests.fakes.workflows import check
from zimage_comfyui.validator.knowledge import Knowledge

BATCH = 48
"""Workflows that one page opens; it keeps every one as a tab and gets slower."""
SMALL = 320, 240
"""Width and height of the page in pixels: most of the time goes into drawing."""
Prompt = dict[str, Any]
Ask = Callable[..., Any]

# Dynamic prompts are decided by chance: with this dice by their first choice, as ours are.
CONVERT = """async (graph) => {
  const quiet = { showMissingNodesDialog: false, showMissingModelsDialog: false };
  await app.loadGraphData(graph, true, false, null, quiet);
  const chance = Math.random;
  Math.random = () => 0;
  try { return (await app.graphToPrompt()).output; } finally { Math.random = chance; }
}"""


@contextmanager
def converter(browser: Browser, url: str) -> Iterator[Ask]:
    """Gives ``(graph) -> prompt`` as an English page makes it; node titles are in its language."""
    used = 0
    with ExitStack() as opened:
        page: ComfyPage

        def ask(graph: object, script: str = CONVERT) -> Any:
            nonlocal page, used
            if used % BATCH == 0:
                opened.close()
                page = opened.enter_context(tab(browser, url, "en-US", *SMALL))
            used += 1
            return page.page.evaluate(script, graph)

        yield ask


def foreign(graph: Prompt, page: Prompt, knowledge: Knowledge) -> list[str]:
    """Node classes that the host does not have; the page sends such nodes, without a class."""
    saved = {str(node["id"]): node["type"] for node in graph["nodes"]}
    classes = {
        number: node.get("class_type") or saved.get(number, "?") for number, node in page.items()
    }
    return sorted({name for name in classes.values() if knowledge.get(name) is None})


def compared(graph: Prompt, page: Prompt, knowledge: Knowledge) -> list[str]:
    """What differs between both conversions, or what the validator would not know; empty if none.

    Args:
        graph: as the page saves it.
        page: what the page makes of it; all of its nodes are known.
    """
    found = differences(page, check(graph, knowledge).prompt, knowledge)
    return found or [str(one) for one in unknown_inputs(page, knowledge)]


def unknown_inputs(page: Prompt, knowledge: Knowledge) -> list[tuple[str, str]]:
    """Inputs of what the page sends that the validator calls unknown; its own fields are not."""
    return [
        (page[found.node]["class_type"], found.input)
        for found in check(page, knowledge).findings
        if found.code == "ZI-WF-INPUT-UNKNOWN"
    ]


def differences(page: Prompt, ours: Prompt | None, knowledge: Knowledge) -> list[str]:
    """What differs and could matter. What cannot:

    - the order of nodes and inputs, and 1 against 1.0, which JavaScript does not tell apart;
    - fields that extensions of the page draw for themselves: the node class has no such input, and
      the host does not look at it;
    - titles of nodes that nobody named: the page has translations of its own, into English too.
    """
    found = []
    for number in sorted({*page, *(ours or {})}):
        theirs, mine = page.get(number), (ours or {}).get(number)
        if theirs is None or mine is None or theirs["class_type"] != mine["class_type"]:
            found.append(f"{number}: {theirs} / {mine}")
            continue
        kind = knowledge.get(mine["class_type"])
        assert kind is not None
        for name in {**theirs["inputs"], **mine["inputs"]}:
            drawn = name not in mine["inputs"] and name not in kind.inputs
            both = [
                json.dumps(side["inputs"].get(name, ...), default=str) for side in (theirs, mine)
            ]
            if both[0] != both[1] and not drawn and not _same_number(theirs, mine, name):
                found.append(f"{number} {kind.name}.{name}: {both[0]} / {both[1]}")
        titles = theirs["_meta"]["title"], mine["_meta"]["title"]
        if titles[0] != titles[1] != kind.title:
            found.append(f"{number} {kind.name}: {titles}")
    return found


def _same_number(theirs: Prompt, mine: Prompt, name: str) -> bool:
    pair = [side["inputs"].get(name) for side in (theirs, mine)]
    return pair[0] == pair[1] and all(type(value) in (int, float) for value in pair)
