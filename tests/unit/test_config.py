"""Settings come from the environment and from nowhere else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from zimage_comfyui.config import PACK_DIR, Settings


def test_defaults_without_any_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty environment gives the documented home and no ComfyUI."""
    monkeypatch.setenv("HOME", "/nobody")
    settings = Settings.from_environment({})
    assert settings == Settings(home=Path("/nobody/.cache/zimage-comfyui"))


def test_every_variable_is_read() -> None:
    """Each documented variable arrives, relative paths made absolute."""
    settings = Settings.from_environment(
        {
            "ZIMAGE_HOME": "h",
            "ZIMAGE_LOG_DIR": "l",
            "COMFYUI_PATH": "/c/../d",
            "CONDA_PREFIX": "/conda",
            "CI": "true",
        }
    )
    assert settings.home == Path.cwd() / "h"
    assert settings.log_dir == Path.cwd() / "l"
    assert settings.comfyui == Path("/d")
    assert settings.active_env == Path("/conda")
    assert settings.ci


def test_empty_variables_count_as_unset() -> None:
    """``COMFYUI_PATH=`` is not the current folder."""
    names = ("ZIMAGE_HOME", "ZIMAGE_LOG_DIR", "COMFYUI_PATH", "CI")
    settings = Settings.from_environment(dict.fromkeys(names, ""))
    assert settings.log_dir is None
    assert settings.comfyui is None
    assert settings.home.name == "zimage-comfyui"
    assert not settings.ci


def test_settings_are_frozen() -> None:
    """Nobody can change the settings of a running process."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings(home=Path("/")).home = Path("/tmp")  # pyright: ignore


def test_pack_dir_is_this_repository(pack_dir: Path) -> None:
    """The pack knows its own folder."""
    assert pack_dir.samefile(PACK_DIR)
