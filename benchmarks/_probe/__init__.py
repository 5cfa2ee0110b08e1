"""A node pack for benchmarks only: loads any size with the host's own classes, tells device peaks.

The host's loaders know the full-size model alone, so the bare host needs a loader of its own for
smaller ones; nothing of it runs while pictures are timed.
"""

import json

import comfy.model_management as management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import comfy.text_encoders.z_image
import folder_paths
import torch
from aiohttp import web
from safetensors import safe_open
from server import PromptServer


class BenchLoader:
    """MODEL, CLIP and VAE from ``bench.safetensors`` in the three model folders, in float32."""

    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load"
    CATEGORY = "bench"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def load(self):
        """Build the three by the host's classes, as the configuration in the files says."""
        return (_model(*_read("diffusion_models")), _clip(*_read("text_encoders")), _vae())


def _read(kind):
    path = folder_paths.get_full_path_or_raise(kind, "bench.safetensors")
    with safe_open(path, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return state, json.loads(file.metadata()["zimage"])["config"]


def _model(state, config):
    model_config = comfy.supported_models.ZImage(config)
    model_config.set_inference_dtype(torch.float32, None)
    model = model_config.get_model(state, "")
    model.load_model_weights(state, "")
    device, offload = management.get_torch_device(), management.unet_offload_device()
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=offload)


def _clip(state, config):
    class Target:
        clip = comfy.text_encoders.z_image.te(dtype_llama=torch.float32)
        tokenizer = comfy.text_encoders.z_image.ZImageTokenizer
        params: dict = {}  # noqa: RUF012

    clip = comfy.sd.CLIP(Target, model_options={"qwen3_4b_model_config": config})
    clip.load_sd(state)
    return clip


def _vae():
    state, config = _read("vae")
    for name, channels in (("quant_conv", 32), ("post_quant_conv", 16)):
        state[f"{name}.weight"] = torch.eye(channels)[:, :, None, None]
        state[f"{name}.bias"] = torch.zeros(channels)
    vae = comfy.sd.VAE(sd=state, config={"params": config}, dtype=torch.float32)
    vae.latent_channels = 16
    return vae


@PromptServer.instance.routes.get("/bench/device_peak")
async def device_peak(request):
    """Largest device memory torch has allocated since the last call, in bytes; 0 on the CPU."""
    if not torch.cuda.is_available():
        return web.json_response({"bytes": 0})
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return web.json_response({"bytes": peak})


NODE_CLASS_MAPPINGS = {"BenchLoader": BenchLoader}
