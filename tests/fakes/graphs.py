"""Graphs in API form for the tiny family, and edits of single inputs."""

from __future__ import annotations

import copy
from typing import Any

Graph = dict[str, dict[str, Any]]

RENDER: Graph = {
    "load": {
        "class_type": "ZImageLoader",
        "inputs": {
            "model_name": "tiny-turbo.safetensors",
            "text_encoder": "tiny-qwen3.safetensors",
            "vae": "tiny-ae.safetensors",
            "variant": "auto",
            "dtype": "auto",
        },
    },
    "text": {
        "class_type": "ZImageTextEncode",
        "inputs": {
            "clip": ["load", 1],
            "prompt": "一只红色的猫，蓝色背景",
            "negative_prompt": "模糊",
        },
    },
    "size": {
        "class_type": "ZImageLatent",
        "inputs": {"size": "144x112 (9:7)", "width": 0, "height": 0, "batch_size": 1},
    },
    "sample": {
        "class_type": "ZImageSampler",
        "inputs": {
            "model": ["load", 0],
            "positive": ["text", 0],
            "negative": ["text", 1],
            "latent_image": ["size", 0],
            "seed": 1234567890123,
            "preset": "auto",
            "steps": -1,
            "cfg": -1.0,
            "shift": -1.0,
            "sampler_name": "euler",
            "scheduler": "simple",
            "denoise": 1.0,
        },
    },
    "decode": {
        "class_type": "ZImageDecode",
        "inputs": {"samples": ["sample", 0], "vae": ["load", 2], "tiling": "auto"},
    },
    "save": {
        "class_type": "ZImageSave",
        "inputs": {
            "images": ["decode", 0],
            "filename_prefix": "测试/Z-Image",
            "format": "webp",
            "quality": 85,
        },
    },
}
"""The whole path through our nodes: 8 steps of the tiny Turbo at 144x112."""


def render(**changes: Any) -> Graph:
    """:data:`RENDER` with inputs replaced, as ``node__input=value``."""
    graph = copy.deepcopy(RENDER)
    for place, value in changes.items():
        node, _, name = place.partition("__")
        graph[node]["inputs"][name] = value
    return graph


def edit(variant: str, *pictures: str, **changes: Any) -> Graph:
    """The same path from pictures in the input folder, through ZImageEdit."""
    graph = render(load__model_name=f"tiny-{variant}.safetensors", sample__steps=2, sample__cfg=1.0)
    del graph["text"], graph["size"]
    inputs: dict[str, Any] = {"model": ["load", 0], "clip": ["load", 1], "vae": ["load", 2],
                              "prompt": "把背景换成蓝色", "negative_prompt": ""}  # fmt: skip
    for name, picture in zip(("image", "image_2", "image_3"), pictures, strict=False):
        graph[picture] = {"class_type": "LoadImage", "inputs": {"image": picture}}
        inputs[name] = [picture, 0]
    graph["edit"] = {"class_type": "ZImageEdit", "inputs": inputs}
    wiring = {"positive": ["edit", 0], "negative": ["edit", 1], "latent_image": ["edit", 2]}
    graph["sample"]["inputs"] |= wiring
    for place, value in changes.items():
        node, _, name = place.partition("__")
        graph[node]["inputs"][name] = value
    return graph


def latents(variant: str, steps: int, cfg: float, shift: float) -> Graph:
    """Latents of our sampler ("ours") and of stock nodes with the same settings ("stock")."""
    graph = render(load__model_name=f"tiny-{variant}.safetensors", sample__steps=steps,
                   sample__cfg=cfg, sample__shift=shift, size__batch_size=2)  # fmt: skip
    del graph["decode"], graph["save"]
    text = graph["text"]["inputs"]
    for name, prompt in (("plus", "prompt"), ("minus", "negative_prompt")):
        inputs = {"clip": ["load", 1], "text": text[prompt]}
        graph[name] = {"class_type": "CLIPTextEncode", "inputs": inputs}
    inputs = {"model": ["load", 0], "shift": shift}
    graph["flow"] = {"class_type": "ModelSamplingAuraFlow", "inputs": inputs}
    ours = graph["sample"]["inputs"]
    shared = {
        name: ours[name]
        for name in ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise")
    }
    links = {"model": ["flow", 0], "positive": ["plus", 0], "negative": ["minus", 0]}
    empty = {"width": 144, "height": 112, "batch_size": 2}
    graph["empty"] = {"class_type": "EmptySD3LatentImage", "inputs": empty}
    graph["ksampler"] = {
        "class_type": "KSampler",
        "inputs": {**shared, **links, "latent_image": ["empty", 0]},
    }
    save_latent(graph, "ours", "sample")
    save_latent(graph, "stock", "ksampler")
    return graph


def save_latent(graph: Graph, name: str, node: str) -> None:
    """Add a stock SaveLatent of ``node``'s first output."""
    inputs = {"samples": [node, 0], "filename_prefix": f"latents/{name}"}
    graph[name] = {"class_type": "SaveLatent", "inputs": inputs}
