"""The commands as a person runs them: real processes, a real ComfyUI."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from zimage_comfyui.cli.client import Client
from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.server import free_port

STOCK = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 32, "height": 16, "batch_size": 2, "color": 255},
    },
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}
FAILING = {
    **STOCK,
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "../../x"}},
}


@pytest.fixture(scope="module")
def copy(pack_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack in a folder with spaces and Chinese characters, with templates of stock nodes."""
    folder = tmp_path_factory.mktemp("cli") / "我的 节点 (pack)"
    skipped = shutil.ignore_patterns(".git", "__pycache__", "tests", "demo", "workflows")
    shutil.copytree(pack_dir, folder, ignore=skipped)
    api = folder / "workflows" / "api"
    api.mkdir(parents=True)
    for name, graph in {"空白": STOCK, "越界": FAILING}.items():
        (api / f"{name}.json").write_text(json.dumps(graph), encoding="utf-8")
    return folder


def _command(pack: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-I", str(pack / "cli" / "main.py"), *arguments]


def _run(pack: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(pack, *arguments), capture_output=True, text=True, timeout=600, check=False
    )


def test_demo_saves_the_pictures_and_stops_the_server(
    copy: Path, host: Host, tmp_path: Path
) -> None:
    """Two pictures, files named after the template, one JSON document on standard output."""
    arguments = [
        "--template",
        "空白",
        "--json",
        "--comfyui",
        str(host.path),
        "--out",
        str(tmp_path),
    ]
    done = _run(copy, "demo", *arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [Path(file).name for file in report["files"]] == ["空白.png", "空白-2.png"]
    for file in report["files"]:
        assert Path(file).read_bytes().startswith(b"\x89PNG")
    assert 0 < report["seconds"]["generate"] < report["seconds"]["total"]
    assert "EmptyImage" in done.stderr
    assert not _processes_with(str(copy))


def test_demo_that_fails_tells_the_server_s_reason(copy: Path, host: Host, tmp_path: Path) -> None:
    """Exit code 1, the reason on standard error, nothing on standard output, no file left."""
    arguments = ["--template", "越界", "--comfyui", str(host.path), "--out", str(tmp_path)]
    done = _run(copy, "demo", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert "ZI-RUN-FAILED" in done.stderr
    assert "outside the output folder" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_demo_refuses_an_out_folder_that_cannot_be_written(copy: Path, host: Host) -> None:
    """Before any server is started."""
    done = _run(
        copy, "demo", "--template", "空白", "--comfyui", str(host.path), "--out", "/dev/null/x"
    )
    assert done.returncode == 3
    assert "ZI-OUTPUT" in done.stderr
    assert "启动 ComfyUI" not in done.stderr


def test_serve_answers_on_loopback_until_it_is_told_to_stop(copy: Path, host: Host) -> None:
    """The pack is loaded from a folder with spaces and Chinese characters; SIGTERM ends it."""
    port = free_port()
    command = _command(copy, "serve", "--port", str(port), "--comfyui", str(host.path))
    env = os.environ | {"ZIMAGE_HOME": str(copy.parent / "home")}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            _await_line(process, "To see the GUI go to")
            client = Client(f"http://127.0.0.1:{port}")
            assert "ZImageSampler" in client.get("/object_info/ZImageSampler")
            with pytest.raises(OSError, match=r"."):
                socket.create_connection((_other_address(), port), timeout=2).close()
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
    assert not client.answers()


def test_killed_demo_leaves_no_server_behind(copy: Path, host: Host) -> None:
    """SIGKILL cannot be handled; the ComfyUI that it started ends all the same."""
    import psutil

    arguments = ["--template", "空白", "--out", str(copy.parent), "--comfyui", str(host.path)]
    command = _command(copy, "demo", *arguments)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        _await_line(process, "starting ComfyUI")
        while not (children := psutil.Process(process.pid).children(recursive=True)):
            assert process.poll() is None
        process.kill()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive


def test_serve_on_a_port_in_use_is_told_at_once(copy: Path, host: Host) -> None:
    """Exit code 3 and the option that helps."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = _run(copy, "serve", "--port", port, "--comfyui", str(host.path))
    assert done.returncode == 3
    assert f"[ZI-PORT-USED] 端口 {port} 已被占用" in done.stderr
    assert "--port" in done.stderr


def test_serve_on_a_foreign_address_is_told_at_once(copy: Path, host: Host) -> None:
    """An address that is not this machine's."""
    done = _run(copy, "serve", "--host", "192.0.2.1", "--comfyui", str(host.path))
    assert done.returncode == 3
    assert "ZI-ADDRESS" in done.stderr


def test_doctor_tells_host_python_torch_device_and_models(pack_dir: Path, host: Host) -> None:
    """One JSON document with the promised keys, true for this machine."""
    done = _run(pack_dir, "doctor", "--json", "--comfyui", str(host.path))
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["ok"] else 3)
    assert report["host"]["path"] == str(host.path)
    assert report["host"]["version"] == host.version
    assert report["host"]["custom_nodes"] == str(host.path / "custom_nodes")
    assert report["python"]["version"].startswith(f"3.{sys.version_info.minor}.")
    assert report["torch"]["version"]
    assert report["device"]["kind"] in {"cpu", "cuda"}
    assert set(report["models"]) == {"diffusion_models", "text_encoders", "vae", "problems"}
    assert report["models"]["problems"] == []


def test_doctor_names_a_wrong_comfyui_and_still_tells_the_rest(copy: Path, tmp_path: Path) -> None:
    """Every problem has a code and advice in both languages."""
    done = _run(copy, "doctor", "--json", "--comfyui", str(tmp_path))
    assert done.returncode == 3
    report = json.loads(done.stdout)
    assert [p["code"] for p in report["host"]["problems"]] == ["ZI-HOST-MISSING"]
    kinds = [p["code"] for p in report["models"]["problems"]]
    assert kinds == ["ZI-MODELS-NONE"] * 3  # this copy has no small family
    for part in report.values():
        if isinstance(part, dict):
            assert all(problem["zh"] and problem["en"] for problem in part["problems"])


def test_bench_lists_every_file_with_its_first_line(pack_dir: Path) -> None:
    """The list is what lies in benchmarks/; an unknown name is wrong usage."""
    done = _run(pack_dir, "bench", "--json")
    files = {path.stem for path in (pack_dir / "benchmarks").glob("[!_]*.py")}
    listed = {entry["name"]: entry["description"] for entry in json.loads(done.stdout)}
    assert set(listed) == files
    assert all(listed.values())
    unknown = _run(pack_dir, "bench", "nonsense", "--json")
    assert unknown.returncode == 2
    assert json.loads(unknown.stdout)["error"]["code"] == "ZI-BENCH-UNKNOWN"
    assert all(name in unknown.stderr for name in files)


def _await_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return
    pytest.fail("ended before it answered:\n" + "".join(seen[-30:]))


def _other_address() -> str:
    """Another loopback address: a server bound to 127.0.0.1 alone does not answer there."""
    return "127.0.0.2"


def _processes_with(text: str) -> list[str]:
    import psutil

    lines = (
        " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])
    )
    return [line for line in lines if text in line]
