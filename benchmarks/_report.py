"""The page of results: sections of tables, each from one stored run, in two languages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Text = str | tuple[str, str]
"""English and Chinese, or the same in both."""
LANGUAGES = {"en": 0, "zh": 1}


@dataclass(frozen=True)
class Table:
    """A head and rows of as many cells."""

    head: Sequence[Text]
    rows: Sequence[Sequence[Text]]


@dataclass(frozen=True)
class Section:
    """What one run has shown. ``parts`` are tables, sentences and pictures, in their order."""

    title: Text
    question: Text
    parts: Sequence[Table | Text]
    command: str


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """A stored result of this machine kind, or None."""
    path = folder / f"{name}-cpu.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def picture(file: str, english: str, chinese: str) -> Text:
    """A picture by its path from docs/."""
    return f"![{english}]({file})", f"![{chinese}]({file})"


def met(good: bool) -> Text:
    """Whether a goal was reached, so that a missed one is seen at once."""
    return ("met", "达到") if good else ("**not met**", "**未达到**")


def share(right: int, of: int) -> str:
    """``198/200 (99.0 %)``."""
    return f"{right}/{of} ({right / of:.1%})" if of else "–"


def named(names: Mapping[str, Text], key: str) -> Text:
    """The name of a figure, or its key where it has none yet."""
    return names.get(key, key)


def in_language(text: Text, language: str) -> str:
    """One of both."""
    return text if isinstance(text, str) else text[LANGUAGES[language]]


def render(section: Section, run: dict[str, Any], language: str) -> str:
    """A section in Markdown; ``run`` is the stored document."""
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
    """Machine, date, commit and the command that repeats it."""
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
    changed = ("a tree with changes", "有未提交的改动") if commit.endswith("+") else ("", "")
    commit = commit.rstrip("+")
    return tuple(
        f"<sub>{where}{note} · {date} · {word} {commit}{f' ({more})' if more else ''} · {end}</sub>"
        for word, more in zip(("commit", "提交"), changed, strict=True)
    )  # type: ignore[return-value]
