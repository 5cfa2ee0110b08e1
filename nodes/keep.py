"""Restore the original's pixels wherever an edit changed nothing."""

from __future__ import annotations

from comfy_api.latest import io

from ..engine import edit_restore, presets
from .types import CATEGORY, FLOAT_MAX, FLOAT_MIN


class ZImageKeep(io.ComfyNode):
    """Restores the original's pixels in an edited picture wherever nothing changed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's name, inputs and outputs."""
        return io.Schema(
            node_id="ZImageKeep",
            display_name="Z-Image Keep · 保持原样",
            category=CATEGORY,
            description="Compares an edited picture with its original and puts the original's own "
            "pixels back wherever nothing changed, so a product stays as it was photographed.",
            inputs=[
                io.Image.Input("image", tooltip="The edited picture, from the decode node."),
                io.Image.Input(
                    "original",
                    tooltip="The picture that was edited: what the edit node got as image. "
                    "Brought to the size of the edited one.",
                ),
                io.Float.Input(
                    "tolerance",
                    default=presets.TOLERANCE,
                    min=FLOAT_MIN,
                    max=FLOAT_MAX,
                    step=1.0,
                    tooltip="0 to 255: how far a colour may be from the original and still count "
                    "as unchanged. Lower keeps more of the edit, higher more of the original.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image"),
                io.Mask.Output(display_name="changed"),
            ],
        )

    @classmethod
    def execute(cls, image, original, tolerance: float = presets.TOLERANCE) -> io.NodeOutput:
        """Return the restored IMAGE and the MASK of changes."""
        return io.NodeOutput(*edit_restore.put_back(image, original, tolerance))
