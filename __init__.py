"""Z-Image for ComfyUI; :func:`comfy_entrypoint` imports the rest when ComfyUI calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .extension import ZImageExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> ZImageExtension:
    """Return the extension with the nodes of this pack; ComfyUI calls it."""
    from .extension import ZImageExtension

    return ZImageExtension()
