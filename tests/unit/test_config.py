"""Settings come from the environment and from nowhere else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from zimage_comfyui.config import PACK_DIR, Settings
from zimage_comfyui.patches.base.registry import NAMES
from zimage_comfyui.patches.install import invalid_values


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


@pytest.mark.parametrize(
    ("name", "text", "noted"),
    [
        ("ZIMAGE_DEADLINES", "turbo.cuda=8,turbo.gpu=9", ["turbo.gpu=9"]),
        ("ZIMAGE_LIMITS", "steps=100,waiting=-1,batch", ["waiting=-1", "batch"]),
        ("ZIMAGE_GUARD", "silence=30 s", ["silence=30 s"]),
        ("ZIMAGE_GUARD", "silence=30,,", []),
        ("ZIMAGE_SANDBOX", "Strict", ["Strict"]),
        ("ZIMAGE_SANDBOX", "strict", []),
        ("ZIMAGE_KEEP_DAYS", "week", ["week"]),
        ("ZIMAGE_IDLE_MINUTES", "inf", ["inf"]),
    ],
)
def test_a_value_that_cannot_be_used_is_noted(name: str, text: str, noted: list[str]) -> None:
    """With its variable and what is expected; the rest of it counts."""
    settings = Settings.from_environment({name: text})
    assert [(value.name, value.found) for value in settings.unfit] == [(name, one) for one in noted]
    for value in settings.unfit:
        assert value.expected
        assert value.error.code == "ZI-SETTING"
        assert value.found in value.error.chinese
        assert value.found in value.error.english


def test_the_server_tells_every_value_that_cannot_be_used() -> None:
    """Names of parts, too; the guardian's limits are told by ``serve``."""
    env = {
        "ZIMAGE_OFF": "queue,qeueu", "ZIMAGE_LIMITS": "stepps=3", "ZIMAGE_GUARD": "silence=x",
        "ZIMAGE_INTERRUPT": "never", "ZIMAGE_DISK_PERCENT": "9",
    }  # fmt: skip
    values = invalid_values(Settings.from_environment(env), NAMES)
    assert {value.name: value.found for value in values} == {
        "ZIMAGE_OFF": "qeueu", "ZIMAGE_LIMITS": "stepps=3",
        "ZIMAGE_INTERRUPT": "never", "ZIMAGE_DISK_PERCENT": "9",
    }  # fmt: skip
