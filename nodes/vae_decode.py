"""Decode a latent to a picture."""

from __future__ import annotations

from comfy_api.latest import io

from ..engine import decoding
from .types import CATEGORY


class ZImageDecode(io.ComfyNode):
    """Decodes to an IMAGE of 8-bit values on the CPU."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's name, inputs and outputs."""
        return io.Schema(
            node_id="ZImageDecode",
            display_name="Z-Image Decode · 解码",
            category=CATEGORY,
            description="Decodes the latent into a picture. Large ones go strip by strip without "
            "seams; the result is rounded to 8 bits and leaves the device at once.",
            inputs=[
                io.Latent.Input("samples", tooltip="The latent from the sampler."),
                io.Vae.Input("vae", tooltip="The VAE from the Z-Image loader."),
                io.Combo.Input(
                    "tiling",
                    options=list(decoding.TILING),
                    default="auto",
                    tooltip="auto: strip by strip above 1024x1024, which needs less memory and "
                    "gives the same picture. on: always. off: never.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image")],
        )

    @classmethod
    def execute(cls, samples, vae, tiling: str = "auto") -> io.NodeOutput:
        """Return the IMAGE of a LATENT."""
        return io.NodeOutput(decoding.decode(vae, samples["samples"], tiling))
