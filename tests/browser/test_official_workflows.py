"""Our conversion to API form against the page's own, for every official template and node class.

Equal but for what the page makes up itself: see :func:`differences`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from zimage_comfyui.cli.server import Server
from zimage_comfyui.tests.fakes.workflows import UNKNOWN, check, official
from zimage_comfyui.validator.inputs import LIVE
from zimage_comfyui.validator.knowledge import Knowledge

if TYPE_CHECKING:
    from zimage_comfyui.tests.browser.page import ComfyPage

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BATCH = 48
"""Workflows that one page opens; it keeps every one as a tab and gets slower."""
SEED = 5
SMALL = 320, 240
"""Width and height of the page in pixels: most of the time goes into drawing."""
Prompt = dict[str, Any]

# Dynamic prompts are decided by chance: with this dice by their first choice, as ours are.
CONVERT = """async (graph) => {
  const quiet = { showMissingNodesDialog: false, showMissingModelsDialog: false };
  await app.loadGraphData(graph, true, false, null, quiet);
  const chance = Math.random;
  Math.random = () => 0;
  try { return (await app.graphToPrompt()).output; } finally { Math.random = chance; }
}"""
ONE_OF_EACH = """async (without) => {
  await app.loadGraphData({ nodes: [], links: [], version: 0.4 });
  for (const [type, kind] of Object.entries(LiteGraph.registered_node_types)) {
    if (!kind.nodeData || without.includes(type)) continue;
    app.graph.add(LiteGraph.createNode(type));
  }
  const saved = JSON.parse(JSON.stringify(app.graph.serialize()));
  return [saved, (await app.graphToPrompt()).output];
}"""


@pytest.fixture
def convert(browser, server: Server) -> Iterator:
    """Gives ``(graph) -> prompt`` as an English page makes it; node titles are in its language."""
    from zimage_comfyui.tests.browser.page import tab

    used = 0
    with ExitStack() as opened:
        page: ComfyPage

        def ask(graph: dict[str, Any], script: str = CONVERT) -> Any:
            nonlocal page, used
            if used % BATCH == 0:
                opened.close()
                page = opened.enter_context(tab(browser, server.url, "en-US", *SMALL))
            used += 1
            return page.page.evaluate(script, graph)

        yield ask


@pytest.fixture(scope="module")
def knowledge(server: Server) -> Knowledge:
    """The node classes of the very host that serves the page."""
    return Knowledge(server.client.get("/object_info"))


def test_every_official_template_becomes_what_the_page_sends(convert, knowledge: Knowledge) -> None:
    """All that are made of nodes that the host knows; the others are at least converted."""
    unequal: dict[str, list[str]] = {}
    equal, unknown = 0, []
    for path in official():
        graph = json.loads(path.read_bytes())
        page, ours = convert(graph), check(graph, knowledge).prompt
        if any(knowledge.get(node.get("class_type")) is None for node in page.values()):
            unknown.append(path.stem)
        elif found := differences(page, ours, knowledge):
            unequal[path.stem] = found
        elif drawn := unknown_inputs(page, knowledge):
            unequal[path.stem] = [str(one) for one in drawn]
        else:
            equal += 1
    assert unequal == {}
    assert tuple(unknown) == UNKNOWN
    assert equal == len(official()) - len(unknown) > 180


def test_muted_and_bypassed_nodes_are_left_out_as_the_page_does(
    convert, knowledge: Knowledge
) -> None:
    """A fifth of all nodes muted or bypassed at random: those with subgraphs and every twelfth."""
    dice = random.Random(SEED)
    unequal: dict[str, list[str]] = {}
    changed = 0
    for number, path in enumerate(official()):
        graph = json.loads(path.read_bytes())
        inner = graph.get("definitions", {}).get("subgraphs", [])
        if path.stem in UNKNOWN or (not inner and number % 12):
            continue
        for node in [node for part in (graph, *inner) for node in part["nodes"]]:
            if dice.random() < 0.2:
                node["mode"] = dice.choice([2, 4])
                changed += 1
        if found := differences(convert(graph), check(graph, knowledge).prompt, knowledge):
            unequal[path.stem] = found
    assert unequal == {}
    assert changed > 100


def test_a_new_node_of_every_class_becomes_what_the_page_sends(
    convert, knowledge: Knowledge
) -> None:
    """Fields, their defaults and their order, for all classes but those that look at a camera."""
    filming = [
        name for name, kind in knowledge.kinds.items() if _kinds(kind) & {"WEBCAM", "LOAD_3D"}
    ]
    saved, page = convert(filming, ONE_OF_EACH)
    assert len(page) == len(knowledge.kinds) - len(filming) > 500
    assert differences(page, check(saved, knowledge).prompt, knowledge) == []
    assert unknown_inputs(page, knowledge) == []


def unknown_inputs(page: Prompt, knowledge: Knowledge) -> list[tuple[str, str]]:
    """Inputs of what the page sends that the validator calls unknown; its own fields are not."""
    return [
        (page[found.node]["class_type"], found.input)
        for found in check(page, knowledge).findings
        if found.code == "ZI-WF-INPUT-UNKNOWN"
    ]


def _kinds(kind: Any) -> set[str]:
    return {name for entry in kind.inputs.values() for name in entry.types & LIVE}


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
