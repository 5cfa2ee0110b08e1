"""Our conversion to API form against the page's own, for every official template and node class.

Equal but for what the page makes up itself: see ``conversion.differences``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from zimage_comfyui.cli.server import Server
from zimage_comfyui.tests.browser.conversion import (
    compared,
    converter,
    differences,
    foreign,
    unknown_inputs,
)
from zimage_comfyui.tests.fakes.workflows import UNKNOWN, check, official
from zimage_comfyui.validator.inputs import LIVE
from zimage_comfyui.validator.knowledge import Knowledge

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SEED = 5
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
    """Gives ``(graph) -> prompt`` as the page makes it."""
    with converter(browser, server.url) as ask:
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
        page = convert(graph)
        if foreign(graph, page, knowledge):
            unknown.append(path.stem)
        elif found := compared(graph, page, knowledge):
            unequal[path.stem] = found
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
        name
        for name, kind in knowledge.node_classes.items()
        if _kinds(kind) & {"WEBCAM", "LOAD_3D"}
    ]
    saved, page = convert(filming, ONE_OF_EACH)
    assert len(page) == len(knowledge.node_classes) - len(filming) > 500
    assert differences(page, check(saved, knowledge).prompt, knowledge) == []
    assert unknown_inputs(page, knowledge) == []


def _kinds(kind: Any) -> set[str]:
    return {name for entry in kind.inputs.values() for name in entry.types & LIVE}
