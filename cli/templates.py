"""The bundled templates in their API form, and what ``demo`` may change in them."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from ..errors.bilingual import Bilingual
from .terminal import LACKING, USAGE, Stop

Graph = dict[str, dict[str, Any]]
"""A prompt as ``POST /prompt`` takes it: node id → ``{"class_type": …, "inputs": {…}}``."""


def names(pack: Path) -> list[str]:
    """Return the names of the bundled templates that have an API form, sorted."""
    return sorted(path.stem for path in (pack / "workflows" / "api").glob("*.json"))


def find(pack: Path, name: str) -> Path:
    """Return the path of a template's API file.

    Raises:
        Stop: ``ZI-TEMPLATE-UNKNOWN`` (usage), with the names of all templates.
    """
    known = names(pack)
    if name not in known:
        if not known:
            raise Stop(LACKING, "ZI-FILE-MISSING", path=f"workflows/api/{name}.json", folder=pack)
        near = _near(name, known)
        chinese = f"是否想写“{'”或“'.join(near)}”？" if near else ""
        english = "Did you mean {}? ".format(" or ".join(near)) if near else ""
        expected, hint = ", ".join(known), Bilingual(chinese, english)
        raise Stop(USAGE, "ZI-TEMPLATE-UNKNOWN", found=name, expected=expected, hint=hint)
    return pack / "workflows" / "api" / f"{name}.json"


def _near(name: str, known: list[str]) -> list[str]:
    """Return at most three names that contain this one or are similar, ignoring case."""
    folded = {candidate.casefold(): candidate for candidate in known}
    name = Path(name).name.removesuffix(".json").casefold()
    containing = [candidate for candidate in folded if name and name in candidate]
    similar = difflib.get_close_matches(name, folded, 3, 0.5)
    return [folded[candidate] for candidate in dict.fromkeys(containing + similar)][:3]


def load(path: Path) -> Graph:
    """Read an API graph."""
    return json.loads(path.read_text(encoding="utf-8"))


def display_names(pack: Path, graph: Graph) -> dict[str, str]:
    """Return the display names of a graph's nodes by id, in Chinese and English.

    A node of another pack has its title.
    """
    named: dict[str, list[str]] = {}
    for language in ("zh", "en"):
        file = pack / "locales" / language / "nodeDefs.json"
        for kind, entry in json.loads(file.read_text(encoding="utf-8")).items():
            named.setdefault(kind, []).append(entry["display_name"])
    names = {}
    for number, node in graph.items():
        kind = str(node.get("class_type", "?"))
        title = str(node.get("_meta", {}).get("title") or kind)
        names[number] = " / ".join(named.get(kind) or [title])
    return names


def with_prompt(graph: Graph, text: str) -> Graph:
    """Return a copy with another prompt.

    The prompt goes to the Edit nodes if there are any, whose reference pictures stay, else to the
    text-encode nodes. Negative prompts stay, too.
    """
    kinds = {node.get("class_type") for node in graph.values()}
    kind = "ZImageEdit" if "ZImageEdit" in kinds else "ZImageTextEncode"
    return _with_input(graph, kind, "prompt", text)


def with_seed(graph: Graph, seed: int) -> Graph:
    """Return a copy whose samplers use ``seed`` (0 to 2^64-1)."""
    return _with_input(graph, "ZImageSampler", "seed", seed)


def _with_input(graph: Graph, class_type: str, name: str, value: object) -> Graph:
    return {
        key: {**node, "inputs": {**node["inputs"], name: value}}
        if node.get("class_type") == class_type
        else node
        for key, node in graph.items()
    }
