"""Small inputs of every type of ComfyUI's own nodes; weights are random with a fixed seed."""

import functools
import importlib
import json
import os
import tempfile

import comfy.clip_vision
import comfy.model_management as management
import comfy.model_patcher
import comfy.samplers
import comfy.sd
import comfy.supported_models
import torch

WIDTH = 128
"""Width of the text encoder's states."""
BATCH, HIGH, WIDE = 2, 64, 96


def _image():
    rows = torch.linspace(0, 1, HIGH).reshape(1, HIGH, 1, 1)
    columns = torch.linspace(0, 1, WIDE).reshape(1, 1, WIDE, 1)
    colours = torch.rand(BATCH, 1, 1, 3)
    noise = torch.rand(BATCH, HIGH, WIDE, 3)
    return (0.4 * rows + 0.3 * columns * colours + 0.3 * noise).clamp(0, 1)


def _mask():
    mask = torch.zeros(BATCH, HIGH, WIDE)
    mask[:, 16:40, 24:72] = 1.0
    mask[:, 20:30, 30:40] = 0.5
    return mask


def _latent():
    return {"samples": torch.randn(BATCH, 4, HIGH // 8, WIDE // 8)}


def _conditioning():
    return [[torch.randn(1, 77, WIDTH), {"pooled_output": torch.randn(1, WIDTH)}]]


UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "context_dim": WIDTH,
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1] * 9 + [0] * 3,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "use_spatial_transformer": True,
    "legacy": False,
    "use_checkpoint": False,
    "use_temporal_attention": False,
    "num_heads": 8,
    "num_head_channels": -1,
    "dtype": torch.float32,
}
"""The layout of SD 1.5 at a tenth of its width; most model patches are written for it."""


@functools.cache
def _unet():
    config = comfy.supported_models.SD15(dict(UNET))
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, "")
    _filled(model)
    return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def _filled(module):
    dice = torch.Generator().manual_seed(1)  # independent of the order of calls
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=dice) * (
            0.5 / max(1, parameter[0].numel()) ** 0.5
        )
    module.eval()


def _node(name):
    return importlib.import_module("nodes").NODE_CLASS_MAPPINGS[name]


@functools.cache
def _clip():
    loader = _node("ZImageLoader")
    name, qwen = "zimage-small-base.safetensors", "zimage-small-qwen3.safetensors"
    return loader.execute(name, qwen, "zimage-small-ae.safetensors", "auto", "auto").result[1]


@functools.cache
def _vae():
    config = {
        "ch": 32,
        "in_channels": 3,
        "out_ch": 3,
        "z_channels": 4,
        "double_z": True,
        "ch_mult": [1, 1, 1, 1],
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "dropout": 0.0,
        "resolution": 64,
    }
    vae = comfy.sd.VAE(sd={}, config={"params": {"ddconfig": config, "embed_dim": 4}})
    _filled(vae.first_stage_model)
    return vae


@functools.cache
def _clip_vision():
    config = {
        "hidden_size": 64,
        "image_size": 224,
        "intermediate_size": 64,
        "num_channels": 3,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "patch_size": 56,
        "projection_dim": 48,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "model_type": "clip_vision_model",
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
        json.dump(config, file)
    model = comfy.clip_vision.ClipVisionModel(file.name)
    os.unlink(file.name)
    _filled(model.model)
    return model


@functools.cache
def _upscale_model():
    from spandrel.architectures.Compact import CompactArch

    shapes = {0: (8, 3, 3, 3), 1: (8,), 2: (8, 8, 3, 3), 3: (8,), 4: (12, 8, 3, 3)}
    state = {f"body.{index}.weight": torch.rand(shape) * 0.1 for index, shape in shapes.items()}
    state |= {f"body.{index}.bias": torch.zeros(shapes[index][0]) for index in (0, 2, 4)}
    model = CompactArch().load(state)
    _filled(model.model)
    return model


@functools.cache
def _control():
    import comfy.cldm.cldm
    import comfy.controlnet

    left_out = {"out_channels", "transformer_depth_output"}
    config = {k: v for k, v in UNET.items() if k not in left_out}
    net = comfy.cldm.cldm.ControlNet(
        hint_channels=3,
        operations=comfy.ops.disable_weight_init,
        device=torch.device("cpu"),
        **config,
    )
    _filled(net)
    return comfy.controlnet.ControlNet(net, manual_cast_dtype=None)


def _guider():
    guider = comfy.samplers.CFGGuider(_unet().clone())
    guider.set_conds(_conditioning(), _conditioning())
    guider.set_cfg(3.0)
    return guider


def _noise():
    return _node("RandomNoise").execute(noise_seed=7).result[0]


def _sigmas():
    return comfy.samplers.calculate_sigmas(
        _unet().get_model_object("model_sampling"), "normal", 4
    ).cpu()


def _audio():
    return {"waveform": torch.rand(1, 2, 8000) - 0.5, "sample_rate": 8000}


def _video():
    from fractions import Fraction

    from comfy_api.latest import InputImpl, Types

    return InputImpl.VideoFromComponents(
        Types.VideoComponents(images=_image(), frame_rate=Fraction(8))
    )


def _hook():
    import comfy.hooks

    return comfy.hooks.HookGroup()


MAKERS = {
    "IMAGE": _image,
    "MASK": _mask,
    "LATENT": _latent,
    "CONDITIONING": _conditioning,
    "MODEL": lambda: _unet().clone(),
    "CLIP": lambda: _clip().clone(),
    "VAE": _vae,
    "CLIP_VISION": _clip_vision,
    "CLIP_VISION_OUTPUT": lambda: _clip_vision().encode_image(_image()),
    "CONTROL_NET": lambda: _control().copy(),
    "UPSCALE_MODEL": _upscale_model,
    "SIGMAS": _sigmas,
    "SAMPLER": lambda: comfy.samplers.sampler_object("euler"),
    "GUIDER": _guider,
    "NOISE": _noise,
    "AUDIO": _audio,
    "VIDEO": _video,
    "HOOKS": _hook,
    "INT": lambda: 3,
    "FLOAT": lambda: 0.5,
    "STRING": lambda: "a cat, a dog",
    "BOOLEAN": lambda: True,
}
"""A function for each type."""
assert management.cpu_state == management.CPUState.CPU, "for the processor alone"
