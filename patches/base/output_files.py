"""The files that documents of the host, such as prompts and results, refer to."""

from __future__ import annotations

import os
import re
from typing import Any

_ANNOTATION = re.compile(r" ?\[(input|output|temp)\]$")
_MAX_PATH = 4096
"""Characters of a path on Linux; longer texts are no paths."""


def referenced_files(values: list[Any]) -> set[str]:
    """Return every path that documents may refer to, and other texts.

    Results refer to files by ``{"filename", "subfolder"}``, inputs by ``sub/name.png [output]`` or
    by path. The function does not check which folder is meant: it returns too many paths rather
    than too few.
    """
    pending = list(values)
    paths: set[str] = set()
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            name, subfolder = value.get("filename"), value.get("subfolder")
            if isinstance(name, str) and isinstance(subfolder, str):
                paths.add(os.path.normpath(os.path.join(subfolder, name)))
                value = {**value, "filename": ""}
            pending.extend(value.values())
        elif isinstance(value, (list, tuple)):
            pending.extend(value)
        elif isinstance(value, str) and len(value) <= _MAX_PATH:
            paths.add(os.path.normpath(_ANNOTATION.sub("", value)))
    return paths
