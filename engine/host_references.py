"""The host's transformer and model, extended for reference pictures; part of :mod:`.host`."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import comfy.conds
import comfy.ldm.common_dit
import comfy.ldm.lumina.model
import comfy.model_base
import comfy.model_patcher
import comfy.supported_models
import torch

from . import omni

StateDict = dict[str, torch.Tensor]


def reads_siglip() -> bool:
    """Return whether the host's own classes support references (ComfyUI 0.11 and newer)."""
    parameters = inspect.signature(comfy.ldm.lumina.model.NextDiT.__init__).parameters
    return "siglip_feat_dim" in parameters


def takes_references(model: comfy.model_patcher.ModelPatcher) -> bool:
    """Return whether a MODEL uses reference pictures: the pack's class or the host's Omni."""
    module = getattr(model.model, "diffusion_model", None)
    is_ours = isinstance(module, OmniTransformer)
    return is_ours or getattr(module, "siglip_embedder", None) is not None


class OmniTransformer(comfy.ldm.lumina.model.NextDiT):
    """The host's transformer, extended for references; without them, its results are the same."""

    def __init__(self, siglip_feat_dim: int | None = None, **arguments: Any) -> None:
        native = {"siglip_feat_dim": siglip_feat_dim} if reads_siglip() else {}
        super().__init__(**arguments, **native)
        if siglip_feat_dim is None or native:
            return
        factory = {"device": arguments.get("device"), "dtype": arguments.get("dtype")}
        operations = arguments["operations"]
        self.siglip_embedder = torch.nn.Sequential(
            operations.RMSNorm(siglip_feat_dim, eps=1e-5, elementwise_affine=True, **factory),
            operations.Linear(siglip_feat_dim, self.dim, bias=True, **factory),
        )
        # The refiner of the features has the same blocks as the refiner of the caption.
        self.siglip_refiner = copy.deepcopy(self.context_refiner)
        self.siglip_pad_token = torch.nn.Parameter(torch.empty((1, self.dim), **factory))

    def _forward(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor,
        context: torch.Tensor,
        num_tokens: int,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        references = kwargs.pop("ref_latents", ())
        around = kwargs.pop("ref_contexts", ())
        siglip = kwargs.pop("siglip_feats", None)
        if not references:
            return super()._forward(x, timesteps, context, num_tokens, attention_mask, **kwargs)
        patch = (self.patch_size, self.patch_size)
        pad = comfy.ldm.common_dit.pad_to_patch_size
        out = omni.velocity(
            self,
            pad(x, patch),
            timesteps,
            context,
            None if attention_mask is None else attention_mask.bool(),
            [pad(latent, patch) for latent in references],
            around,
            siglip,
            kwargs.get("transformer_options"),
        )
        return out[..., : x.shape[-2], : x.shape[-1]]


class OmniModel(comfy.model_base.Lumina2):
    """A model that passes references from the conditioning to the transformer.

    The keys of the conditioning are those of the host's own Omni model.
    """

    def __init__(
        self,
        model_config: Any,
        model_type: Any = comfy.model_base.ModelType.FLOW,
        device: torch.device | None = None,
    ) -> None:
        comfy.model_base.BaseModel.__init__(
            self, model_config, model_type, device=device, unet_model=OmniTransformer
        )
        self.memory_usage_factor_conds = ("ref_latents",)

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """Add latents, caption pieces and features of references to the host's conditions."""
        conds = super().extra_conds(**kwargs)
        references = {
            "ref_latents": [
                self.process_latent_in(latent) for latent in kwargs.get("reference_latents") or ()
            ],
            "ref_contexts": kwargs.get("reference_latents_text_embeds"),
            "siglip_feats": [_grid(output) for output in kwargs.get("clip_vision_outputs") or ()],
        }
        return conds | {
            name: comfy.conds.CONDList(list(tensors))
            for name, tensors in references.items()
            if tensors
        }

    def extra_conds_shapes(self, **kwargs: Any) -> dict[str, Any]:
        """Return the size of all references, from which the host estimates memory."""
        latents = kwargs.get("reference_latents") or ()
        cells = sum(latent.shape[-2] * latent.shape[-1] for latent in latents)
        return {"ref_latents": [1, 16, cells]} if cells else {}


class OmniConfig(comfy.supported_models.ZImage):
    """The host's configuration of Z-Image, with the model class for references."""

    def get_model(
        self, state_dict: StateDict, prefix: str = "", device: torch.device | None = None
    ) -> OmniModel:
        """Build the model; the arguments are those of the host's method."""
        return OmniModel(self, device=device)


def _grid(output: Any) -> torch.Tensor:
    """Return an image encoder's features as ``[1, rows, columns, width]``, 16 x 16 pixels each."""
    _, height, width = output.image_sizes[0]
    return output.last_hidden_state.unflatten(1, (height // 16, width // 16))
