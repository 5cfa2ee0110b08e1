"""Where ``serve`` keeps people's things, and where its log goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zimage_comfyui.cli import serve
from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.serve import MODEL_KINDS, data_arguments
from zimage_comfyui.cli.server import free_port
from zimage_comfyui.config import PACK_DIR, Settings

FAKE = """
import sys
print("arguments", *sys.argv[1:], flush=True)
print("最后一句", file=sys.stderr)
sys.exit(7)
"""


def test_data_lies_outside_the_embedded_host(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every folder exists, which ComfyUI demands, and is told at the start."""
    arguments = data_arguments(tmp_path, [])
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    for name in ("output", "input", "user"):
        assert given[f"--{name}-directory"] == str(tmp_path / name)
        assert (tmp_path / name).is_dir()
    assert given["--database-url"] == f"sqlite:///{tmp_path}/user/comfyui.db"
    config = json.loads(Path(given["--extra-model-paths-config"]).read_text(encoding="utf-8"))
    for kind in MODEL_KINDS:
        assert config["zimage"][kind] == str(tmp_path / "models" / kind)
        assert (tmp_path / "models" / kind).is_dir()
    assert config["zimage"]["custom_nodes"] == str(tmp_path / "custom_nodes")
    assert (tmp_path / "custom_nodes").is_dir()
    told = capsys.readouterr().err
    assert f"数据目录 {tmp_path}" in told
    assert f"your data is in {tmp_path}" in told


@pytest.mark.parametrize(
    "given", [["--base-directory", "/x"], ["--base-directory=/x"], ["--base-dir", "/x"]]
)
def test_a_base_directory_of_the_person_s_own_wins(tmp_path: Path, given: list[str]) -> None:
    """ComfyUI would let the single directories override it."""
    assert data_arguments(tmp_path, given) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", ["embedded", "argument"])
def test_only_the_embedded_host_s_folders_are_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Somebody's own ComfyUI keeps its folders; what is given after ``--`` comes last and wins."""
    from zimage_comfyui.cli.arguments import parse

    started: list[list[str]] = []
    host = Host(tmp_path, Path("python"), source)
    monkeypatch.setattr(serve, "discover", lambda *_: host)
    monkeypatch.setattr(serve.os, "chdir", lambda _: None)
    monkeypatch.setattr(serve.os, "execve", lambda _path, command, _env: started.append(command))
    port = str(free_port())
    own = ["--output-directory", "/own"]
    words = ["serve", "--guardian", "off", "--port", port, "--", *own]
    serve.run(parse(words), Settings(home=tmp_path / "home"))
    (command,) = started
    assert command[-2:] == own
    assert (f"{tmp_path}/home/data/output" in command) == (source == "embedded")


def test_a_server_without_its_guardian_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a guardian could do nothing; not where nobody wanted one."""
    from zimage_comfyui.cli.arguments import parse

    started: list[dict[str, str]] = []
    monkeypatch.setattr(serve, "discover", lambda *_: Host(tmp_path, Path("python"), "embedded"))
    monkeypatch.setattr(serve.guard, "run", lambda *_: None)
    monkeypatch.setattr(serve.os, "chdir", lambda _: None)
    monkeypatch.setattr(serve.os, "execve", lambda _path, _command, env: started.append(env))
    for wish in ("on", "off"):
        words = ["serve", "--guardian", wish, "--port", str(free_port())]
        serve.run(parse(words), Settings(home=tmp_path / "home"))
    assert ["ZIMAGE_UNGUARDED" in env for env in started] == [True, False]


def _serve(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    host = folder / "ComfyUI"
    (host / "comfy").mkdir(parents=True, exist_ok=True)
    (host / "nodes.py").touch()
    (host / "main.py").write_text(FAKE, encoding="utf-8")
    command = [sys.executable, "-I", str(PACK_DIR / "cli" / "main.py"), "serve"]
    command += ["--guardian", "off", "--comfyui", str(host), "--port", str(free_port())]
    command += ["--", "--own"]
    surroundings = os.environ | {"ZIMAGE_HOME": str(folder / "home")} | env
    surroundings["PYTHONUTF8"] = "1"
    return subprocess.run(
        command, env=surroundings, capture_output=True, text=True, check=False, encoding="utf-8"
    )


def test_the_log_folder_gets_a_copy_of_all_that_comfyui_says(tmp_path: Path) -> None:
    """Both outputs, the last words included, are in the file and still shown; ends add up."""
    for _ in range(2):
        done = _serve(tmp_path, ZIMAGE_LOG_DIR=str(tmp_path / "日志"))
        assert done.returncode == 7, done.stderr
        assert "最后一句" in done.stderr
    log = (tmp_path / "日志" / "comfyui.log").read_text(encoding="utf-8")
    assert log.count("--own\n") == 2
    assert log.count("最后一句\n") == 2


def test_a_log_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Before ComfyUI starts."""
    done = _serve(tmp_path, ZIMAGE_LOG_DIR="/dev/null/logs")
    assert done.returncode == 3
    assert "[ZI-OUTPUT]" in done.stderr
    assert "arguments" not in done.stdout + done.stderr


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The folder that adds the pack to somebody's own ComfyUI has to go somewhere."""
    done = _serve(tmp_path, ZIMAGE_HOME="/dev/null/home", ZIMAGE_LOG_DIR="")
    assert done.returncode == 3
    assert "[ZI-ENV-HOME]" in done.stderr
