"""``parts``: the table of parts in ``docs/architecture.md``, made from the parts' own metadata.

The sources are parsed and not imported, since the command line needs neither aiohttp nor ComfyUI.
"""

from __future__ import annotations

import argparse
import ast
from pathlib import Path

from ..config import PACK_DIR, Settings
from ..errors.bilingual import Bilingual
from .terminal import DONE, FAILED, result

BEGIN = "<!-- parts:begin -->"
END = "<!-- parts:end -->"
PAGE = Path("docs", "architecture.md")
HEAD = "| Part | Module in `patches/` | Plain ComfyUI | With the part |\n|---|---|---|---|\n"
REGISTRY = Path("base", "registry.py")
LISTS = ("EARLY", "SHARED")
"""Dictionaries of the registry: modules by part, in order."""
FIELDS = ("part", "bare_host", "here")
"""Arguments of ``About`` that the table shows."""
STALE = (
    f"{PAGE} 中的组件表与源码不一致，请运行 ./zimage parts --write。 / "
    f"The table of parts in {PAGE} differs from the sources. Run ./zimage parts --write."
)


class PartsError(ValueError):
    """The page, the registry or a module is not as the table needs it."""


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Write the table into the page, or report that the page has another one."""
    if problem := check(write=options.write):
        result(problem)
        return FAILED
    return DONE


def check(write: bool = False) -> str | None:
    """Return what is wrong with the page, None if it has the current table.

    Args:
        write: write the current table into the page first.
    """
    path = PACK_DIR / PAGE
    try:
        page = path.read_text(encoding="utf-8")
        current = with_table(page, table(PACK_DIR / "patches"))
        if write:
            path.write_text(current, encoding="utf-8")
            page = current
    except PartsError as error:
        return str(error)
    except (OSError, SyntaxError, ValueError) as error:
        return str(
            Bilingual(
                f"无法生成组件表（{error}），请改正后重新运行。",
                f"The table of parts cannot be made ({error}). Correct this and run it again.",
            )
        )
    return None if current == page else STALE


def with_table(page: str, table: str) -> str:
    """Return a page with another table between the two marks.

    Raises:
        PartsError: a mark is missing.
    """
    before, mark, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        text = Bilingual(
            f"{PAGE} 中没有标记 {BEGIN} 和 {END}，请先补上。",
            f"{PAGE} does not have the marks {BEGIN} and {END}. Add them first.",
        )
        raise PartsError(text)
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def table(patches: Path) -> str:
    """Return the table of the parts in a folder ``patches``, in the order of the registry."""
    return HEAD + "".join(row(patches, *part) for part in _modules(patches / REGISTRY).items())


def row(patches: Path, name: str, module: str) -> str:
    """Return the row of a part, from the metadata in its module."""
    path = Path(*module.split(".")).with_suffix(".py")
    about = _about(patches / path)
    if about["part"] != name:
        text = Bilingual(
            f"{path} 中 ABOUT 的 part 是 {about['part']!r}，应为 {name!r}。",
            f"{path}: the part of ABOUT is {about['part']!r}; expected {name!r}.",
        )
        raise PartsError(text)
    return f"| `{name}` | `{path.as_posix()}` | {about['bare_host']} | {about['here']} |\n"


def _modules(registry: Path) -> dict[str, str]:
    """Return the module of each part."""
    values = _assignments(registry)
    missing = [name for name in LISTS if name not in values]
    if missing:
        names = ", ".join(missing)
        raise PartsError(Bilingual(f"{registry} 中没有 {names}。", f"{registry} has no {names}."))
    return {name: path for list in LISTS for name, path in ast.literal_eval(values[list]).items()}


def _about(module: Path) -> dict[str, str]:
    """Return the fields of a module's ``ABOUT``."""
    call = _assignments(module).get("ABOUT")
    words = call.keywords if isinstance(call, ast.Call) else []
    fields = {word.arg: ast.literal_eval(word.value) for word in words if word.arg}
    if not fields.keys() >= set(FIELDS):
        names = ", ".join(FIELDS)
        text = Bilingual(
            f"{module} 中没有带 {names} 的 ABOUT = About(…)。",
            f"{module} has no ABOUT = About(…) with {names}.",
        )
        raise PartsError(text)
    return fields


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
