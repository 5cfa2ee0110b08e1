"""The table of parts in the documentation is made from the parts."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import pytest

from zimage_comfyui.cli import parts_table
from zimage_comfyui.cli.arguments import parse
from zimage_comfyui.cli.terminal import DONE, FAILED
from zimage_comfyui.config import Settings
from zimage_comfyui.patches.base.registry import MODULES, NAMES

ABOUT = 'ABOUT = About(part="{part}", bare_host="It " "fails.", here="It works.")\n'
REGISTRY = 'EARLY = {"b": "two.b"}\n"""About it."""\nSHARED = {"a": "one.a_part"}\n'


@pytest.fixture
def patches(tmp_path: Path) -> Path:
    """A folder with two parts."""
    for path, text in {
        "base/registry.py": REGISTRY,
        "one/a_part.py": ABOUT.format(part="a"),
        "two/b.py": "import nothing_that_exists\n\n" + ABOUT.format(part="b"),
    }.items():
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return tmp_path


def test_a_row_for_each_part_in_the_order_of_the_registry(patches: Path) -> None:
    """The modules are not imported."""
    assert parts_table.table(patches) == parts_table.HEAD + (
        "| `b` | `two/b.py` | It fails. | It works. |\n"
        "| `a` | `one/a_part.py` | It fails. | It works. |\n"
    )


@pytest.mark.parametrize(
    "text", ["", ABOUT.format(part="other"), "ABOUT = 1\n", "ABOUT = About()\n"]
)
def test_a_part_without_a_row_of_its_own_is_an_error(patches: Path, text: str) -> None:
    """A module that says nothing, or speaks of another part, is named."""
    (patches / "two" / "b.py").write_text(text)
    with pytest.raises(ValueError, match=r"two.b\.py"):
        parts_table.table(patches)


def test_only_the_table_of_a_page_changes() -> None:
    """The text around it stays; a page that has it already stays the same."""
    page = f"before\n{parts_table.BEGIN}\nold\n{parts_table.END}\nafter\n"
    changed = parts_table.with_table(page, "new\n")
    assert changed == f"before\n{parts_table.BEGIN}\n\nnew\n\n{parts_table.END}\nafter\n"
    assert parts_table.with_table(changed, "new\n") == changed
    for mark in (parts_table.BEGIN, parts_table.END):
        with pytest.raises(ValueError, match="parts:"):
            parts_table.with_table(page.replace(mark, ""), "new\n")


@pytest.mark.parametrize("option", [[], ["--write"]])
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("docs/architecture.md", "no marks\n"),
        ("docs/architecture.md", None),
        ("patches/base/registry.py", "EARLY = {}\n"),
        ("patches/base/registry.py", "EARLY = {\n"),
        ("patches/base/registry.py", "EARLY = SHARED = f()\n"),
        ("patches/two/b.py", None),
        ("patches/two/b.py", "ABOUT = 1\n"),
    ],
)
def test_what_hinders_the_table_is_reported(
    patches: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: list[str],
    path: str,
    text: str | None,
) -> None:
    """With and without ``--write``, as one line in both languages and exit code 1."""
    pack = tmp_path / "pack"
    shutil.copytree(patches, pack / "patches")
    page = pack / parts_table.PAGE
    page.parent.mkdir()
    page.write_text(f"{parts_table.BEGIN}{parts_table.END}", encoding="utf-8")
    if text is None:
        (pack / path).unlink()
    else:
        (pack / path).write_text(text)
    monkeypatch.setattr(parts_table, "PACK_DIR", pack)
    options = parse(["parts", *option])
    assert parts_table.run(options, Settings(home=tmp_path)) == FAILED
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    chinese, _, english = shown.strip().partition("。 / ")
    assert not chinese.isascii()
    assert english.endswith(".")


def test_the_page_is_written(
    patches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After ``--write`` the page has the current table."""
    pack = tmp_path / "pack"
    shutil.copytree(patches, pack / "patches")
    page = pack / parts_table.PAGE
    page.parent.mkdir()
    page.write_text(f"{parts_table.BEGIN}{parts_table.END}", encoding="utf-8")
    monkeypatch.setattr(parts_table, "PACK_DIR", pack)
    assert parts_table.check() == parts_table.STALE
    assert parts_table.run(parse(["parts", "--write"]), Settings(home=tmp_path)) == DONE
    assert parts_table.check() is None


def test_the_page_has_the_table_of_the_parts(pack_dir: Path) -> None:
    """``./zimage parts --write`` was run after the last change of a part."""
    assert parts_table.check() is None
    table = parts_table.table(pack_dir / "patches")
    assert table.count("\n") == len(NAMES) + 2


@pytest.mark.parametrize("name", NAMES)
def test_a_part_has_the_metadata_that_the_table_shows(name: str, pack_dir: Path) -> None:
    """What is read from the source is what the module has once it is imported."""
    about = importlib.import_module(f"zimage_comfyui.patches.{MODULES[name]}").ABOUT
    path = MODULES[name].replace(".", "/")
    row = f"| `{name}` | `{path}.py` | {about.bare_host} | {about.here} |\n"
    assert about.part == name
    assert parts_table.row(pack_dir / "patches", name, MODULES[name]) == row
