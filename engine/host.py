"""Every use of ComfyUI's model code by the engine, together with :mod:`.host_references`.

It works with ComfyUI 0.3.75 and newer. Where a signature has grown, the code inspects the signature
instead of a version number. Importing this module imports ComfyUI.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import comfy.clip_model
import comfy.latent_formats
import comfy.ldm.lumina.model
import comfy.ldm.models.autoencoder
import comfy.model_management as management
import comfy.model_patcher
import comfy.model_sampling
import comfy.ops
import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.taesd.taesd
import comfy.text_encoders.bert
import comfy.text_encoders.hunyuan_video
import comfy.text_encoders.llama
import comfy.text_encoders.z_image
import comfy.utils
import torch

from .host_references import (  # noqa: F401 - other modules import them from here
    OmniConfig,
    OmniTransformer,
    reads_siglip,
    takes_references,
)

StateDict = dict[str, torch.Tensor]
Shapes = dict[str, tuple[int, ...]]

VOCABULARY = 151_936
CLIP_VOCABULARY, BERT_VOCABULARY = 49_408, 47_020
OUT_OF_MEMORY: type[BaseException] = management.OOM_EXCEPTION


# --- names and shapes that the host expects in a file ---------------------------------------------
def diffusion_shapes(config: dict[str, Any]) -> Shapes:
    """Return names and shapes of the host's Z-Image transformer, built on the meta device."""
    arguments = {**config, "dtype": torch.bfloat16, "device": "meta"}
    operations = comfy.ops.disable_weight_init
    transformer = OmniTransformer if "siglip_feat_dim" in config else comfy.ldm.lumina.model.NextDiT
    return _shapes(transformer(**arguments, operations=operations))


def text_encoder_shapes(config: dict[str, int]) -> Shapes:
    """Return names and shapes of the host's Qwen3, built on the meta device."""
    return _shapes(
        comfy.text_encoders.llama.Qwen3_4B(
            dict(config), torch.bfloat16, "meta", comfy.ops.disable_weight_init
        )
    )


def vae_shapes(config: dict[str, Any]) -> Shapes:
    """Return names and shapes of the host's autoencoder, with its 1x1 quant convolutions."""
    with torch.device("meta"):
        if "ddconfig" not in config:
            return _shapes(comfy.taesd.taesd.TAESD(**config))
        return _shapes(comfy.ldm.models.autoencoder.AutoencoderKL(**config))


def quantisation_formats() -> Mapping[str, Any]:
    """Return the quantised weight formats that the host supports, by name; none in older hosts."""
    return getattr(comfy.ops, "QUANT_ALGOS", {})


def reads_quantisation_notes() -> bool:
    """Return whether the host reads formats from tensors beside the weights (``.comfy_quant``)."""
    return hasattr(comfy.utils, "convert_old_quants")


def _shapes(module: torch.nn.Module) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def encoder_shapes(kind: str, config: dict[str, Any]) -> Shapes:
    """Return names and shapes of the host's CLIP text model or BERT, built on the meta device."""
    return _shapes(_encoder(kind, config, torch.float32, "meta"))


# --- building the host's own objects --------------------------------------------------------------
def load_diffusion(
    state: StateDict, dtype: torch.dtype | None, metadata: dict[str, str] | None
) -> comfy.model_patcher.ModelPatcher | None:
    """Load weights of the official size with the host's own loader, which knows quantisation.

    Returns:
        The model, None where the host does not recognise the weights.
    """
    load = comfy.sd.load_diffusion_model_state_dict
    options = {} if dtype is None else {"dtype": dtype}
    return load(state, model_options=options, **_supported(load, metadata=metadata))


def build_diffusion(
    config: dict[str, Any], state: StateDict, dtype: torch.dtype | None, references: bool = False
) -> comfy.model_patcher.ModelPatcher:
    """Build a Z-Image of any size; the host's loader recognises width 3840 alone.

    Args:
        config: arguments of the host's ``NextDiT``.
        state: weights by name.
        dtype: precision of the weights; None for the host's choice.
        references: whether the model takes reference pictures. Such a model uses the forward pass
            of this pack on every host.
    """
    config_class = OmniConfig if references else comfy.supported_models.ZImage
    model_config = config_class(dict(config))
    supported = list(model_config.supported_inference_dtypes)
    if dtype is None:
        dtype = management.unet_dtype(
            model_params=comfy.utils.calculate_parameters(state),
            supported_dtypes=supported,
            weight_dtype=comfy.utils.weight_dtype(state),
        )
    device = management.get_torch_device()
    model_config.set_inference_dtype(dtype, management.unet_manual_cast(dtype, device, supported))
    offload = management.unet_offload_device()
    model = model_config.get_model(state, "").to(offload)
    model.load_model_weights(state, "")
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=offload)


def load_text_encoder(state: StateDict) -> comfy.sd.CLIP:
    """Load Qwen3-4B with the host's own loader, which knows quantisation.

    It gets no folder of embeddings, so ``embedding:name`` in a prompt is plain text. There are no
    embeddings for Qwen3; the host would open pickle files, or fail on a missing name.
    """
    return comfy.sd.load_text_encoder_state_dicts([state], clip_type=comfy.sd.CLIPType.LUMINA2)


def build_text_encoder(config: dict[str, int], state: StateDict) -> comfy.sd.CLIP:
    """Build a Qwen3 of any size with the host's Z-Image tokenizer and template."""

    class Target:
        clip = comfy.text_encoders.z_image.te(
            **comfy.text_encoders.hunyuan_video.llama_detect(state)
        )
        tokenizer = comfy.text_encoders.z_image.ZImageTokenizer
        params: dict[str, Any] = {}  # noqa: RUF012 - the host copies it

    clip = comfy.sd.CLIP(
        Target,
        parameters=comfy.utils.calculate_parameters(state),
        model_options={"qwen3_4b_model_config": dict(config)},
    )
    clip.load_sd(state)
    return clip


def build_encoder(
    kind: str, config: dict[str, Any], state: StateDict, dtype: torch.dtype, device: Any
) -> torch.nn.Module:
    """Build the host's CLIP text model or BERT with these weights."""
    model = _encoder(kind, config, dtype, device)
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def _encoder(kind: str, config: dict[str, Any], dtype: torch.dtype, device: Any) -> torch.nn.Module:
    build = {"clip": comfy.clip_model.CLIPTextModel_, "bert": comfy.text_encoders.bert.BertModel_}
    return build[kind](dict(config), dtype, device, comfy.ops.manual_cast)


def build_adapter(
    build: Callable[..., torch.nn.Module],
    config: Any,
    state: StateDict,
    dtype: torch.dtype,
    device: Any,
) -> torch.nn.Module:
    """Build an adapter whose layers cast their weights like the host's layers."""
    adapter = build(config, comfy.ops.manual_cast, dtype=dtype, device=device)
    adapter.load_state_dict({name: state[name] for name in adapter.state_dict()})
    return adapter.eval().requires_grad_(False)


def build_clip(
    model: Callable[[torch.dtype, Any], torch.nn.Module], tokenizer: Callable[[], Any]
) -> comfy.sd.CLIP:
    """Build a CLIP object from a text model of this pack.

    Args:
        model: takes the precision and the device, returns the text model.
        tokenizer: returns the tokenizer; called after ``model``.
    """

    class Target:
        params: dict[str, Any] = {}  # noqa: RUF012 - the host copies it

        @staticmethod
        def clip(dtype: torch.dtype, device: Any, **_: Any) -> torch.nn.Module:
            return model(dtype, device)

        @staticmethod
        def tokenizer(**_: Any) -> Any:
            return tokenizer()

    return comfy.sd.CLIP(Target)


def clip_vocabulary() -> Path:
    """Return the folder of the host's CLIP tokenizer."""
    return Path(comfy.sd1_clip.__file__).with_name("sd1_tokenizer")


def bert_vocabulary() -> Path:
    """Return the file of the host's Chinese BERT vocabulary.

    Its first 21,128 words are those of bert-base-chinese.
    """
    return Path(comfy.text_encoders.bert.__file__).with_name("hydit_clip_tokenizer") / "vocab.txt"


def build_vae(
    state: StateDict, config: dict[str, Any] | None, dtype: torch.dtype | None
) -> comfy.sd.VAE:
    """Build the host's VAE; without ``config``, the host detects TAESD or the official VAE."""
    options = {} if config is None else {"config": {"params": config}}
    vae = comfy.sd.VAE(sd=state, dtype=dtype, **options)
    vae.latent_channels = 16
    return vae


def is_dual(clip: Any) -> bool:
    """Return whether a CLIP object contains the dual encoder of :mod:`.dual`."""
    return hasattr(getattr(clip, "tokenizer", None), "read")


def width_of(clip: comfy.sd.CLIP) -> int | None:
    """Return the width of the hidden states of a CLIP object with a Qwen3, else None."""
    value: Any = clip
    for name in ("cond_stage_model", "qwen3_4b", "transformer", "model", "config", "hidden_size"):
        value = getattr(value, name, None)
    return value


# --- sampling -----------------------------------------------------------------------------------
def with_shift(model: comfy.model_patcher.ModelPatcher, shift: float) -> Any:
    """Return a clone with a flow shift, as the host's ``ModelSamplingAuraFlow`` node sets it."""

    class ShiftedFlow(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
        pass

    clone = model.clone()
    sampling = ShiftedFlow(model.model.model_config)
    sampling.set_parameters(shift=shift, multiplier=1.0)
    clone.add_object_patch("model_sampling", sampling)
    return clone


def caption_width(model: comfy.model_patcher.ModelPatcher) -> int | None:
    """Return the width of the text features of a Z-Image model; None for any other model."""
    config = getattr(getattr(model.model, "model_config", None), "unet_config", {})
    return config.get("cap_feat_dim") if config.get("z_image_modulation") else None


def model_width(model: comfy.model_patcher.ModelPatcher) -> int:
    """Return the width of the transformer, 3840 for the official size."""
    return model.model.model_config.unet_config["dim"]


def caption_weight(model: comfy.model_patcher.ModelPatcher) -> torch.Tensor:
    """Return the weight of the text projection of a Z-Image model, [dim, caption width]."""
    return model.model.diffusion_model.cap_embedder[1].weight


def preview_callback(model: comfy.model_patcher.ModelPatcher, steps: int) -> Callable[..., None]:
    """Return the host's own callback for progress and previews."""
    import latent_preview  # a module of the host's root folder, absent in unit tests

    return latent_preview.prepare_callback(model, steps)


def resize(picture: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Scale ``[B, H, W, 3]`` and crop its edges to a width and height, as the host does."""
    planes = picture.movedim(-1, 1)
    return comfy.utils.common_upscale(planes, width, height, "lanczos", "center").movedim(1, -1)


def encode_picture(vae: comfy.sd.VAE, picture: torch.Tensor) -> torch.Tensor:
    """Encode a picture ``[1, H, W, 3]`` in 0..1 to a latent ``[1, 16, H/8, W/8]``."""
    return vae.encode(picture)


def load_for_decoding(vae: comfy.sd.VAE, shape: torch.Size) -> None:
    """Load the VAE to its device and free the memory for decoding latents of ``shape``."""
    needed = vae.memory_used_decode(shape, vae.vae_dtype)
    management.load_models_gpu([vae.patcher], memory_required=needed)


def stop_if_interrupted() -> None:
    """Raise the host's exception when the prompt was interrupted."""
    management.throw_exception_if_processing_interrupted()


def free_memory(device: torch.device) -> int:
    """Return the free bytes of a device, as the host counts them."""
    return int(management.get_free_memory(device))


def _supported(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """Return those ``arguments`` that this version of the host's function accepts."""
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in arguments.items() if name in parameters}
