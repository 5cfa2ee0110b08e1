"""What the pack adds to ComfyUI: the list of nodes, and the folders of the bundled models.

A part that fails is logged once and left out; the other parts still come up.
"""

from __future__ import annotations

import importlib
import logging
from pathlib import Path

from comfy_api.latest import ComfyExtension, io

log = logging.getLogger(__name__)

NODES = (
    ("loader", "ZImageLoader"),
    ("text_encode", "ZImageTextEncode"),
    ("latent", "ZImageLatent"),
    ("sampler", "ZImageSampler"),
    ("vae_decode", "ZImageDecode"),
    ("save_image", "ZImageSave"),
)
"""Module under ``nodes`` and the class in it."""

MODELS = Path(__file__).resolve().parent / "demo" / "models"
MODEL_FOLDERS = ("diffusion_models", "text_encoders", "vae")


class ZImageExtension(ComfyExtension):
    """The entry point that ComfyUI asks for nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The nodes, in the order of :data:`NODES`; registers the bundled models first."""
        try:
            register_models()
        except Exception:
            log.exception("Z-Image: bundled models are not available")
        return [node for module, name in NODES if (node := _load(module, name)) is not None]


def register_models() -> None:
    """Let ``folder_paths`` find the small models that come with the pack."""
    import folder_paths

    for kind in MODEL_FOLDERS:
        folder = MODELS / kind
        if folder.is_dir():
            folder_paths.add_model_folder_path(kind, str(folder))


def _load(module: str, name: str) -> type[io.ComfyNode] | None:
    try:
        return getattr(importlib.import_module(f".nodes.{module}", __package__), name)
    except Exception:
        log.exception("Z-Image: node %s is not available", name)
        return None
