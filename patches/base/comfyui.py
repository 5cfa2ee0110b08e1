"""The running server, and the folder where the hardening keeps its files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ...errors import ZImageError

FOLDER = "__zimage"
"""In ComfyUI's user folder; names with two underscores are no user's there."""


def server() -> Any:
    """The host's ``PromptServer``.

    Raises:
        ZImageError: ``ZI-PATCH-SEAM`` when none has been made.
    """
    found = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if found is None:
        raise ZImageError(
            "ZI-PATCH-SEAM",
            name="server.PromptServer.instance",
            found=None,
            expected="PromptServer",
        )
    return found


def folder() -> Path:
    """Where queue and logs lie; made when it is missing."""
    import folder_paths

    found = Path(folder_paths.get_user_directory()) / FOLDER
    found.mkdir(parents=True, exist_ok=True)
    return found


def models() -> list[str]:
    """Classes of the models that the host holds on its device."""
    management = sys.modules.get("comfy.model_management")
    loaded = getattr(management, "current_loaded_models", None) or []
    models: list[Any] = [getattr(entry, "model", None) for entry in loaded]
    return [type(model.model).__name__ for model in models if hasattr(model, "model")]
