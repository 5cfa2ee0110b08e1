"""The host's transformer and model with room for reference pictures; part of :mod:`.host`."""

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
    """Whether the host's own classes take references (ComfyUI 0.11 and newer)."""
    parameters = inspect.signature(comfy.ldm.lumina.model.NextDiT.__init__).parameters
    return "siglip_feat_dim" in parameters


def takes_references(model: comfy.model_patcher.ModelPatcher) -> bool:
    """Whether a MODEL was made for reference pictures: ours, or the host's own Omni."""
    module = getattr(model.model, "diffusion_model", None)
    own = isinstance(module, OmniTransformer)
    return own or getattr(module, "siglip_embedder", None) is not None


class OmniTransformer(comfy.ldm.lumina.model.NextDiT):
    """The host's transformer with room for references; without them it is the host's to the bit."""

    def __init__(self, siglip_feat_dim: int | None = None, **arguments: Any) -> None:
        native = {"siglip_feat_dim": siglip_feat_dim} if reads_siglip() else {}
        super().__init__(**arguments, **native)
        if siglip_feat_dim is None or native:
            return
        where = {"device": arguments.get("device"), "dtype": arguments.get("dtype")}
        operations = arguments["operations"]
        self.siglip_embedder = torch.nn.Sequential(
            operations.RMSNorm(siglip_feat_dim, eps=1e-5, elementwise_affine=True, **where),
            operations.Linear(siglip_feat_dim, self.dim, bias=True, **where),
        )
        # Blocks of the same kind and number as those that refine the caption.
        self.siglip_refiner = copy.deepcopy(self.context_refiner)
        self.siglip_pad_token = torch.nn.Parameter(torch.empty((1, self.dim), **where))

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
        around, siglip = kwargs.pop("ref_contexts", ()), kwargs.pop("siglip_feats", None)
        if not references:
            return super()._forward(x, timesteps, context, num_tokens, attention_mask, **kwargs)
        whole = (self.patch_size, self.patch_size)
        pad = comfy.ldm.common_dit.pad_to_patch_size
        out = omni.velocity(
            self,
            pad(x, whole),
            timesteps,
            context,
            None if attention_mask is None else attention_mask.bool(),
            [pad(latent, whole) for latent in references],
            around,
            siglip,
            kwargs.get("transformer_options"),
        )
        return out[..., : x.shape[-2], : x.shape[-1]]


class OmniModel(comfy.model_base.Lumina2):
    """Hands references from the conditioning, under the host's own names, to the transformer."""

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
        out = super().extra_conds(**kwargs)
        latents = [self.process_latent_in(one) for one in kwargs.get("reference_latents") or ()]
        given = {
            "ref_latents": latents,
            "ref_contexts": kwargs.get("reference_latents_text_embeds"),
            "siglip_feats": [_grid(one) for one in kwargs.get("clip_vision_outputs") or ()],
        }
        return out | {name: comfy.conds.CONDList(list(one)) for name, one in given.items() if one}

    def extra_conds_shapes(self, **kwargs: Any) -> dict[str, Any]:
        cells = sum(one.shape[-2] * one.shape[-1] for one in kwargs.get("reference_latents") or ())
        return {"ref_latents": [1, 16, cells]} if cells else {}


class OmniConfig(comfy.supported_models.ZImage):
    def get_model(
        self, state_dict: StateDict, prefix: str = "", device: torch.device | None = None
    ) -> OmniModel:
        return OmniModel(self, device=device)


def _grid(seen: Any) -> torch.Tensor:
    """Features ``[1, rows, columns, width]`` that an image encoder gave, one per 16 x 16 pixels."""
    _, height, width = seen.image_sizes[0]
    return seen.last_hidden_state.unflatten(1, (height // 16, width // 16))
