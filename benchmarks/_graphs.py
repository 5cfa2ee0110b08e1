"""The same picture as a prompt with the pack's nodes and as a prompt with the host's nodes."""

from __future__ import annotations

from typing import Any

Graph = dict[str, dict[str, Any]]


def nodes_graph(job: Any, full: bool) -> Graph:
    """Return a prompt with six nodes of the pack; it saves PNG like the others."""
    file = "bench.safetensors"
    return {
        "load": _node(
            "ZImageLoader",
            model_name=file,
            text_encoder=file,
            vae=file,
            variant="turbo",
            dtype="auto" if full else "fp32",
        ),
        "text": _node("ZImageTextEncode", clip=["load", 1], prompt=job.prompt, negative_prompt=""),
        "size": _node(
            "ZImageLatent", size="custom", width=job.width, height=job.height, batch_size=1
        ),
        "sample": _node(
            "ZImageSampler",
            model=["load", 0],
            positive=["text", 0],
            negative=["text", 1],
            latent_image=["size", 0],
            seed=job.seed,
            preset="turbo",
            steps=job.steps,
            cfg=-1.0,
            shift=-1.0,
            sampler_name="euler",
            scheduler="simple",
            denoise=1.0,
        ),
        "decode": _node("ZImageDecode", samples=["sample", 0], vae=["load", 2], tiling="auto"),
        "save": _node(
            "ZImageSave",
            images=["decode", 0],
            filename_prefix="bench",
            format="png",
            quality=85,
        ),
    }


def host_graph(job: Any, full: bool) -> Graph:
    """Return a prompt with the host's nodes: its official template with the Euler sampler."""
    size = {"width": job.width, "height": job.height, "batch_size": 1}
    graph = _host_loaders() if full else {"load": _node("BenchLoader")}
    model, clip, vae = (
        (["model", 0], ["clip", 0], ["vae", 0]) if full else (["load", 0], ["load", 1], ["load", 2])
    )
    return graph | {
        "text": _node("CLIPTextEncode", clip=clip, text=job.prompt),
        "zero": _node("ConditioningZeroOut", conditioning=["text", 0]),
        "size": _node("EmptySD3LatentImage", **size),
        "flow": _node("ModelSamplingAuraFlow", model=model, shift=3.0),
        "sample": _node(
            "KSampler",
            model=["flow", 0],
            positive=["text", 0],
            negative=["zero", 0],
            latent_image=["size", 0],
            seed=job.seed,
            steps=job.steps,
            cfg=1.0,
            sampler_name="euler",
            scheduler="simple",
            denoise=1.0,
        ),
        "decode": _node("VAEDecode", samples=["sample", 0], vae=vae),
        "save": _node("SaveImage", images=["decode", 0], filename_prefix="bench"),
    }


def _host_loaders() -> Graph:
    file = "bench.safetensors"
    return {
        "model": _node("UNETLoader", unet_name=file, weight_dtype="default"),
        "clip": _node("CLIPLoader", clip_name=file, type="lumina2", device="default"),
        "vae": _node("VAELoader", vae_name=file),
    }


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}
