"""The page of results: sections with tables, each from a stored run, in two languages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _common

_common.load_pack()

from zimage_comfyui.errors.bilingual import Bilingual  # noqa: E402 - the pack is loaded by path

Text = str | Bilingual
"""A text in both languages, or the same in both."""


@dataclass(frozen=True)
class Table:
    """A header and rows with the same number of cells."""

    head: Sequence[Text]
    rows: Sequence[Sequence[Text]]


@dataclass(frozen=True)
class Section:
    """The results of a run; ``parts`` are tables, sentences and pictures, in order."""

    title: Text
    question: Text
    parts: Sequence[Table | Text]
    command: str


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """Return a stored result of this kind of machine, or None."""
    path = folder / f"{name}-cpu.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def picture(file: str, english: str, chinese: str) -> Text:
    """Return the Markdown of a picture; its path is relative to docs/."""
    return Bilingual(f"![{chinese}]({file})", f"![{english}]({file})")


def met(good: bool) -> Text:
    """Return whether a goal was reached; a missed goal is bold."""
    return Bilingual("达到", "met") if good else Bilingual("**未达到**", "**not met**")


def share(right: int, of: int) -> str:
    """Return text such as ``198/200 (99.0 %)``."""
    return f"{right}/{of} ({right / of:.1%})" if of else "–"


def named(names: Mapping[str, Text], key: str) -> Text:
    """Return the name of a figure, or its key if it has no name."""
    return names.get(key, key)


def in_language(text: Text, language: str) -> str:
    """Return the text in a language."""
    if isinstance(text, str):
        return text
    return text.chinese if language == "zh" else text.english


def render(section: Section, run: dict[str, Any], language: str) -> str:
    """Return a section in Markdown; ``run`` is the stored document."""
    lines = [f"## {in_language(section.title, language)}", ""]
    lines += [in_language(section.question, language), ""]
    for part in section.parts:
        lines += [
            *(_table(part, language) if isinstance(part, Table) else [in_language(part, language)]),
            "",
        ]
    return "\n".join([*lines, in_language(origin(run, section.command), language), ""])


def _table(table: Table, language: str) -> list[str]:
    def row(cells: Sequence[Text]) -> str:
        return "| " + " | ".join(in_language(cell, language) for cell in cells) + " |"

    return [row(table.head), "|---" + "|--:" * (len(table.head) - 1) + "|", *map(row, table.rows)]


def origin(run: dict[str, Any], command: str) -> Text:
    """Return machine, date, commit and the command that repeats the run."""
    machine = run.get("machine")
    where = run.get("where", "")
    if machine:
        gpus = ", ".join(str(gpu) for gpu in machine["gpus"])
        where = f"{machine['cpu']}, {machine['cores']} cores, {machine['ram_gib']} GiB, "
        where += f"{gpus or 'no GPU'}, {machine['os']}, torch {machine['torch']}, "
        where += f"diffusers {machine['diffusers']}, ComfyUI {run['host']}"
    note = f" ({run['note']})" if run.get("note") else ""
    file = f"../benchmarks/results/{run['file']}"
    end = f"[`{run['file']}`]({file}) · `{command}`"
    date, commit = run["date"][:10], run["commit"]
    changed = Bilingual("", "")
    if commit.endswith("+"):
        changed = Bilingual(" (有未提交的改动)", " (a tree with changes)")
    line = "<sub>{where}{note} · {date} · {word} {commit}{changed} · {end}</sub>"
    return Bilingual(line, line).format(
        where=where,
        note=note,
        date=date,
        word=Bilingual("提交", "commit"),
        commit=commit.rstrip("+"),
        changed=changed,
        end=end,
    )
