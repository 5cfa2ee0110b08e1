"""What packs may do with objects of the host: by kind, a list of operations, and nothing else.

An object of no kind listed here can be passed on to the host's nodes, and that is all.
"""

from __future__ import annotations

from typing import Any

CLASSES = {
    "ModelPatcher": "MODEL",
    "CLIP": "CLIP",
    "VAE": "VAE",
    "ControlNet": "CONTROL_NET",
    "ControlLora": "CONTROL_NET",
    "T2IAdapter": "CONTROL_NET",
    "KSAMPLER": "SAMPLER",
    "ClipVisionModel": "CLIP_VISION",
    "StyleModel": "STYLE_MODEL",
    "CFGGuider": "GUIDER",
    "DynamicPrompt": "DYNPROMPT",
}
"""Names of ComfyUI's classes, own or inherited, and the kind that they are."""

OPERATIONS: dict[str, frozenset[str]] = {
    "MODEL": frozenset({"clone", "model_size", "is_clone", "get_model_object"}),
    "CLIP": frozenset(
        {
            "clone", "tokenize", "encode", "encode_from_tokens", "encode_from_tokens_scheduled",
            "clip_layer", "set_clip_options",
        }
    ),
    "VAE": frozenset(
        {
            "encode", "decode", "encode_tiled", "decode_tiled", "spacial_compression_encode",
            "spacial_compression_decode", "temporal_compression_decode",
        }
    ),
    "CONTROL_NET": frozenset({"copy", "set_cond_hint", "set_previous_controlnet"}),
    "CLIP_VISION": frozenset({"encode_image"}),
    "DYNPROMPT": frozenset(
        {
            "get_node", "has_node", "all_node_ids", "get_original_prompt", "get_real_node_id",
            "get_parent_node_id", "get_display_node_id",
        }
    ),
}  # fmt: skip
"""Methods by kind. All take and give plain data, tensors, and objects of these kinds."""


def kind_of(value: Any) -> str:
    """The kind of an object, ``OTHER`` for one that has no operations."""
    for one in type(value).__mro__:
        if (kind := CLASSES.get(one.__name__)) and one.__module__.startswith(("comfy", "__")):
            return kind
    return "OTHER"


def answer(_process: Any, target: Any, name: str, arguments: Any) -> Any:
    """Do what a pack asks of an object.

    Raises:
        PermissionError: it is no operation of that kind.
    """
    if target is None:
        raise PermissionError(f"there is no function {name!r}"[:200])
    kind = kind_of(target)
    if name not in OPERATIONS.get(kind, frozenset()):
        raise PermissionError(f"{name!r} is no operation of {kind} for packs in a sandbox"[:300])
    args, kwargs = arguments
    return getattr(target, name)(*args, **kwargs)
