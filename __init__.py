"""Z-Image for ComfyUI: nothing heavy is imported before the host calls :func:`comfy_entrypoint`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .extension import ZImageExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> ZImageExtension:
    """What ComfyUI calls to get the nodes of this folder."""
    from .extension import ZImageExtension

    return ZImageExtension()
