"""The node classes of the host that this pack is tested with, stored for use without a server."""

from __future__ import annotations

import gzip
import json
from pathlib import Path, PurePosixPath
from typing import Any

from .inputs import UPLOADS
from .knowledge import Knowledge
from .values import MODELS

FILE = Path(__file__).with_name("object_info.json.gz")
_KEPT = ("input", "output", "output_node", "display_name", "python_module")


def compact(document: dict[str, Any]) -> dict[str, Any]:
    """An ``/object_info`` without what a check does not need and what differs between machines.

    Lists of files (models, pictures) become choices that are not known.
    """
    nodes = {}
    for name, entry in sorted(document.items()):
        kept = {key: entry[key] for key in _KEPT if key in entry}
        kept["input"] = {
            group: {key: _spec(key, spec) for key, spec in inputs.items()}
            for group, inputs in entry["input"].items()
            if group != "hidden"
        }
        # Which folder a pack lies in differs; that it is a pack does not.
        kept["python_module"] = str(entry.get("python_module", "")).partition(".")[0]
        nodes[name] = kept
    return nodes


def _spec(name: str, spec: list[Any]) -> list[Any]:
    kind, options = spec[0], dict(spec[1]) if len(spec) > 1 else {}
    options.pop("tooltip", None)
    choices = kind if isinstance(kind, list) else options.get("options")
    listed = name == "folder" or any(map(options.get, UPLOADS))
    if isinstance(choices, list) and (listed or _are_files(choices)):
        options.pop("options", None)
        options.pop("default", None)
        kind, options = "COMBO", {**options, "remote": True}
    return [kind, options]


def _are_files(choices: list[Any]) -> bool:
    """A list of model files; an empty one is the listing of an empty folder."""
    names = (str(choice).lower() for choice in choices)
    return not choices or any(PurePosixPath(name).suffix in MODELS for name in names)


def load() -> Knowledge:
    """The stored node classes."""
    return Knowledge(json.loads(gzip.decompress(FILE.read_bytes())))


def store(document: dict[str, Any]) -> None:
    """Replace the stored node classes; the same document gives the same bytes."""
    data = json.dumps(compact(document), ensure_ascii=False, separators=(",", ":"))
    FILE.write_bytes(gzip.compress(data.encode(), mtime=0))
