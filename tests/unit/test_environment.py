"""Only ``config.py`` reads settings from the environment."""

from __future__ import annotations

import ast
from pathlib import Path

NOT_PRODUCT = {"tests", "benchmarks", "docs", ".git"}
NAMES = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
CHILD = "passes the whole environment to a child process"
EXCEPTIONS = {
    "config.py": "reads all settings",
    "prestartup_script.py": "has to know ZIMAGE_SANDBOX even when no module of the pack loads",
    "patches/base/ram.py": "MALLOC_ARENA_MAX is a variable of glibc, not a setting of the pack",
    "sandbox/policy/grants.py": "passes what is harmless to the worker processes",
    "sandbox/worker/start.py": "replaces a worker's own environment",
    "cli/check.py": CHILD,
    "cli/bench.py": CHILD,
    "cli/install.py": CHILD,
    "cli/serve.py": CHILD,
    "cli/server.py": CHILD,
    "drill/faults/processes.py": CHILD,
}
"""Files that may use the environment, and why."""


def uses(path: Path) -> list[ast.AST]:
    """Return the nodes of a file that name the environment."""
    return [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in NAMES)
        or (isinstance(node, ast.ImportFrom) and {one.name for one in node.names} & NAMES)
    ]


def by_name(path: Path) -> list[ast.AST]:
    """Return the places where a file reads single variables of ``os.environ``."""
    objects: list[ast.AST] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Subscript) or (
            isinstance(node, ast.Attribute) and node.attr in {"get", "pop", "setdefault"}
        ):
            objects.append(node.value)
        elif isinstance(node, ast.Compare):
            objects += node.comparators
    return [one for one in objects if isinstance(one, ast.Attribute) and one.attr in NAMES]


def product(pack_dir: Path) -> dict[str, Path]:
    """Return the Python files of the product by their names in the pack."""
    names = {path.relative_to(pack_dir).as_posix(): path for path in pack_dir.rglob("*.py")}
    return {name: path for name, path in names.items() if name.split("/")[0] not in NOT_PRODUCT}


def test_the_environment_is_used_where_it_is_listed(pack_dir: Path) -> None:
    """Every other file gets its settings from ``config``; nothing is listed that does not."""
    assert {name for name, path in product(pack_dir).items() if uses(path)} == {*EXCEPTIONS}


def test_child_processes_get_a_copy(pack_dir: Path) -> None:
    """Files that pass the environment on read no variable in it."""
    files = product(pack_dir)
    for name in (name for name, reason in EXCEPTIONS.items() if reason == CHILD):
        assert not by_name(files[name]), name
