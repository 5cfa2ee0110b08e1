"""What packs in sandboxes may do with objects of the host: by kind, closed lists, nothing else.

Host and worker both read it: the host judges by it, the worker knows by it what is an attribute and
what a method. An object of no kind listed here can be passed on to the host's nodes, and that is
all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True)
class Kind:
    """What one kind of object offers.

    Attributes:
        methods: that leave the object as it is.
        changes: methods that change it: for objects that the pack has made itself (``clone``).
        reads: attributes; plain data and tensors by value, other objects as handles.
        writes: attributes that may be set, likewise of own objects.
        local: devices: the worker answers with its own, where the pack's tensors are.
        calls: True for what can be called.
    """

    methods: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    local: frozenset[str] = frozenset()
    calls: bool = False


DEVICES = _words("load_device offload_device device output_device")

KINDS: dict[str, Kind] = {
    "MODEL": Kind(
        methods=_words(
            "clone model_size is_clone clone_has_same_weights get_model_object model_dtype "
            "model_state_dict memory_required loaded_size current_loaded_device get_ram_usage "
            "get_attachment lowvram_patch_counter get_wrappers get_all_wrappers get_callbacks "
            "get_all_callbacks"
        ),
        changes=_words(
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
        reads=_words("model model_options size attachments parent object_patches"),
        writes=_words("model_options"),
        local=DEVICES,
    ),
    "BASE_MODEL": Kind(
        methods=_words(
            "process_latent_in process_latent_out get_dtype memory_required apply_model "
            "scale_latent_inpaint is_adm"
        ),
        reads=_words(
            "latent_format model_sampling model_config model_type adm_channels concat_keys "
            "manual_cast_dtype diffusion_model memory_usage_factor inpaint_model"
        ),
        local=DEVICES,
    ),
    "DIFFUSION_MODEL": Kind(
        reads=_words(
            "dtype in_channels out_channels patch_size model_channels num_heads hidden_size "
            "depth axes_dim axes_lens num_classes context_dim dim n_layers num_layers"
        )
    ),
    "MODEL_CONFIG": Kind(
        reads=_words(
            "unet_config unet_extra_config sampling_settings latent_format memory_usage_factor "
            "supported_inference_dtypes manual_cast_dtype required_keys"
        )
    ),
    "MODEL_SAMPLING": Kind(
        methods=_words(
            "percent_to_sigma sigma timestep calculate_input calculate_denoised noise_scaling "
            "inverse_noise_scaling"
        ),
        reads=_words(
            "sigma_min sigma_max sigmas log_sigmas sigma_data shift multiplier num_timesteps "
            "linear_start linear_end zsnr parameterization"
        ),
    ),
    "LATENT_FORMAT": Kind(
        methods=_words("process_in process_out"),
        reads=_words(
            "scale_factor shift_factor latent_channels latent_dimensions latent_rgb_factors "
            "latent_rgb_factors_bias latent_rgb_factors_reshape taesd_decoder_name "
            "spacial_downscale_ratio latents_mean latents_std"
        ),
    ),
    "CLIP": Kind(
        methods=_words(
            "clone tokenize encode encode_from_tokens encode_from_tokens_scheduled load_model "
            "add_hooks_to_dict get_ram_usage"
        ),
        changes=_words("clip_layer set_tokenizer_option add_patches"),
        reads=_words(
            "layer_idx use_clip_schedule tokenizer_options patcher cond_stage_model "
            "apply_hooks_to_conds"
        ),
        writes=_words("layer_idx use_clip_schedule tokenizer_options apply_hooks_to_conds"),
        local=DEVICES,
    ),
    "VAE": Kind(
        methods=_words(
            "encode decode encode_tiled decode_tiled decode_tiled_ encode_tiled_ "
            "spacial_compression_encode spacial_compression_decode temporal_compression_decode "
            "vae_encode_crop_pixels process_input process_output model_size get_ram_usage "
            "throw_exception_if_invalid"
        ),
        reads=_words(
            "downscale_ratio upscale_ratio latent_channels latent_dim output_channels vae_dtype "
            "working_dtypes crop_input not_video disable_offload downscale_index_formula "
            "upscale_index_formula extra_1d_channel patcher first_stage_model size"
        ),
        local=DEVICES,
    ),
    "CONTROL_NET": Kind(
        methods=_words("copy inference_memory_requirements"),
        changes=_words("set_cond_hint set_previous_controlnet set_extra_arg"),
        reads=_words(
            "strength timestep_percent_range cond_hint_original previous_controlnet "
            "compression_ratio global_average_pooling extra_args latent_format strength_type "
            "concat_mask upscale_algorithm channels_in"
        ),
        writes=_words("strength timestep_percent_range strength_type"),
        local=DEVICES,
    ),
    "CLIP_VISION": Kind(
        methods=_words("encode_image"),
        reads=_words(
            "dtype image_size image_mean image_std return_all_hidden_states patcher model"
        ),
        local=DEVICES,
    ),
    "CLIP_VISION_MODEL": Kind(calls=True),
    "CLIP_VISION_OUTPUT": Kind(
        reads=_words(
            "last_hidden_state image_embeds penultimate_hidden_states all_hidden_states "
            "mm_projected image_sizes"
        )
    ),
    "STYLE_MODEL": Kind(methods=_words("get_cond")),
    "UPSCALE_MODEL": Kind(
        reads=_words(
            "scale input_channels output_channels tiling supports_half supports_bfloat16 model"
        ),
        local=DEVICES,
        calls=True,
    ),
    "SAMPLER": Kind(
        methods=_words("max_denoise"), reads=_words("extra_options inpaint_options")
    ),
    "GUIDER": Kind(
        methods=_words("predict_noise sample"),
        changes=_words("set_conds set_cfg set_option drop_option"),
        reads=_words("cfg model_patcher inner_model conds original_conds model_options"),
        writes=_words("cfg"),
    ),
    "DENOISER": Kind(reads=_words("inner_model sigmas"), calls=True),
    "APPLY_MODEL": Kind(calls=True),
    "STEP": Kind(calls=True),
    "EXECUTOR": Kind(methods=_words("execute"), reads=_words("class_obj"), calls=True),
    "NOISE": Kind(methods=_words("generate_noise"), reads=_words("seed")),
    "DYNPROMPT": Kind(
        methods=_words(
            "get_node has_node all_node_ids get_original_prompt get_real_node_id "
            "get_parent_node_id get_display_node_id"
        )
    ),
}  # fmt: skip

CLASSES = {
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
"""Names of ComfyUI's classes, own or inherited, and the kind that they are."""
NOISES = frozenset({"Noise_EmptyNoise", "Noise_RandomNoise"})
FUNCTIONS = {
    "BaseModel.apply_model": "APPLY_MODEL",
    "BaseModel.process_latent_in": "STEP",
    "BaseModel.process_latent_out": "STEP",
    "VAE.__init__.<locals>.<lambda>": "STEP",
    "KSAMPLER.sample.<locals>.<lambda>": "STEP",
    "CFGGuider.outer_predict_noise": "DENOISER",
    "prepare_callback.<locals>.callback": "STEP",
}
"""Functions of the host that packs get in their callbacks and may call, by qualified name."""
OBJECTS = frozenset(
    {"model_sampling", "latent_format", "model_config", "diffusion_model", "concat_keys",
     "manual_cast_dtype", "process_latent_in", "process_latent_out"}
)  # fmt: skip
"""What ``get_model_object`` gives."""


class OwnSampling:
    """Base of what the host makes of a pack's own noise levels.

    It says the kind where no class of ComfyUI's does. Only the host makes such objects: of what a
    worker has made itself it gets a number.
    """


def hosts(module: str) -> bool:
    """Whether that module is ComfyUI's or the loader of upscale models."""
    return module.partition(".")[0] in {"comfy", "comfy_execution", "comfy_extras", "spandrel"} or (
        "/comfy_extras/" in module
    )


def kind_of(value: Any) -> str:
    """The kind of an object, ``OTHER`` for one that has no operations."""
    if isinstance(value, OwnSampling):
        return "MODEL_SAMPLING"
    for one in type(value).__mro__:
        name, module = one.__name__, one.__module__
        if not hosts(module):
            continue
        if module.startswith("comfy.ldm."):
            return "DIFFUSION_MODEL"
        if (kind := CLASSES.get(name)) is not None:
            return kind
        if name in NOISES:
            return "NOISE"
    name, module = getattr(value, "__qualname__", ""), getattr(value, "__module__", "")
    if (
        isinstance(name, str)
        and isinstance(module, str)
        and (module.startswith("comfy.") or module == "latent_preview")
    ):
        return FUNCTIONS.get(name, "OTHER")
    return "OTHER"


def class_of(value: Any) -> str:
    """ComfyUI's classes that an object is of, ``module.Class|module.Class``, for ``isinstance``."""
    found: list[type] = []
    for one in type(value).__mro__:
        plain = hosts(one.__module__) and "<" not in one.__qualname__
        if plain and not any(issubclass(known, one) for known in found):
            found.append(one)
    return "|".join(f"{one.__module__}.{one.__qualname__}" for one in found[:8])
