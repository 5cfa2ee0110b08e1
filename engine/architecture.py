"""The kind and the sizes of a model, read from tensor names and shapes alone.

ComfyUI recognises Z-Image by its width (3840) and hard-codes the rest, so a model of another size
needs an explicit configuration. All functions take ``{name: shape}`` in ComfyUI's layout (see
:mod:`.layouts`) and need no torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..errors import ZImageError
from ..errors.bilingual import Bilingual
from .safetensors_file import JSON_OBJECT, short

Shapes = Mapping[str, tuple[int, ...]]

DIFFUSION, TEXT_ENCODER, VAE = "diffusion", "text_encoder", "vae"
CLIP, BERT, ADAPTER = "clip", "bert", "adapter"
REFERENCES = ("edit", "omni")
"""Declared variants that take reference pictures. Other models that do contain :data:`SIGLIP`."""
SIGLIP = "siglip_embedder.1.weight"

EXPECTED = {
    DIFFUSION: Bilingual("Z-Image 扩散模型", "a Z-Image diffusion model"),
    TEXT_ENCODER: Bilingual("Qwen3 文本编码器", "a Qwen3 text encoder"),
    VAE: Bilingual("16 通道（Flux）VAE", "a 16-channel (Flux) VAE"),
    CLIP: Bilingual("CLIP-L 文本编码器", "a CLIP-L text encoder"),
    BERT: Bilingual("中文 BERT", "a Chinese BERT"),
    ADAPTER: Bilingual("双编码器适配器", "an adapter of the dual encoder"),
}

# The sizes that the host's own loaders assume. Any other model is built from its configuration.
FULL: dict[str, dict[str, Any]] = {
    DIFFUSION: {
        "in_channels": 16,
        "dim": 3840,
        "n_refiner_layers": 2,
        "n_heads": 30,
        "n_kv_heads": 30,
        "axes_dims": [32, 48, 48],
        "rope_theta": 256.0,
        "time_scale": 1000.0,
        "multiple_of": 256,
    },
    TEXT_ENCODER: {
        "vocab_size": 151_936,
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    VAE: {"ch": 128, "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2},
}

LAST_TOKEN = 151_645
"""``<|im_end|>``, the highest token of the chat template around every prompt."""

# The first match wins, so specific patterns stand before general ones.
_SIGNATURES = (
    ("LoRA", re.compile(r"lora_(A|B|up|down)\b|\.lora\.|lokr_|hada_w")),
    ("ControlNet", re.compile(r"^(control_model\.|controlnet_|control_layers\.)")),
    (
        Bilingual("Z-Image / Lumina 2 扩散模型", "Z-Image / Lumina 2 diffusion model"),
        re.compile(r"(^|\.)cap_embedder\.1\.weight$"),
    ),
    (
        Bilingual("Flux / Hunyuan 扩散模型", "Flux / Hunyuan diffusion model"),
        re.compile(r"(^|\.)double_blocks\.0\."),
    ),
    ("Stable Diffusion 3 / AuraFlow", re.compile(r"(^|\.)joint_blocks\.0\.|double_layers\.0\.")),
    ("Stable Diffusion / SDXL UNet", re.compile(r"(^|\.)(input_blocks|down_blocks\.0\.attent)")),
    ("Qwen-Image / Wan / PixArt", re.compile(r"(^|\.)(transformer_blocks|blocks)\.0\.")),
    ("VAE", re.compile(r"(^|\.)decoder\.(conv_in|up_blocks\.0|up\.0)\b|taesd_decoder")),
    (
        Bilingual("Gemma 文本编码器", "Gemma text encoder"),
        re.compile(r"layers\.0\.post_feedforward_layernorm"),
    ),
    (
        Bilingual("Qwen2 文本编码器", "Qwen2 text encoder"),
        re.compile(r"layers\.0\.self_attn\.k_proj\.bias"),
    ),
    (
        Bilingual("Qwen3 文本编码器", "Qwen3 text encoder"),
        re.compile(r"layers\.0\.self_attn\.q_norm\.weight"),
    ),
    (
        Bilingual("Llama / Mistral 文本编码器", "Llama / Mistral text encoder"),
        re.compile(r"layers\.0\.self_attn\.q_proj\.weight"),
    ),
    (
        Bilingual("CLIP 文本编码器", "CLIP text encoder"),
        re.compile(r"text_model\.encoder\.|resblocks\.0\."),
    ),
    (
        Bilingual("BERT 文本编码器", "BERT text encoder"),
        re.compile(r"encoder\.layer\.0\.attention\.self\.query"),
    ),
    (Bilingual("T5 文本编码器", "T5 text encoder"), re.compile(r"encoder\.block\.0\.layer\.0")),
)


def describe(names: Iterable[str]) -> Bilingual:
    """Return the kind of model that tensor names belong to, for an error message."""
    names = list(names)
    for kind, pattern in _SIGNATURES:
        if any(pattern.search(name) for name in names):
            return kind if isinstance(kind, Bilingual) else Bilingual(kind, kind)
    if not names:
        return Bilingual("没有张量", "no tensors")
    return Bilingual(f"未知模型（{short(names[0])} 等）", f"unknown model ({short(names[0])}, …)")


def wrong_kind(path: str, kind: str, found: Bilingual | str) -> ZImageError:
    """Return ``ZI-MODEL-KIND`` for a file that is not of the expected ``kind``."""
    return ZImageError("ZI-MODEL-KIND", path=path, found=found, expected=EXPECTED[kind])


@contextmanager
def coded(path: str) -> Iterator[None]:
    """Convert any error that inconsistent names and shapes cause to ``ZI-MODEL-KEYS``."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError, IndexError, ArithmeticError, KeyError) as error:
        text = (str(error).splitlines() or [""])[0]
        found = short(f"{type(error).__name__}: {text}")
        expected = Bilingual("彼此吻合的名称和形状", "names and shapes that fit together")
        raise ZImageError("ZI-MODEL-KEYS", path=path, found=found, expected=expected) from error


def is_full(kind: str, config: Mapping[str, Any]) -> bool:
    """Return whether the host's own loader builds this configuration; absent fields match."""
    return all(config.get(key, value) == value for key, value in FULL[kind].items())


def diffusion_config(shapes: Shapes, path: str) -> dict[str, Any]:
    """Return keyword arguments of the host's ``NextDiT`` (and ``image_model``) for these shapes.

    Raises:
        ZImageError: ``ZI-MODEL-KIND`` for another model; ``ZI-MODEL-KEYS`` when a tensor from
            which a size is read is missing or impossible.
    """
    if "cap_embedder.1.weight" not in shapes or any("lora_" in name for name in shapes):
        raise wrong_kind(path, DIFFUSION, describe(shapes))
    dim, width = _shape(shapes, "cap_embedder.1.weight", 2, path)
    modulation = _shape(shapes, "layers.0.adaLN_modulation.0.weight", 2, path, optional=True)
    if modulation is None or modulation[1] != min(dim, 256):
        raise wrong_kind(path, DIFFUSION, f"Lumina 2 (dim {dim})")
    head, kv = _heads(shapes, dim, path)
    ffn = _shape(shapes, "layers.0.feed_forward.w1.weight", 2, path)[0]
    siglip = _shape(shapes, SIGLIP, 2, path, optional=True)
    return {
        "image_model": "lumina2",
        "patch_size": 2,
        "in_channels": 16,
        "dim": dim,
        "n_layers": _count(shapes, "layers."),
        "n_refiner_layers": _count(shapes, "noise_refiner."),
        "n_heads": dim // head,
        "n_kv_heads": kv,
        "axes_dims": [head // 4, head * 3 // 8, head * 3 // 8],
        "axes_lens": [1536, 512, 512],
        "cap_feat_dim": width,
        "qk_norm": True,
        "rope_theta": 256.0,
        # The host multiplies by dim and rounds down; half a unit more makes the result exact.
        "ffn_dim_multiplier": 8.0 / 3.0 if dim == 3840 and ffn == 10240 else (ffn + 0.5) / dim,
        "multiple_of": 256 if dim == 3840 and ffn == 10240 else 1,
        "z_image_modulation": True,
        "time_scale": 1000.0,
        "pad_tokens_multiple": 32 if "cap_pad_token" in shapes else None,
        # Older hosts do not know the argument, so only models with these weights (Omni) have it.
        **({"siglip_feat_dim": siglip[1]} if siglip else {}),
    }


def _heads(shapes: Shapes, dim: int, path: str) -> tuple[int, int]:
    """Return the width of an attention head and the number of key/value heads."""
    head = _shape(shapes, "layers.0.attention.q_norm.weight", 1, path)[0]
    qkv = _shape(shapes, "layers.0.attention.qkv.weight", 2, path)[0]
    patches = _shape(shapes, "x_embedder.weight", 2, path)[1]
    kv = (qkv - dim) // (2 * head) if head else 0
    if head < 8 or head % 8 or dim < head or dim % head or patches != 64:
        found = f"dim {dim}, head {head}, patch {patches}"
        expected = "dim % head == 0, head % 8 == 0, patch 64"
        raise ZImageError("ZI-MODEL-KEYS", path=path, found=found, expected=expected)
    if kv < 1 or (qkv - dim) % (2 * head) or (dim // head) % kv:
        found = f"dim {dim}, head {head}, qkv {qkv}"
        expected = "qkv == dim + 2 * head * n, dim % (head * n) == 0"
        raise ZImageError("ZI-MODEL-KEYS", path=path, found=found, expected=expected)
    return head, kv


def text_encoder_config(shapes: Shapes, path: str) -> dict[str, int]:
    """Return the fields of the host's ``Qwen3_4BConfig`` that depend on the size.

    Raises:
        ZImageError: ``ZI-MODEL-KIND`` or ``ZI-MODEL-KEYS``, as for :func:`diffusion_config`.
    """
    first = "model.layers.0."
    is_qwen3 = f"{first}self_attn.q_norm.weight" in shapes
    if not is_qwen3 or f"{first}post_feedforward_layernorm.weight" in shapes:
        raise wrong_kind(path, TEXT_ENCODER, describe(shapes))
    head = _shape(shapes, f"{first}self_attn.q_norm.weight", 1, path)[0]
    query = _shape(shapes, f"{first}self_attn.q_proj.weight", 2, path)[0]
    key = _shape(shapes, f"{first}self_attn.k_proj.weight", 2, path)[0]
    layers = _count(shapes, "model.layers.")
    fits = query % 128 == 0 and key % 128 == 0 and 0 < key <= query and query % key == 0
    if head != 128 or not fits or layers < 3:
        sizes = f"head {head}, q {query}, k {key}"
        found = Bilingual(f"{sizes}，{layers} 层", f"{sizes}, {layers} layers")
        expected = Bilingual("head 128，至少 3 层", "head 128, at least 3 layers")
        raise ZImageError("ZI-MODEL-KEYS", path=path, found=found, expected=expected)
    return {
        "hidden_size": _shape(shapes, "model.embed_tokens.weight", 2, path)[1],
        "intermediate_size": _shape(shapes, f"{first}mlp.gate_proj.weight", 2, path)[0],
        "num_hidden_layers": layers,
        "num_attention_heads": query // 128,
        "num_key_value_heads": key // 128,
    }


def encoder_config(kind: str, shapes: Shapes, path: str, names: Iterable[str]) -> dict[str, Any]:
    """Return the configuration of the host's CLIP text model or BERT for these shapes.

    Args:
        kind: :data:`CLIP` or :data:`BERT`.
        shapes: tensor names to shapes, see :func:`.dual_files.clip_names`.
        path: the file, as error messages name it.
        names: all tensor names of the file, for the message about a file of another kind.

    Raises:
        ZImageError: ``ZI-MODEL-KIND`` or ``ZI-MODEL-KEYS``, as for :func:`diffusion_config`.
    """
    words, places, layers, middle = {
        CLIP: ("token_embedding", "position_embedding", "encoder.layers.", "mlp.fc1"),
        BERT: ("word_embeddings", "position_embeddings", "encoder.layer.", "intermediate.dense"),
    }[kind]
    table, middle = f"embeddings.{words}.weight", f"{layers}0.{middle}.weight"
    if table not in shapes or middle not in shapes:
        raise wrong_kind(path, kind, describe(names))
    rows, width = _shape(shapes, table, 2, path)
    positions = _shape(shapes, f"embeddings.{places}.weight", 2, path)[0]
    if width == 0 or width % 64 or positions < 77 or (kind == CLIP and positions != 77):
        count = "77" if kind == CLIP else "≥ 77"
        raise ZImageError(
            "ZI-MODEL-KEYS",
            path=path,
            found=_width_and_positions(str(width), str(positions)),
            expected=_width_and_positions("64 × n", count),
        )
    config = {
        "hidden_size": width,
        "num_attention_heads": width // 64,
        "num_hidden_layers": _count(shapes, layers),
        "intermediate_size": _shape(shapes, middle, 2, path)[0],
        "max_position_embeddings": positions,
    }
    if kind == CLIP:
        return {**config, "hidden_act": "quick_gelu", "eos_token_id": 49407}
    types = _shape(shapes, "embeddings.token_type_embeddings.weight", 2, path)[0]
    return {
        **config,
        "vocab_size": rows,
        "type_vocab_size": types,
        "pad_token_id": 0,
        "layer_norm_eps": 1e-12,
    }


def check_vocabulary(rows: int, path: str) -> None:
    """Refuse an embedding that has fewer rows than the chat template needs.

    Raises:
        ZImageError: ``ZI-MODEL-KEYS``.
    """
    if rows <= LAST_TOKEN:
        found, expected = f"{rows} token embeddings", f">= {LAST_TOKEN + 1}"
        raise ZImageError("ZI-MODEL-KEYS", path=path, found=found, expected=expected)


def vae_config(shapes: Shapes, path: str) -> dict[str, Any]:
    """Return ``{"embed_dim", "ddconfig"}`` of the host's ``AutoencoderKL`` for these shapes.

    The tiny autoencoder (TAESD) comes in one size: ``{"latent_channels"}``.

    Raises:
        ZImageError: ``ZI-MODEL-KIND`` for a file without a 16-channel decoder, ``ZI-MODEL-KEYS``.
    """
    if "taesd_decoder.1.weight" in shapes:
        channels = _shape(shapes, "taesd_decoder.1.weight", 4, path)[1]
        if channels != 16:
            raise wrong_kind(path, VAE, _channels("TAESD", channels))
        return {"latent_channels": channels}
    if "decoder.conv_in.weight" not in shapes:
        raise wrong_kind(path, VAE, describe(shapes))
    shape = _shape(shapes, "decoder.conv_in.weight", 4, path)
    if shape[1] != 16:
        raise wrong_kind(path, VAE, _channels("VAE", shape[1]))
    ch, widths = _vae_widths(shapes, path)
    return {
        "embed_dim": 16,
        "ddconfig": {
            "double_z": True,
            "z_channels": 16,
            "resolution": 256,
            "in_channels": 3,
            "out_ch": 3,
            "ch": ch,
            "ch_mult": [width // ch for width in widths],
            "num_res_blocks": _count(shapes, "decoder.up.0.block.") - 1,
            "attn_resolutions": [],
            "dropout": 0.0,
        },
    }


def _channels(kind: str, channels: int) -> Bilingual:
    return Bilingual(f"{channels} 通道的 {kind}", f"{kind} with {channels} channels")


def _width_and_positions(width: str, positions: str) -> Bilingual:
    return Bilingual(f"宽 {width}，{positions} 个位置", f"{width} wide, {positions} positions")


def _vae_widths(shapes: Shapes, path: str) -> tuple[int, list[int]]:
    """Return the base width of an autoencoder, and the width of each level of its decoder."""
    channels = _shape(shapes, "decoder.norm_out.weight", 1, path)[0]
    levels = _count(shapes, "decoder.up.")
    widths = [
        _shape(shapes, f"decoder.up.{level}.block.0.conv2.weight", 4, path)[0]
        for level in range(levels)
    ]
    # decoder.up.0 is the last level and has ch * ch_mult[0] channels; the encoder starts with ch.
    first = _shape(shapes, "encoder.conv_in.weight", 4, path, optional=True)
    ch = first[0] if first else channels
    # Norms have 32 groups.
    if not widths or ch == 0 or ch % 32 or any(w == 0 or w % ch for w in widths):
        found = Bilingual(f"宽度 {widths[:8]}，首层 {ch}", f"widths {widths[:8]}, first {ch}")
        expected = Bilingual(
            "各层宽度是首层的倍数，首层是 32 的倍数",
            "multiples of the first, which is a multiple of 32",
        )
        raise ZImageError("ZI-MODEL-KEYS", path=path, found=found, expected=expected)
    return ch, widths


def declared(metadata: Mapping[str, str], path: str) -> dict[str, Any]:
    """Return the ``zimage`` metadata of the small family; empty for a file without it.

    Raises:
        ZImageError: ``ZI-FILE-CORRUPT`` for metadata that is not a JSON object.
    """
    if "zimage" not in metadata:
        return {}
    try:
        value = json.loads(metadata["zimage"])
    except (ValueError, RecursionError) as error:
        value = str(error)
    if not isinstance(value, dict):
        found = f"zimage: {value!r:.80}"
        raise ZImageError("ZI-FILE-CORRUPT", path=path, found=found, expected=JSON_OBJECT)
    return value


def _count(shapes: Shapes, prefix: str) -> int:
    """Count the numbered children ``prefix0.``, ``prefix1.``, … up to the first that is missing."""
    numbers = {name[len(prefix) :].split(".", 1)[0] for name in shapes if name.startswith(prefix)}
    count = 0
    while str(count) in numbers:
        count += 1
    return count


def _shape(shapes: Shapes, name: str, rank: int, path: str, *, optional: bool = False) -> Any:
    """Return the shape of a tensor, None for one that is optional and absent."""
    shape = shapes.get(name)
    if shape is None and optional:
        return None
    if shape is None or len(shape) != rank:
        found = Bilingual(f"缺少 {name}", f"{name}: missing")
        if shape is not None:
            found = f"{name}: {list(shape)}"
        expected = Bilingual(f"{rank} 维", f"{rank} dimensions")
        raise ZImageError("ZI-MODEL-KEYS", path=path, found=found, expected=expected)
    return shape
