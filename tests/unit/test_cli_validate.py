"""What ``validate`` and ``to-api`` print, where, and with which exit code."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from zimage_comfyui.cli import arguments, report, validate
from zimage_comfyui.cli.report import excerpt, painter
from zimage_comfyui.config import Settings

ROOT = Path(__file__).resolve().parents[2]
GOOD = ROOT / "workflows" / "古风插画.json"
HOME = Settings(home=Path("unused"))


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _file(folder: Path, document: object, name: str = "some.json") -> str:
    path = folder / name
    text = document if isinstance(document, str) else json.dumps(document, indent=2)
    path.write_text(text, encoding="utf-8")
    return str(path)


def _prompt(**inputs: Any) -> dict[str, Any]:
    prompt = json.loads((GOOD.parent / "api" / GOOD.name).read_text(encoding="utf-8"))
    sampler = next(node for node in prompt.values() if node["class_type"] == "ZImageSampler")
    sampler["inputs"] |= inputs
    return prompt


# --- validate ------------------------------------------------------------------------------------


def test_a_finding_is_told_with_the_line_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What, where, the line with marks, the same in English, what to do in both languages."""
    text = '{"4": {"class_type": "KSampler",\n  "inputs": {"说": "明", "sampler_name": "eulr"}}}'
    file = _file(tmp_path, text)
    assert validate.run(arguments.parse(["validate", file]), HOME) == 1
    shown = capsys.readouterr().out
    begin = shown.index("error[ZI-WF-CHOICE]")
    lines = shown[begin:].partition("\n\n")[0].split("\n")
    assert lines[0].startswith("error[ZI-WF-CHOICE]: “KSampler”的 sampler_name = eulr 不是有效选项")
    assert lines[1] == f'  --> {file}:2:24 · 节点 node 4 "KSampler" · sampler_name'
    assert lines[2:5] == [
        "   |",
        ' 2 |   "inputs": {"说": "明", "sampler_name": "eulr"}}}',
        "   | " + " " * 25 + "^" * 22,
    ]
    assert lines[5].startswith('  = "KSampler" has sampler_name = eulr, which is not among')
    assert lines[6:] == [
        "  = 建议: 请选择其中之一。是否想写“euler”？",
        '  = help: Choose one of them. Did you mean "euler"?',
    ]
    assert "\x1b" not in shown


def test_what_is_no_json_is_shown_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mark under the very character."""
    file = _file(tmp_path, '{"a": 1,\n "b": }')
    assert validate.run(arguments.parse(["validate", file]), HOME) == 1
    shown = capsys.readouterr().out
    assert f"--> {file}:2:7\n" in shown
    assert ' 2 |  "b": }\n   |       ^\n' in shown
    assert "第 2 行第 7 列应有一个值。\n" in shown


def test_json_has_line_and_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the advice by itself; none where there is no place."""
    file = _file(tmp_path, _prompt(stepz=4))
    assert validate.run(arguments.parse(["validate", "--json", file]), HOME) == 0
    (entry,) = json.loads(capsys.readouterr().out)["files"]
    (found,) = entry["findings"]
    row = Path(file).read_text(encoding="utf-8").split("\n")[found["line"] - 1]
    assert row[found["column"] - 1 :][: found["length"]] == '"stepz": 4'
    assert found["english_help"] == 'Correct its name, or delete it. Did you mean "steps"?' or (
        found["english_help"] == "Correct its name, or delete it."
    )
    validate.run(arguments.parse(["validate", "--json", _file(tmp_path, "{}")]), HOME)
    (found,) = json.loads(capsys.readouterr().out)["files"][0]["findings"]
    assert (found["line"], found["column"]) == (None, None)


def test_a_missing_file_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error; the other files are checked all the same."""
    words = ["validate", str(tmp_path / "no.json"), str(GOOD)]
    assert validate.run(arguments.parse(words), HOME) == 2
    shown = capsys.readouterr()
    assert (shown.out + shown.err).count("找不到文件") == 1
    assert shown.out.startswith("通过 ok")


def test_colours_are_for_terminals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not where somebody wants none."""
    assert "\x1b[" in painter(_Terminal(), HOME)("error", "x")
    assert painter(io.StringIO(), HOME)("error", "x") == "x"
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert painter(_Terminal(), Settings.from_environment(env))("error", "x") == "x"
    assert "\x1b[" in painter(_Terminal(), Settings.from_environment({"NO_COLOR": ""}))("help", "x")


@pytest.mark.parametrize(("text", "column", "length", "expected"), [
    ("abc", 2, 1, ("abc", 1, 1)),
    ("abc", 4, 1, ("abc", 3, 1)),
    ("红b红", 3, 1, ("红b红", 3, 2)),
    ("\ta\x1b[31m", 2, 1, (" a\ufffd[31m", 1, 1)),
    ("x" * 500, 1, 500, ("x" * report.WIDTH + "…", 0, report.WIDTH)),
    ("x" * 500, 500, 1, ("…" + "x" * report.WIDTH, report.WIDTH, 1)),
    ("a" * 200 + "b" + "c" * 200, 201, 1,
     ("…" + "a" * 30 + "b" + "c" * (report.WIDTH - 31) + "…", 31, 1)),
])  # fmt: skip
def test_excerpts(text: str, column: int, length: int, expected: tuple[str, int, int]) -> None:
    """Marks stand under what they are about; long lines are cut, nothing reaches the terminal."""
    assert excerpt(text, column, length) == expected


def test_excerpts_of_long_chinese_lines_keep_the_place() -> None:
    """A character takes two columns, so fewer of them fit."""
    text = "红" * 300
    shown, before, marks = excerpt(text[:299] + "X", 300, 1)
    assert shown.endswith("X")
    assert (before, marks) == (1 + 2 * (len(shown) - 2), 1)


# --- to-api --------------------------------------------------------------------------------------


def _to_api(file: str, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str, str]:
    status = validate.to_api(arguments.parse(["to-api", file, *more]), HOME)
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_to_api_prints_a_whole_workflow(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON, and nothing else."""
    status, out, err = _to_api(str(GOOD), capsys)
    assert (status, err) == (0, "")
    assert json.loads(out) == json.loads((GOOD.parent / "api" / GOOD.name).read_text("utf-8"))


@pytest.mark.parametrize("text", ["[1]", "{", '{"nodes": [{"id": 1, "type": "Nobody"}]}', "{}"])
def test_to_api_prints_nothing_of_a_broken_workflow(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe must not hand on half a prompt; standard error says why."""
    status, out, err = _to_api(_file(tmp_path, text), capsys)
    assert (status, out) == (1, "")
    assert "error[ZI-WF-" in err
    assert "no JSON was printed" in err


def test_to_api_of_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage, told once."""
    status, out, err = _to_api(str(tmp_path / "no.json"), capsys)
    assert (status, out) == (2, "")
    assert err.count("no.json") == 2  # once in each language
    assert len(err.splitlines()) == 1


def test_to_api_needs_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the machine lacks is told; the conversion is whole."""
    info = {"VAELoader": {"input": {"required": {"vae_name": [["a.safetensors"], {}]}},
                          "output": ["VAE"], "output_node": True}}  # fmt: skip
    node = {"id": 1, "type": "VAELoader", "widgets_values": ["b.safetensors"]}
    words = ["--object-info", _file(tmp_path, info, "info.json")]
    status, out, err = _to_api(_file(tmp_path, {"nodes": [node]}), capsys, *words)
    assert status == 0
    assert json.loads(out)["1"]["inputs"] == {"vae_name": "b.safetensors"}
    assert "error[ZI-WF-MODEL]" in err


@pytest.mark.parametrize("command", ["validate", "to-api"])
def test_help_has_examples_and_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In both languages, and says what may follow --object-info."""
    with pytest.raises(SystemExit):
        arguments.parse([command, "--help"])
    shown = capsys.readouterr().out
    assert f"./zimage {command} " in shown
    assert re.search("退出码 / exit codes:\n.*0 ", shown)
    assert "--object-info FILE|URL" in shown
    assert "标准" in shown
