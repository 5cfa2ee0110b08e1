"""Which ComfyUI is used, with which Python, and how it comes to load the pack."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from zimage_comfyui.cli import device
from zimage_comfyui.cli.host import Host, discover
from zimage_comfyui.cli.server import pack_arguments
from zimage_comfyui.cli.terminal import LACKING, Stop
from zimage_comfyui.config import Settings


@pytest.fixture
def pack(tmp_path: Path, pack_dir: Path) -> Path:
    """A folder that stands for the pack, outside any ComfyUI."""
    return _as_pack(tmp_path / "somewhere" / "z-image", pack_dir)


def _as_pack(folder: Path, pack_dir: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "requirements.lock").write_bytes((pack_dir / "requirements.lock").read_bytes())
    return folder


def _comfyui(folder: Path, version: str = "0.3.75") -> Path:
    (folder / "comfy").mkdir(parents=True)
    (folder / "custom_nodes").mkdir()
    (folder / "main.py").touch()
    (folder / "nodes.py").touch()
    (folder / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    return folder


def test_order_of_discovery(tmp_path: Path, pack_dir: Path) -> None:
    """--comfyui, then the one around the pack, then $COMFYUI_PATH, then the embedded one."""
    around, named, asked = (_comfyui(tmp_path / name) for name in ("around", "named", "asked"))
    inside = _as_pack(around / "custom_nodes" / "z-image", pack_dir)
    outside = _as_pack(tmp_path / "z-image", pack_dir)
    home = tmp_path / "home"
    with_variable = Settings(home=home, comfyui=named)
    assert discover(with_variable, inside, str(asked)).path == asked
    assert discover(with_variable, inside).path == around
    assert discover(with_variable, outside).path == named
    embedded = discover(Settings(home=home), outside)
    assert embedded.source == "embedded"
    assert embedded.path.is_relative_to(home)


def test_a_folder_that_is_no_comfyui_is_named(tmp_path: Path, pack: Path) -> None:
    """An explicit wrong folder is an error, never silently skipped."""
    with pytest.raises(Stop, match=r"main\.py") as stop:
        discover(Settings(home=tmp_path), pack, str(tmp_path))
    assert stop.value.status == LACKING
    assert stop.value.code == "ZI-HOST-MISSING"


def test_own_comfyui_runs_in_its_own_environment(tmp_path: Path, pack: Path) -> None:
    """A ComfyUI with a .venv that has its requirements is started by that Python."""
    comfyui = _comfyui(tmp_path / "ComfyUI")
    packages = comfyui / ".venv" / "lib" / "python3.12" / "site-packages"
    for name in ("torch", "comfyui_frontend_package"):
        (packages / name).mkdir(parents=True)
    (comfyui / ".venv" / "bin").mkdir()
    (comfyui / ".venv" / "bin" / "python").symlink_to(sys.executable)
    found = discover(Settings(home=tmp_path), pack, str(comfyui))
    assert found.python == comfyui / ".venv" / "bin" / "python"


def test_an_environment_without_comfyui_s_requirements_is_not_taken(
    tmp_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare .venv would only fail at the start; the private environment is used instead."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    comfyui = _comfyui(tmp_path / "ComfyUI")
    (comfyui / ".venv" / "lib" / "python3.12" / "site-packages" / "torch").mkdir(parents=True)
    found = discover(Settings(home=tmp_path / "home"), pack, str(comfyui))
    assert found.python.is_relative_to(tmp_path / "home")


def test_an_environment_without_a_working_python_is_not_taken(
    tmp_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link to a Python that was uninstalled cannot be started."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    comfyui = _comfyui(tmp_path / "ComfyUI")
    packages = comfyui / ".venv" / "lib" / "python3.12" / "site-packages"
    for name in ("torch", "comfyui_frontend_package"):
        (packages / name).mkdir(parents=True)
    (comfyui / ".venv" / "bin").mkdir()
    (comfyui / ".venv" / "bin" / "python").symlink_to(tmp_path / "uninstalled")
    host = discover(Settings(home=tmp_path / "home"), pack, str(comfyui))
    assert host.python.is_relative_to(tmp_path / "home")


def test_version_is_read_without_importing(tmp_path: Path) -> None:
    """From the host's own file; unknown when it has none."""
    assert Host(_comfyui(tmp_path / "a", "0.8.0"), Path("p"), "argument").version == "0.8.0"
    assert Host(tmp_path, Path("p"), "argument").version == "unknown"


def test_pack_inside_custom_nodes_needs_no_arguments(tmp_path: Path, pack: Path) -> None:
    """A link counts as being inside."""
    host = Host(_comfyui(tmp_path / "ComfyUI"), Path("p"), "argument")
    (host.custom_nodes / "z").symlink_to(pack)
    assert pack_arguments(host, pack, tmp_path / "run") == []


def test_pack_elsewhere_is_added_without_touching_custom_nodes(tmp_path: Path, pack: Path) -> None:
    """The host gets one more folder of packs, in which only this one lies."""
    host = Host(_comfyui(tmp_path / "ComfyUI"), Path("p"), "argument")
    option, config = pack_arguments(host, pack, tmp_path / "运行 run")
    assert option == "--extra-model-paths-config"
    folder = Path(json.loads(Path(config).read_text(encoding="utf-8"))["zimage"]["custom_nodes"])
    assert [entry.resolve() for entry in folder.iterdir()] == [pack]
    assert list(host.custom_nodes.iterdir()) == []


@pytest.mark.parametrize(
    ("found", "arguments"),
    [
        ((0, 0), ["--cpu", "--use-pytorch-cross-attention"]),
        ((1, 12080), ["--cpu", "--use-pytorch-cross-attention"]),
        ((1, 13000), []),
    ],
)
def test_embedded_host_takes_the_gpu_only_with_a_fitting_driver(
    found: tuple[int, int], arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch for CUDA 13 on an older driver would stop the start."""
    monkeypatch.setattr(device, "cuda", lambda: found)
    assert Host(Path("h"), Path("p"), "embedded").device_arguments() == arguments
