"""``./zimage validate`` and ``to-api`` as processes, and the stored node classes against a host."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from zimage_comfyui.cli.client import Client
from zimage_comfyui.cli.server import Server
from zimage_comfyui.validator import snapshot
from zimage_comfyui.validator.knowledge import Knowledge


def _run(pack: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(pack / "cli" / "main.py"), *arguments]
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=300, check=False
    )


def test_bundled_templates_pass(pack_dir: Path) -> None:
    """Without a file, the templates of the pack are checked."""
    done = _run(pack_dir, "validate", "--json")
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    assert {Path(entry["file"]).stem for entry in report["files"]} >= {"电商海报生成", "古风插画"}


def test_a_broken_workflow_is_told_like_a_compiler_tells(pack_dir: Path, server: Server) -> None:
    """Code, place and advice in both languages, exit code 1; node classes from the live server."""
    graph = json.loads((pack_dir / "workflows/api/古风插画.json").read_text(encoding="utf-8"))
    graph["4"]["inputs"]["sampler_name"] = "eulr"
    done = _run(pack_dir, "validate", "-", "--object-info", server.url, text=json.dumps(graph))
    assert done.returncode == 1
    assert "error[ZI-WF-CHOICE]" in done.stdout
    assert re.search(r"--> -:1:\d+ · 节点 node 4", done.stdout)
    assert 'Choose one of them. Did you mean "euler"?' in done.stdout


@pytest.mark.parametrize("name", ["电商海报生成", "古风插画"])
def test_to_api_prints_what_the_server_accepts(pack_dir: Path, client: Client, name: str) -> None:
    """The output of the command is a prompt."""
    done = _run(pack_dir, "to-api", str(pack_dir / "workflows" / f"{name}.json"))
    assert done.returncode == 0, done.stderr
    status, answer = client.submit(json.loads(done.stdout))
    assert status == 200, answer
    client.request("/queue", {"delete": [answer["prompt_id"]]})
    client.request("/interrupt", {})


def test_files_that_are_not_there_are_usage_errors(pack_dir: Path, tmp_path: Path) -> None:
    """Exit code 2 and the path."""
    done = _run(pack_dir, "validate", str(tmp_path / "no.json"))
    assert (done.returncode, "no.json" in done.stderr) == (2, True)
    (tmp_path / "info.json").write_text("[]")
    arguments = ["validate", "--object-info", str(tmp_path / "info.json")]
    done = _run(pack_dir, *arguments)
    assert (done.returncode, "ZI-OBJECT-INFO" in done.stderr) == (2, True)


def test_stored_node_classes_are_those_of_the_host(server: Server, client: Client) -> None:
    """The embedded host and this pack; ``./zimage lock`` stores them anew."""
    if server.host.source != "embedded":
        pytest.skip("another ComfyUI than the embedded one / 不是内置的 ComfyUI")
    live = snapshot.compact(client.get("/object_info"))
    assert snapshot.load().node_classes == Knowledge(live).node_classes
