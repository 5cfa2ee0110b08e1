"""The documents: their links, their commands, and that both languages have the same sections."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from zimage_comfyui.cli.arguments import parse

FOLDERS = (".", "docs", "docs/decisions", "benchmarks", "sandbox/confinement")
ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).glob("*.md")
)
TRANSLATED = [name for name in DOCUMENTS if name.endswith(".zh-CN.md")]
FOLDER_NAMES = (
    "benchmarks|cli|demo|docs|drill|engine|errors|guardian|locales|nodes|page|patches|sandbox|tests"
    "|text|validator|web|workflows"
)
PLACEHOLDER = re.compile(r"[A-Z]{4}")
"""Part of a path that stands for a name, such as ``NAME`` or ``GROUP``."""
SITES = ("https://", "http://", "mailto:")


def read(name: str) -> str:
    """Return a document without its fenced code."""
    return re.sub(r"^```.*?^```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(name: str) -> set[str]:
    """Return the fragments that a document's headings can be linked by, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", read(name), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    """Each file and each section that a document links to exists."""
    for target in re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", read(name)):
        path, _, fragment = "".join(target).partition("#")
        if path.startswith(SITES):
            continue
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        if fragment:
            assert fragment in anchors(file.resolve().relative_to(ROOT).as_posix()), target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_named_files_exist(name: str) -> None:
    """Each file or folder of this repository that a document names exists."""
    named = re.findall(rf"`((?:{FOLDER_NAMES})/[\w./-]*)`", read(name))
    missing = [
        path for path in named if not PLACEHOLDER.search(path) and not (ROOT / path).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_printed_commands_are_understood(name: str) -> None:
    """Each ./zimage line in a document is one that the command line accepts."""
    text = (ROOT / name).read_text(encoding="utf-8")
    lines = re.findall(r"^\./zimage [^#\n]*", text, re.MULTILINE)
    lines += re.findall(r"`(\./zimage [^`]*)`", text)
    for line in lines:
        if "--help" not in line and "[" not in line:
            assert parse(shlex.split(line)[1:]).command


@pytest.mark.parametrize("name", TRANSLATED)
def test_both_languages_have_the_same_sections(name: str) -> None:
    """A Chinese document has as many headings, of the same levels, as its English original."""
    levels = [
        re.findall(r"^(#+) ", read(file), re.MULTILINE)
        for file in (name, name.replace(".zh-CN", ""))
    ]
    assert levels[0] == levels[1]
