"""Load CLIP-L, a Chinese BERT and their adapter as one text encoder."""

from __future__ import annotations

from comfy_api.latest import io

from ..engine import dual
from .types import CATEGORY, model_names, model_path


class ZImageDualLoader(io.ComfyNode):
    """Loads a CLIP of the host's type that encodes English with CLIP-L and Chinese with BERT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's name, inputs and outputs."""
        return io.Schema(
            node_id="ZImageDualLoader",
            display_name="Z-Image Dual Encoder · 双编码器",
            category=CATEGORY,
            description="Reads prompts with CLIP-L (English) and a Chinese BERT (Chinese) instead "
            "of Qwen3, through an adapter that was trained for these encoders and this model.",
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model that the prompt is for."),
                io.Combo.Input(
                    "clip_name",
                    options=model_names("text_encoders"),
                    tooltip="CLIP-L: clip_l.safetensors, or Hugging Face's or OpenAI's file.",
                ),
                io.Combo.Input(
                    "bert_name",
                    options=model_names("text_encoders"),
                    tooltip="bert-base-chinese or chinese-roberta-wwm-ext as safetensors; a "
                    "vocab.txt in its folder is used, else ComfyUI's own Chinese vocabulary.",
                ),
                io.Combo.Input(
                    "adapter_name",
                    options=model_names("zimage_adapters"),
                    tooltip="The adapter that belongs to both and to the model. One that is not "
                    "trained, or trained for others, is refused.",
                ),
            ],
            outputs=[io.Clip.Output(display_name="clip")],
        )

    @classmethod
    def execute(cls, model, clip_name: str, bert_name: str, adapter_name: str) -> io.NodeOutput:
        """Load both encoders and the adapter; the MODEL is compared with the adapter."""
        return io.NodeOutput(
            dual.load(
                model_path("text_encoders", clip_name),
                model_path("text_encoders", bert_name),
                model_path("zimage_adapters", adapter_name),
                model,
            )
        )
