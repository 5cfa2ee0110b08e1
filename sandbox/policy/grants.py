"""What the process of a pack may access, from its rule and the host's folders."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..confinement.environment import scrub
from .policy import GIB, PackRule

NO_CODE = frozenset(
    {"custom_nodes", "user", "output", "temp", "input", "models", ".git", "tests", "tests-unit"}
)
"""Folders of ComfyUI without code that a pack imports."""


def environment(
    home: Path, gpu: bool, variables: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment of a worker: harmless variables, and those granted to it.

    Args:
        home: the pack's home folder.
        gpu: whether it may use CUDA.
        variables: granted ones; the value ``~`` is the home folder.
    """
    environ = scrub(os.environ, str(home), str(home / "tmp"), gpu)
    if not gpu:
        environ["CUDA_VISIBLE_DEVICES"] = ""
    for name, value in (variables or {}).items():
        environ[name] = str(home) if value == "~" else value
    environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"  # fewer page faults for large results
    return environ


def comfyui() -> str:
    """Return the folder of the host's code."""
    import folder_paths

    return os.path.dirname(os.path.abspath(str(folder_paths.__file__)))


def jail(path: str, home: Path, directories: dict[str, str], rule: PackRule) -> dict[str, Any]:
    """Return the arguments of :class:`confinement.Jail` for a pack.

    Args:
        path: its folder or file.
        home: its home folder.
        directories: ComfyUI's folders as the pack sees them, by name.
        rule: what it may do.
    """
    sandbox = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return {
        "read": [
            *_code(),
            *_models(),
            path,
            os.path.realpath(path),
            directories["input"],
            sandbox,
            *rule.read,
        ],
        "write": [
            str(home),
            directories["temp"],
            *(path if folder == "." else folder for folder in rule.write),
        ],
        "create": [directories["output"]],
        "network": rule.network,
        "gpu": rule.gpu,
        "processes": rule.processes,
        "memory": int(rule.memory * GIB),
        "tasks": rule.tasks,
    }


def _code() -> list[str]:
    base = comfyui()
    return [os.path.join(base, name) for name in os.listdir(base) if name not in NO_CODE]


def _models() -> list[str]:
    import folder_paths

    kinds = folder_paths.folder_names_and_paths.items()
    return [path for kind, (paths, _) in kinds if kind != "custom_nodes" for path in paths]
