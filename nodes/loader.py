"""Load diffusion model, text encoder and VAE together."""

from __future__ import annotations

from comfy_api.latest import io

from ..engine import checkpoints, host
from ..engine.presets import VARIANTS
from .types import CATEGORY, model_names, model_path


class ZImageLoader(io.ComfyNode):
    """Loads MODEL, CLIP and VAE of the host's types from three files or one official folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's name, inputs and outputs."""
        return io.Schema(
            node_id="ZImageLoader",
            display_name="Z-Image Loader · 加载模型",
            category=CATEGORY,
            description="Loads a Z-Image diffusion model with its text encoder and VAE. "
            "Only safetensors files are opened, and each is checked before it is.",
            inputs=_inputs(),
            outputs=[
                io.Model.Output(display_name="model"),
                io.Clip.Output(display_name="clip"),
                io.Vae.Output(display_name="vae"),
            ],
        )

    @classmethod
    def execute(
        cls, model_name: str, text_encoder: str, vae: str, variant: str, dtype: str
    ) -> io.NodeOutput:
        """Load the three models; the text encoder is compared with the diffusion model."""
        paths = (
            model_path("diffusion_models", model_name),
            model_path("text_encoders", text_encoder),
            model_path("vae", vae),
        )
        model = checkpoints.load_model(paths[0], variant, dtype)
        clip = checkpoints.load_text_encoder(paths[1], host.caption_width(model))
        return io.NodeOutput(model, clip, checkpoints.load_vae(paths[2], dtype))


def _inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "model_name",
            options=model_names("diffusion_models"),
            default=_first_choice(model_names("diffusion_models")),
            tooltip="Diffusion model: a ComfyUI or official safetensors file, "
            "or diffusers/NAME for an official folder.",
        ),
        io.Combo.Input(
            "text_encoder",
            options=model_names("text_encoders"),
            tooltip="The Qwen3 text encoder that belongs to the model "
            "(qwen_3_4b.safetensors for the official ones).",
        ),
        io.Combo.Input(
            "vae",
            options=model_names("vae"),
            tooltip="16-channel Flux autoencoder (ae.safetensors for the official models).",
        ),
        io.Combo.Input(
            "variant",
            options=list(VARIANTS),
            default="auto",
            tooltip="Which preset the sampler uses. auto: from the file's metadata, the "
            "official scheduler file, or the word 'turbo' in the name.",
        ),
        io.Combo.Input(
            "dtype",
            options=list(checkpoints.DTYPES),
            default="auto",
            tooltip="Precision the diffusion weights are kept in. auto: bf16 on a GPU that "
            "computes it, fp32 on the CPU (exact and fastest there, twice the memory). "
            "bf16 and fp8 on the CPU are computed in fp32. fp32 also makes the VAE fp32.",
        ),
    ]


def _first_choice(names: list[str]) -> str | None:
    """Return the first Turbo model, if any: it gives a first picture fastest."""
    return next((name for name in names if "turbo" in name.lower()), None)
