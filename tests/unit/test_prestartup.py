"""The earliest hook when our own code fails: what must not run in ComfyUI's process does not."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def script(pack_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, in a ComfyUI of stand-ins; loading it has begun nothing."""
    host: dict[str, Any] = {name: types.ModuleType(name) for name in ("folder_paths", "comfy")}
    host["comfy.cli_args"] = types.ModuleType("comfy.cli_args")
    host["folder_paths"].get_user_directory = lambda: str(tmp_path)
    host["comfy.cli_args"].args = types.SimpleNamespace(disable_all_custom_nodes=False)
    for name, module in host.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("ZIMAGE_SANDBOX", "off")
    spec = importlib.util.spec_from_file_location("script", pack_dir / "prestartup_script.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(
    ("mode", "file", "loaded"),
    [
        ("", None, True), ("auto", None, True), ("strict", None, False),
        ("", 'mode = "auto"', True), ("", 'mode = "strict"', False),
        ("Strict", 'mode = "strict"', False),
        ("auto", 'mode = "strict"', True), ("strict", 'mode = "auto"', False),
        ("", '[packs.a]\nrun = "trusted"', True), ("", '[packs.a]\nrun = "blocked"', False),
        ("auto", '[packs.a]\nrun = "sandbox"', False), ("", '[default]\nrun = "sandbox"', False),
        ("", "no = [toml", False), ("auto", "packs = 3", False), ("", "packs.a = 3", False),
    ],
)  # fmt: skip
def test_what_must_not_run_in_the_host_is_not_loaded_if_we_fail(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    mode: str, file: str | None, loaded: bool,
) -> None:  # fmt: skip
    """In mode strict, with a rule that keeps a pack out, or if nobody knows; we are loaded."""

    def broken() -> Any:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setenv("ZIMAGE_SANDBOX", mode)
    monkeypatch.setattr(script, "_pack", broken)
    if file is not None:
        (tmp_path / "__zimage").mkdir()
        (tmp_path / "__zimage" / "sandbox.toml").write_text(file)
    script._begin()
    args = sys.modules["comfy.cli_args"].args
    assert args.disable_all_custom_nodes is not loaded
    if not loaded:
        assert args.whitelist_custom_nodes == [Path(script.__file__).parent.name]
