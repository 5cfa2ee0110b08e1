"""Edit a picture by an instruction."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..engine import conditioning, editing, reference_images
from ..errors import ZImageError
from .text_encode import ZImageTextEncode
from .types import CATEGORY


class ZImageEdit(io.ComfyNode):
    """Encodes a prompt with reference pictures (Edit models), or with a picture to repaint."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's name, inputs and outputs."""
        return io.Schema(
            node_id="ZImageEdit",
            display_name="Z-Image Edit · 改图",
            category=CATEGORY,
            description="Changes a picture as the instruction says. An Edit model looks at up to "
            "three pictures; Turbo and Base repaint the first (sampler: denoise below 1), or with "
            "a mask only the masked part.",
            inputs=_inputs(),
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
                io.Latent.Output(display_name="latent"),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, prompt: str | None = None, negative_prompt: str | None = None
    ) -> bool | str:
        """Return an error message for an unreadable prompt, else True, as the prompt node does."""
        return ZImageTextEncode.validate_inputs(prompt, negative_prompt)

    @classmethod
    def execute(
        cls,
        model,
        clip,
        vae,
        image,
        prompt: str,
        negative_prompt: str = "",
        image_2=None,
        image_3=None,
        mask=None,
        clip_vision=None,
    ) -> io.NodeOutput:
        """Return positive and negative conditioning, and the LATENT to start from.

        Raises:
            ZImageError: ``ZI-EDIT-MODEL`` for further pictures with Turbo or Base; ``ZI-PICTURE…``
                for pictures and masks; ``ZI-TEXT-…`` for prompts; ``ZI-MODEL-KIND``.
        """
        is_edit_model = editing.supports_references(model)
        if not is_edit_model and (image_2 is not None or image_3 is not None):
            raise ZImageError("ZI-EDIT-MODEL", found=type(model.model).__name__)
        images = {"image": image, "image_2": image_2, "image_3": image_3}
        maximum = editing.MAX_REFERENCES if is_edit_model else 1
        pictures = reference_images.prepare_all(images, maximum)
        latents = reference_images.encode(vae, pictures)
        prompts = (prompt, negative_prompt)
        if not is_edit_model:
            conditionings = [conditioning.encode(clip, text) for text in prompts]
            latent = reference_images.start(latents[0], mask)
            cuts = conditioning.cuts(clip, prompt=prompt, negative_prompt=negative_prompt)
            return io.NodeOutput(*conditionings, latent, ui=cuts)
        siglip = None
        if clip_vision is not None:
            siglip = [editing.encode_vision(clip_vision, picture) for picture in pictures]
        conditionings = [
            editing.encode_instruction(clip, text, latents, siglip) for text in prompts
        ]
        start = latents[0] if mask is not None else torch.zeros_like(latents[0])
        return io.NodeOutput(*conditionings, reference_images.masked(start, mask))


def _inputs() -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip="An Edit model, or Turbo or Base."),
        io.Clip.Input("clip", tooltip="The text encoder from the Z-Image loader."),
        io.Vae.Input("vae", tooltip="The VAE from the Z-Image loader."),
        io.Image.Input(
            "image",
            tooltip="The picture to change; it sets the size. Of a batch the first is "
            "changed, and the others are references (Edit only).",
        ),
        io.String.Input(
            "prompt",
            multiline=True,
            default="",
            tooltip="Edit: what to change, e.g. 'make the star blue'. Turbo and Base: what "
            "the whole picture should show.",
        ),
        io.String.Input(
            "negative_prompt",
            multiline=True,
            default="",
            tooltip="What to avoid. Used only when cfg is above 1 (guidance above 0).",
        ),
        io.Image.Input("image_2", optional=True, tooltip="Edit: a second reference."),
        io.Image.Input("image_3", optional=True, tooltip="Edit: a third reference."),
        io.Mask.Input(
            "mask", optional=True, tooltip="White is painted anew, black stays as it is."
        ),
        io.ClipVision.Input(
            "clip_vision",
            optional=True,
            tooltip="SigLIP2, for Omni models that were trained with it.",
        ),
    ]
