"""An empty latent of a size that Z-Image supports."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..engine import sizes
from .types import CATEGORY, INT_MAX, INT_MIN


class ZImageLatent(io.ComfyNode):
    """Creates an empty latent: zeros ``[batch, 16, height / 8, width / 8]``."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's name, inputs and outputs."""
        any_integer = {"min": INT_MIN, "max": INT_MAX, "step": 1}
        return io.Schema(
            node_id="ZImageLatent",
            display_name="Z-Image Size · 尺寸",
            category=CATEGORY,
            description="Chooses the size of the picture and how many are made at once.",
            inputs=[
                io.Combo.Input(
                    "size",
                    options=[*sizes.SIZES, sizes.CUSTOM],
                    default=next(iter(sizes.SIZES)),
                    tooltip="Width x height by aspect ratio, in the official classes of 1024, 1280 "
                    "and 1536 and for the small bundled models. custom: the two fields below.",
                ),
                io.Int.Input(
                    "width",
                    default=1024,
                    **any_integer,
                    tooltip="Used with size = custom. A multiple of 16 from 64 to 4096.",
                ),
                io.Int.Input(
                    "height",
                    default=1024,
                    **any_integer,
                    tooltip="Used with size = custom. A multiple of 16 from 64 to 4096.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    **any_integer,
                    tooltip="Pictures per run, 1 to 64.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent")],
        )

    @classmethod
    def execute(cls, size: str, width: int, height: int, batch_size: int) -> io.NodeOutput:
        """Return an empty LATENT.

        Raises:
            ZImageError: ``ZI-SIZE``, ``ZI-VALUE`` or ``ZI-BATCH``, see :mod:`..engine.sizes`.
        """
        width, height = sizes.resolve(size, width, height)
        shape = (sizes.check_batch(batch_size), 16, height // 8, width // 8)
        return io.NodeOutput({"samples": torch.zeros(shape)})
