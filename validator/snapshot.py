"""The node classes of the host that this pack is tested with, stored for use without a server."""

from __future__ import annotations

import gzip
import json
from pathlib import Path, PurePosixPath
from typing import Any

from .inputs import UPLOADS
from .json_values import JsonList, JsonObject, is_list
from .knowledge import Knowledge
from .values import MODEL_SUFFIXES

FILE = Path(__file__).with_name("object_info.json.gz")
_STORED_KEYS = ("input", "output", "output_node", "display_name", "python_module")


def compact(document: JsonObject) -> JsonObject:
    """Return an ``/object_info`` reduced to what a check needs and what all machines share.

    Lists of files (models, pictures) become choices that are not known.
    """
    nodes: JsonObject = {}
    for name, entry in sorted(document.items()):
        stored = {key: entry[key] for key in _STORED_KEYS if key in entry}
        stored["input"] = {
            group: {key: _compact_spec(key, spec) for key, spec in inputs.items()}
            for group, inputs in entry["input"].items()
            if group != "hidden"
        }
        # The folder of a pack differs between machines; that the class is from a pack does not.
        stored["python_module"] = str(entry.get("python_module", "")).partition(".")[0]
        nodes[name] = stored
    return nodes


def _compact_spec(name: str, spec: JsonList) -> JsonList:
    type_name: Any = spec[0]
    options: JsonObject = dict(spec[1]) if len(spec) > 1 else {}
    options.pop("tooltip", None)
    choices = type_name if is_list(type_name) else options.get("options")
    lists_folder = name == "folder" or any(map(options.get, UPLOADS))
    if is_list(choices) and (lists_folder or _are_files(choices)):
        options.pop("options", None)
        options.pop("default", None)
        return ["COMBO", {**options, "remote": True}]
    return [type_name, options]


def _are_files(choices: JsonList) -> bool:
    """Return whether choices are model files. An empty list is that of an empty folder."""
    names = (str(choice).lower() for choice in choices)
    return not choices or any(PurePosixPath(name).suffix in MODEL_SUFFIXES for name in names)


def load() -> Knowledge:
    """Return the stored node classes."""
    return Knowledge(json.loads(gzip.decompress(FILE.read_bytes())))


def store(document: JsonObject) -> None:
    """Replace the stored node classes. The same document gives the same bytes."""
    data = json.dumps(compact(document), ensure_ascii=False, separators=(",", ":"))
    FILE.write_bytes(gzip.compress(data.encode(), mtime=0))
