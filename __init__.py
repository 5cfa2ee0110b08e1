"""Z-Image for ComfyUI. Imports nothing heavy: the host calls :func:`comfy_entrypoint` when it is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> ComfyExtension:
    """Gives the host the pack's extension."""
    from .extension import ZImageExtension

    return ZImageExtension()
