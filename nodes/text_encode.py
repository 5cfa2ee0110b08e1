"""Encode the positive and the negative prompt as conditioning."""

from __future__ import annotations

from comfy_api.latest import io

from ..engine import conditioning
from ..errors import ZImageError
from ..text import prompt_rules
from .types import CATEGORY


class ZImageTextEncode(io.ComfyNode):
    """Encodes both prompts with Qwen3 or with the dual encoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's name, inputs and outputs."""
        return io.Schema(
            node_id="ZImageTextEncode",
            display_name="Z-Image Prompt · 提示词",
            category=CATEGORY,
            description="Encodes what the picture should show and what it should not, "
            "in Chinese or English. Weights such as (word:1.2) are read as plain text.",
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="The text encoder from the Z-Image loader, or from the dual encoder.",
                ),
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
                io.String.Output(
                    display_name="info",
                    tooltip="How the prompt was read: tag, tokens, and what was cut.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, prompt: str | None = None, negative_prompt: str | None = None
    ) -> bool | str:
        """Refuse unreadable prompts when a job is submitted, before any model is loaded.

        Linked prompts are None here; the encoder checks them when it runs.
        """
        for name, text in (("prompt", prompt), ("negative_prompt", negative_prompt)):
            try:
                prompt_rules.check(text or "")
            except ZImageError as error:
                return f"{name}: {error}"  # the host repeats this for every input
        return True

    @classmethod
    def execute(cls, clip, prompt: str, negative_prompt: str = "") -> io.NodeOutput:
        """Return both conditionings and a description of the tokens."""
        return io.NodeOutput(
            conditioning.encode(clip, prompt),
            conditioning.encode(clip, negative_prompt),
            conditioning.describe(clip, prompt, negative_prompt),
            ui=conditioning.cuts(clip, prompt=prompt, negative_prompt=negative_prompt),
        )
