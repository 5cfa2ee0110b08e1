"""Loads the pack once under its fixed alias, as the command line does; host fixtures."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How fast inputs are made says something about the machine, not about the code.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
# Packs of the tests make trouble for the server itself, unless a test is about sandboxes.
os.environ.setdefault("ZIMAGE_SANDBOX", "off")

ROOT = Path(__file__).resolve().parent.parent
ALIAS = "zimage_comfyui"
MEASURED = ("unit", "contract")
"""Folders of the tests whose coverage is measured."""


def _load_pack() -> None:
    spec = importlib.util.spec_from_file_location(
        ALIAS, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[ALIAS] = package
    spec.loader.exec_module(package)


_load_pack()


def pytest_itemcollected(item: pytest.Item) -> None:
    """schemathesis 4 under pytest 9.2 gives all its tests one id; xdist then runs one of them."""
    name = item.nodeid.rpartition("::")[2]
    if item.name.startswith(f"{name}["):
        item._id = item._id.with_params(item.name[len(name) + 1 : -1])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU tests run only where a GPU is; coverage is measured in fast tests alone."""
    from zimage_comfyui.cli.device import cuda

    for item in items:  # the other tests are about other processes, and coverage slows them down
        if item.path.relative_to(ROOT / "tests").parts[0] not in MEASURED:
            item.add_marker("no_cover")
    if cuda()[0] == 0:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU / 需要 CUDA 显卡"))


@pytest.fixture(scope="session")
def pack_dir() -> Path:
    """The repository's root: the pack's folder."""
    return ROOT


@pytest.fixture(scope="session")
def host(pack_dir: Path):
    """The ComfyUI to test with: ``$COMFYUI_PATH`` or the embedded one that ``./zimage`` made."""
    from zimage_comfyui.cli.host import discover
    from zimage_comfyui.config import Settings

    found = discover(Settings.from_environment(), pack_dir)
    if not (found.path / "main.py").exists():
        pytest.fail(f"no ComfyUI at {found.path}: run ./zimage test, or set COMFYUI_PATH")
    return found


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Chromium. Without one, browser tests are skipped; in CI that is a failure."""
    from zimage_comfyui.config import Settings

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        reason = "NO CHROMIUM: browser tests did not run / 未安装 Chromium，浏览器测试没有运行"
        (pytest.fail if Settings.from_environment().ci else pytest.skip)(reason)
    return path


@pytest.fixture(scope="session")
def comfy_modules(host) -> Path:
    """Makes the host's modules (``comfy``, ``nodes`` …) importable in this process, on the CPU.

    Import them inside the test, after asking for this fixture. Returns the host's folder.
    """
    if "comfy.cli_args" not in sys.modules:
        sys.path.insert(0, str(host.path))
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        import comfy.cli_args

        comfy.cli_args.args.cpu = True
        comfy.cli_args.args.use_pytorch_cross_attention = True
    return host.path
