"""Closed lists of the operations that a pack may use on objects of the host, by kind of object.

The host checks requests against the lists; the worker learns from them what is an attribute and
what is a method. An object of any other kind can only be passed on to nodes of the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True)
class Operations:
    """The operations of one kind of object.

    Attributes:
        methods: methods that do not change the object.
        changes: methods that change it, for objects that the pack has created, such as a clone.
        reads: attributes; plain data and tensors are sent by value, other objects by reference.
        writes: attributes that may be set, for objects that the pack has created.
        local: devices; the worker returns its own, where the pack's tensors are.
        calls: whether the object can be called.
    """

    methods: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    local: frozenset[str] = frozenset()
    calls: bool = False


DEVICES = _names("load_device offload_device device output_device")

OPERATIONS: dict[str, Operations] = {
    "MODEL": Operations(
        methods=_names(
            "clone model_size is_clone clone_has_same_weights get_model_object model_dtype "
            "model_state_dict memory_required loaded_size current_loaded_device get_ram_usage "
            "get_attachment lowvram_patch_counter get_wrappers get_all_wrappers get_callbacks "
            "get_all_callbacks"
        ),
        changes=_names(
            "add_patches add_object_patch set_model_sampler_cfg_function "
            "set_model_sampler_post_cfg_function set_model_sampler_pre_cfg_function "
            "set_model_sampler_calc_cond_batch_function set_model_unet_function_wrapper "
            "set_model_denoise_mask_function set_model_patch set_model_patch_replace "
            "set_model_attn1_patch set_model_attn2_patch set_model_attn1_replace "
            "set_model_attn2_replace set_model_attn1_output_patch set_model_attn2_output_patch "
            "set_model_input_block_patch set_model_input_block_patch_after_skip "
            "set_model_output_block_patch set_model_emb_patch set_model_double_block_patch "
            "set_model_forward_timestep_embed_patch set_model_post_input_patch "
            "set_model_rope_options set_model_compute_dtype set_attachments remove_attachments "
            "set_option drop_option add_wrapper add_wrapper_with_key remove_wrappers_with_key "
            "add_callback add_callback_with_key remove_callbacks_with_key"
        ),
        reads=_names("model model_options size attachments parent object_patches"),
        writes=_names("model_options"),
        local=DEVICES,
    ),
    "BASE_MODEL": Operations(
        methods=_names(
            "process_latent_in process_latent_out get_dtype memory_required apply_model "
            "scale_latent_inpaint is_adm"
        ),
        reads=_names(
            "latent_format model_sampling model_config model_type adm_channels concat_keys "
            "manual_cast_dtype diffusion_model memory_usage_factor inpaint_model"
        ),
        local=DEVICES,
    ),
    "DIFFUSION_MODEL": Operations(
        reads=_names(
            "dtype in_channels out_channels patch_size model_channels num_heads hidden_size "
            "depth axes_dim axes_lens num_classes context_dim dim n_layers num_layers"
        )
    ),
    "MODEL_CONFIG": Operations(
        reads=_names(
            "unet_config unet_extra_config sampling_settings latent_format memory_usage_factor "
            "supported_inference_dtypes manual_cast_dtype required_keys"
        )
    ),
    "MODEL_SAMPLING": Operations(
        methods=_names(
            "percent_to_sigma sigma timestep calculate_input calculate_denoised noise_scaling "
            "inverse_noise_scaling"
        ),
        reads=_names(
            "sigma_min sigma_max sigmas log_sigmas sigma_data shift multiplier num_timesteps "
            "linear_start linear_end zsnr parameterization"
        ),
    ),
    "LATENT_FORMAT": Operations(
        methods=_names("process_in process_out"),
        reads=_names(
            "scale_factor shift_factor latent_channels latent_dimensions latent_rgb_factors "
            "latent_rgb_factors_bias latent_rgb_factors_reshape taesd_decoder_name "
            "spacial_downscale_ratio latents_mean latents_std"
        ),
    ),
    "CLIP": Operations(
        methods=_names(
            "clone tokenize encode encode_from_tokens encode_from_tokens_scheduled load_model "
            "add_hooks_to_dict get_ram_usage"
        ),
        changes=_names("clip_layer set_tokenizer_option add_patches"),
        reads=_names(
            "layer_idx use_clip_schedule tokenizer_options patcher cond_stage_model "
            "apply_hooks_to_conds"
        ),
        writes=_names("layer_idx use_clip_schedule tokenizer_options apply_hooks_to_conds"),
        local=DEVICES,
    ),
    "VAE": Operations(
        methods=_names(
            "encode decode encode_tiled decode_tiled decode_tiled_ encode_tiled_ "
            "spacial_compression_encode spacial_compression_decode temporal_compression_decode "
            "vae_encode_crop_pixels process_input process_output model_size get_ram_usage "
            "throw_exception_if_invalid"
        ),
        reads=_names(
            "downscale_ratio upscale_ratio latent_channels latent_dim output_channels vae_dtype "
            "working_dtypes crop_input not_video disable_offload downscale_index_formula "
            "upscale_index_formula extra_1d_channel patcher first_stage_model size"
        ),
        local=DEVICES,
    ),
    "CONTROL_NET": Operations(
        methods=_names("copy inference_memory_requirements"),
        changes=_names("set_cond_hint set_previous_controlnet set_extra_arg"),
        reads=_names(
            "strength timestep_percent_range cond_hint_original previous_controlnet "
            "compression_ratio global_average_pooling extra_args latent_format strength_type "
            "concat_mask upscale_algorithm channels_in"
        ),
        writes=_names("strength timestep_percent_range strength_type"),
        local=DEVICES,
    ),
    "CLIP_VISION": Operations(
        methods=_names("encode_image"),
        reads=_names(
            "dtype image_size image_mean image_std return_all_hidden_states patcher model"
        ),
        local=DEVICES,
    ),
    "CLIP_VISION_MODEL": Operations(calls=True),
    "CLIP_VISION_OUTPUT": Operations(
        reads=_names(
            "last_hidden_state image_embeds penultimate_hidden_states all_hidden_states "
            "mm_projected image_sizes"
        )
    ),
    "STYLE_MODEL": Operations(methods=_names("get_cond")),
    "UPSCALE_MODEL": Operations(
        reads=_names(
            "scale input_channels output_channels tiling supports_half supports_bfloat16 model"
        ),
        local=DEVICES,
        calls=True,
    ),
    "SAMPLER": Operations(
        methods=_names("max_denoise"), reads=_names("extra_options inpaint_options")
    ),
    "GUIDER": Operations(
        methods=_names("predict_noise sample"),
        changes=_names("set_conds set_cfg set_option drop_option"),
        reads=_names("cfg model_patcher inner_model conds original_conds model_options"),
        writes=_names("cfg"),
    ),
    "DENOISER": Operations(reads=_names("inner_model sigmas"), calls=True),
    "APPLY_MODEL": Operations(calls=True),
    "STEP": Operations(calls=True),
    "EXECUTOR": Operations(methods=_names("execute"), reads=_names("class_obj"), calls=True),
    "NOISE": Operations(methods=_names("generate_noise"), reads=_names("seed")),
    "DYNPROMPT": Operations(
        methods=_names(
            "get_node has_node all_node_ids get_original_prompt get_real_node_id "
            "get_parent_node_id get_display_node_id"
        )
    ),
}

CLASS_KINDS = {
    "ModelPatcher": "MODEL",
    "BaseModel": "BASE_MODEL",
    "BASE": "MODEL_CONFIG",
    "EPS": "MODEL_SAMPLING",
    "CONST": "MODEL_SAMPLING",
    "COSMOS_RFLOW": "MODEL_SAMPLING",
    "ModelSamplingDiscrete": "MODEL_SAMPLING",
    "ModelSamplingContinuousEDM": "MODEL_SAMPLING",
    "ModelSamplingDiscreteFlow": "MODEL_SAMPLING",
    "ModelSamplingFlux": "MODEL_SAMPLING",
    "ModelSamplingCosmosRFlow": "MODEL_SAMPLING",
    "LatentFormat": "LATENT_FORMAT",
    "CLIP": "CLIP",
    "VAE": "VAE",
    "ControlBase": "CONTROL_NET",
    "Sampler": "SAMPLER",
    "ClipVisionModel": "CLIP_VISION",
    "CLIPVisionModelProjection": "CLIP_VISION_MODEL",
    "Output": "CLIP_VISION_OUTPUT",
    "StyleModel": "STYLE_MODEL",
    "CFGGuider": "GUIDER",
    "KSamplerX0Inpaint": "DENOISER",
    "WrapperExecutor": "EXECUTOR",
    "DynamicPrompt": "DYNPROMPT",
    "ModelDescriptor": "UPSCALE_MODEL",
    "ImageModelDescriptor": "UPSCALE_MODEL",
    "MaskedImageModelDescriptor": "UPSCALE_MODEL",
}
"""Kind of an object, by the name of its class or of a base class in ComfyUI."""
NOISE_CLASSES = frozenset({"Noise_EmptyNoise", "Noise_RandomNoise"})
FUNCTION_KINDS = {
    "BaseModel.apply_model": "APPLY_MODEL",
    "BaseModel.process_latent_in": "STEP",
    "BaseModel.process_latent_out": "STEP",
    "VAE.__init__.<locals>.<lambda>": "STEP",
    "KSAMPLER.sample.<locals>.<lambda>": "STEP",
    "CFGGuider.outer_predict_noise": "DENOISER",
    "prepare_callback.<locals>.callback": "STEP",
}
"""Kind of a function that callbacks of packs receive and may call, by qualified name."""
MODEL_OBJECTS = _names(
    "model_sampling latent_format model_config diffusion_model concat_keys manual_cast_dtype "
    "process_latent_in process_latent_out"
)
"""Names for which packs may call ``get_model_object``."""


class OwnModelSampling:
    """Base class of the host's object for a ``model_sampling`` that a pack has defined.

    It marks the kind of the object, which has no class of ComfyUI. A worker cannot forge it: the
    host's objects are created by the host only.
    """


def is_host_module(name: str) -> bool:
    """Return whether a module belongs to ComfyUI or to the loader of upscale models."""
    package = name.partition(".")[0]
    return (
        package in {"comfy", "comfy_execution", "comfy_extras", "spandrel"}
        or "/comfy_extras/" in name
    )


def kind_of(value: Any) -> str:
    """Return the kind of an object, ``OTHER`` if it has no operations."""
    if isinstance(value, OwnModelSampling):
        return "MODEL_SAMPLING"
    for base in type(value).__mro__:
        if (kind := _kind_of_class(base)) is not None:
            return kind
    name = getattr(value, "__qualname__", "")
    module = getattr(value, "__module__", "")
    if not isinstance(name, str) or not isinstance(module, str):
        return "OTHER"
    if module.startswith("comfy.") or module == "latent_preview":
        return FUNCTION_KINDS.get(name, "OTHER")
    return "OTHER"


def _kind_of_class(base: type) -> str | None:
    """Return the kind of the objects of a class, None if it is no class of ComfyUI's."""
    if not is_host_module(base.__module__):
        return None
    if base.__module__.startswith("comfy.ldm."):
        return "DIFFUSION_MODEL"
    if base.__name__ in NOISE_CLASSES:
        return "NOISE"
    return CLASS_KINDS.get(base.__name__)


def class_of(value: Any) -> str:
    """Return ComfyUI's classes of an object, for ``isinstance`` in the worker.

    Returns:
        Qualified names, ``module.Class|module.Class``, without the bases of listed classes.
    """
    classes: list[type] = []
    for base in type(value).__mro__:
        importable = is_host_module(base.__module__) and "<" not in base.__qualname__
        if importable and not any(issubclass(known, base) for known in classes):
            classes.append(base)
    return "|".join(f"{base.__module__}.{base.__qualname__}" for base in classes[:8])
