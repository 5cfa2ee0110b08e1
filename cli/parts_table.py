"""``parts``: the table of parts in ``docs/architecture.md``, made from the parts' own metadata.

The sources are parsed and not imported, since the command line needs neither aiohttp nor ComfyUI.
"""

from __future__ import annotations

import argparse
import ast
from pathlib import Path

from ..config import PACK_DIR, Settings
from .terminal import DONE, FAILED, result

BEGIN = "<!-- parts:begin -->"
END = "<!-- parts:end -->"
PAGE = Path("docs", "architecture.md")
HEAD = "| Part | Module in `patches/` | Plain ComfyUI | With the part |\n|---|---|---|---|\n"
REGISTRY = Path("base", "registry.py")
LISTS = ("EARLY", "SHARED")
"""Dictionaries of the registry: modules by part, in order."""
STALE = (
    f"{PAGE}: 组件表与源码不一致，请运行 ./zimage parts --write / "
    "the table of parts differs from the sources; run ./zimage parts --write"
)


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Write the table into the page, or report that the page has another one."""
    if options.write:
        page = PACK_DIR / PAGE
        text = with_table(page.read_text(encoding="utf-8"), table(PACK_DIR / "patches"))
        page.write_text(text, encoding="utf-8")
    elif problem := check():
        result(problem)
        return FAILED
    return DONE


def check() -> str | None:
    """Return what is wrong with the page, None if it has the current table."""
    page = (PACK_DIR / PAGE).read_text(encoding="utf-8")
    try:
        current = with_table(page, table(PACK_DIR / "patches"))
    except ValueError as error:
        return str(error)
    return None if current == page else STALE


def with_table(page: str, table: str) -> str:
    """Return a page with another table between the two marks.

    Raises:
        ValueError: a mark is missing.
    """
    before, mark, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"{BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def table(patches: Path) -> str:
    """Return the table of the parts in a folder ``patches``, in the order of the registry."""
    return HEAD + "".join(row(patches, *part) for part in _modules(patches / REGISTRY).items())


def row(patches: Path, name: str, module: str) -> str:
    """Return the row of a part, from the metadata in its module."""
    path = Path(*module.split(".")).with_suffix(".py")
    about = _about(patches / path)
    if about["part"] != name:
        raise ValueError(f"{path}: ABOUT.part = {about['part']!r}, {name!r}")
    return f"| `{name}` | `{path.as_posix()}` | {about['bare_host']} | {about['here']} |\n"


def _modules(registry: Path) -> dict[str, str]:
    """Return the module of each part."""
    values = _assignments(registry)
    return {name: path for list in LISTS for name, path in ast.literal_eval(values[list]).items()}


def _about(module: Path) -> dict[str, str]:
    """Return the fields of a module's ``ABOUT``."""
    call = _assignments(module).get("ABOUT")
    if not isinstance(call, ast.Call):
        raise ValueError(f"{module}: ABOUT = About(…)")
    return {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}


def _assignments(module: Path) -> dict[str, ast.expr]:
    """Return the values of a module's assignments to single names."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    return {
        target.id: statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
