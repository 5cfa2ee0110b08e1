"""The running ComfyUI server, its models, and the folder for the files of the hardening."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ...errors import ZImageError

FOLDER = "__zimage"
"""Name in ComfyUI's user folder. No user has a name with two underscores there."""


def server() -> Any:
    """Return the host's ``PromptServer``.

    Raises:
        ZImageError: ``ZI-PATCH-SEAM`` if the host has not created one.
    """
    instance = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if instance is None:
        raise ZImageError(
            "ZI-PATCH-SEAM",
            name="server.PromptServer.instance",
            found=None,
            expected="PromptServer",
        )
    return instance


def folder() -> Path:
    """Return the folder of the queue and the logs, and create it if it is missing."""
    import folder_paths

    path = Path(folder_paths.get_user_directory()) / FOLDER
    path.mkdir(parents=True, exist_ok=True)
    return path


def memory_management() -> Any:
    """Return the host's module ``comfy.model_management``."""
    return sys.modules["comfy.model_management"]


def device() -> Any:
    """Return the ``torch.device`` that the host computes on."""
    return memory_management().get_torch_device()


def models() -> list[str]:
    """Return the class names of the models that the host holds on its device."""
    management = sys.modules.get("comfy.model_management")
    entries = getattr(management, "current_loaded_models", None) or []
    patchers: list[Any] = [getattr(entry, "model", None) for entry in entries]
    return [type(patcher.model).__name__ for patcher in patchers if hasattr(patcher, "model")]
