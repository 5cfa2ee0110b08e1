"""What the process of a pack may touch, from its rule and the host's folders."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .policy import GIB, Rule

LEFT_OUT = frozenset(
    {"custom_nodes", "user", "output", "temp", "input", "models", ".git", "tests", "tests-unit"}
)
"""Folders of ComfyUI that are no code."""


def environment(
    home: Path, gpu: bool, variables: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Variables of a worker: nothing that a stranger should know, and what is granted to it."""
    from ..confinement.environment import scrub

    found = scrub(os.environ, str(home), str(home / "tmp"), gpu)
    if not gpu:
        found["CUDA_VISIBLE_DEVICES"] = ""
    for name, value in (variables or {}).items():
        found[name] = str(home) if value == "~" else value
    found["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"  # large results without page faults
    return found


def comfyui() -> str:
    """The folder of the host's code."""
    import folder_paths

    return os.path.dirname(os.path.abspath(str(folder_paths.__file__)))


def jail(path: str, home: Path, directories: dict[str, str], rule: Rule) -> dict[str, Any]:
    """The arguments of :class:`confinement.Jail`."""
    import folder_paths

    base = comfyui()
    code = [os.path.join(base, one) for one in os.listdir(base) if one not in LEFT_OUT]
    models = [one for kind, (paths, _) in folder_paths.folder_names_and_paths.items()
              if kind != "custom_nodes" for one in paths]  # fmt: skip
    write = [path if one == "." else one for one in rule.write]
    return {
        "read": [*code, *models, path, os.path.realpath(path), directories["input"],
                 os.path.dirname(os.path.dirname(os.path.abspath(__file__))), *rule.read],
        "write": [str(home), directories["temp"], *write],
        "create": [directories["output"]],
        "network": rule.network,
        "gpu": rule.gpu,
        "processes": rule.processes,
        "memory": int(rule.memory * GIB),
        "tasks": rule.tasks,
    }  # fmt: skip
