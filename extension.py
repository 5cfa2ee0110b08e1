"""The pack as a ComfyUI extension: nodes, folders of bundled models, the page, the hardening.

A part that fails is logged and skipped; the other parts still load.
"""

from __future__ import annotations

import importlib
import logging
from pathlib import Path

from comfy_api.latest import ComfyExtension, io

log = logging.getLogger(__name__)

NODES = (
    ("loader", "ZImageLoader"),
    ("dual_loader", "ZImageDualLoader"),
    ("text_encode", "ZImageTextEncode"),
    ("edit", "ZImageEdit"),
    ("latent", "ZImageLatent"),
    ("sampler", "ZImageSampler"),
    ("vae_decode", "ZImageDecode"),
    ("keep", "ZImageKeep"),
    ("save_image", "ZImageSave"),
)
"""Module of ``nodes`` and its node class."""

ADAPTERS = "zimage_adapters"
"""A kind of model that this pack adds to ComfyUI: adapters of the dual encoder."""
MODELS = Path(__file__).resolve().parent / "demo" / "models"
MODEL_FOLDERS = ("diffusion_models", "text_encoders", "vae", ADAPTERS)


class ZImageExtension(ComfyExtension):
    """The extension object from which ComfyUI gets the nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Install models, page and hardening; return the nodes in the order of :data:`NODES`."""
        try:
            register_models()
        except Exception:
            log.exception("Z-Image: bundled models are not available")
        try:
            from .page import routes

            routes.install()
        except Exception:
            log.exception("Z-Image: templates are not checked, and tokens are not counted")
        try:
            from .patches import install

            install.install()
        except Exception:
            log.exception("Z-Image: the server is not hardened")
        return [node for module, name in NODES if (node := _load(module, name)) is not None]


def register_models() -> None:
    """Register the folders of the bundled small models with ``folder_paths``."""
    import folder_paths

    folder_paths.add_model_folder_path(ADAPTERS, str(Path(folder_paths.models_dir) / ADAPTERS))
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
