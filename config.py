"""Settings: the one place that reads environment variables and fixed paths."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PACK_DIR = Path(os.path.abspath(__file__)).parent
"""This folder. Not resolved: it may be a link inside somebody's ``custom_nodes``."""


@dataclass(frozen=True)
class Settings:
    """Everything the product takes from its surroundings.

    Attributes:
        home: private environment, embedded host and caches (``$ZIMAGE_HOME``).
        log_dir: where logs go (``$ZIMAGE_LOG_DIR``), or None.
        comfyui: the ComfyUI named by ``$COMFYUI_PATH``, or None.
        active_env: the virtual or conda environment the user has activated, or None.
        off: hardening parts that are switched off (``$ZIMAGE_OFF``, names with commas between).
        ci: True when ``$CI`` says so; then missing test tools are failures, not skips.
    """

    home: Path
    log_dir: Path | None = None
    comfyui: Path | None = None
    active_env: Path | None = None
    off: frozenset[str] = frozenset()
    ci: bool = False

    @property
    def data(self) -> Path:
        """What people make and add with the embedded host: pictures, workflows, models."""
        return self.home / "data"

    @classmethod
    def from_environment(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Reads the settings from ``env`` (default: this process's environment)."""
        env = os.environ if env is None else env
        active = env.get("VIRTUAL_ENV") or env.get("CONDA_PREFIX")
        return cls(
            home=_path(env.get("ZIMAGE_HOME") or "~/.cache/zimage-comfyui"),
            log_dir=_path(env["ZIMAGE_LOG_DIR"]) if env.get("ZIMAGE_LOG_DIR") else None,
            comfyui=_path(env["COMFYUI_PATH"]) if env.get("COMFYUI_PATH") else None,
            active_env=_path(active) if active else None,
            off=frozenset(re.split(r"[,\s]+", env.get("ZIMAGE_OFF", "").strip())) - {""},
            ci=env.get("CI", "").lower() in {"1", "true", "yes"},
        )


def _path(text: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(text)))
