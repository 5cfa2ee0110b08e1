"""Positive and negative prompt to conditioning."""

from __future__ import annotations

from comfy_api.latest import io

from ..engine import conditioning
from .types import CATEGORY


class ZImageTextEncode(io.ComfyNode):
    """Both prompts through the model's own text encoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ZImageTextEncode",
            display_name="Z-Image Prompt · 提示词",
            category=CATEGORY,
            description="Encodes what the picture should show and what it should not, "
            "in Chinese or English. Weights such as (word:1.2) are read as plain text.",
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder from the Z-Image loader."),
                io.String.Input(
                    "prompt", multiline=True, default="", tooltip="What the picture should show."
                ),
                io.String.Input(
                    "negative_prompt",
                    multiline=True,
                    default="",
                    tooltip="What to avoid. Used only when cfg is above 1 (guidance above 0): "
                    "by Base, not by Turbo.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
            ],
        )

    @classmethod
    def execute(cls, clip, prompt: str, negative_prompt: str = "") -> io.NodeOutput:
        return io.NodeOutput(
            conditioning.encode(clip, prompt), conditioning.encode(clip, negative_prompt)
        )
