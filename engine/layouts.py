"""Convert weights from the official (diffusers) layout to the layout of ComfyUI.

Official Z-Image files store query, key and value separately and name modules as diffusers does.
ComfyUI fuses the three and uses the names of the Lumina and LDM code bases. ComfyUI converts only
LoRAs of this model family, so this module converts complete checkpoints. All functions are pure:
they map names to tensors, share tensors with the input where possible, and read no files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch

from ..errors import ZImageError
from ..errors.bilingual import Bilingual
from .safetensors_file import short

StateDict = dict[str, torch.Tensor]

COMFY, DIFFUSERS, HF = "comfy", "diffusers", "hf"

# NextDiT declares a norm that its forward pass does not use; official files do not contain it.
MAY_BE_MISSING = frozenset({"norm_final.weight"})

_DIFFUSION_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.")
_VAE_PREFIXES = ("first_stage_model.", "vae.")

# A file of scaled fp8 weights has, for each weight, its scale and the scale of the layer's input.
_WEIGHT_SCALES = (".scale_weight", ".weight_scale")
_SCALE_EXTRAS = (".scale_input", ".input_scale", ".comfy_quant")

_RENAMES = (
    (re.compile(r"^all_x_embedder\.\d+-\d+\."), "x_embedder."),
    (re.compile(r"^all_final_layer\.\d+-\d+\."), "final_layer."),
    (re.compile(r"\.attention\.to_out\.0\."), ".attention.out."),
    (re.compile(r"\.attention\.norm_([qk])\."), r".attention.\1_norm."),
)
_QKV = re.compile(r"^(?P<stem>.+\.attention\.)to_(?P<part>[qkv])\.(?P<end>weight|bias)$")

_VAE_RENAMES = (
    (re.compile(r"^(encoder)\.down_blocks\.(\d+)\.resnets\."), r"\1.down.\2.block."),
    (re.compile(r"^(encoder)\.down_blocks\.(\d+)\.downsamplers\.0\."), r"\1.down.\2.downsample."),
    (re.compile(r"\.mid_block\.resnets\.0\."), ".mid.block_1."),
    (re.compile(r"\.mid_block\.resnets\.1\."), ".mid.block_2."),
    (re.compile(r"\.mid_block\.attentions\.0\.group_norm\."), ".mid.attn_1.norm."),
    (re.compile(r"\.mid_block\.attentions\.0\.(?:to_q|query)\."), ".mid.attn_1.q."),
    (re.compile(r"\.mid_block\.attentions\.0\.(?:to_k|key)\."), ".mid.attn_1.k."),
    (re.compile(r"\.mid_block\.attentions\.0\.(?:to_v|value)\."), ".mid.attn_1.v."),
    (re.compile(r"\.mid_block\.attentions\.0\.(?:to_out\.0|proj_attn)\."), ".mid.attn_1.proj_out."),
    (re.compile(r"\.conv_norm_out\."), ".norm_out."),
    (re.compile(r"\.conv_shortcut\."), ".nin_shortcut."),
)
_VAE_UP = re.compile(r"^decoder\.up_blocks\.(\d{1,3})\.(resnets|upsamplers\.0)\.")
_VAE_ATTENTION = re.compile(r"\.mid\.attn_1\.(q|k|v|proj_out)\.weight$")


def detect(keys: Iterable[str]) -> tuple[str, str]:
    """Detect the kind and the layout of a file from its tensor names alone.

    Returns:
        ``(kind, layout)``: kind is ``"diffusion"``, ``"vae"``, ``"text_encoder"`` or ``"unknown"``;
        layout is :data:`COMFY`, :data:`DIFFUSERS`, :data:`HF` or ``"unknown"``.
    """
    names = set(keys)
    model = {_strip(name, _DIFFUSION_PREFIXES) for name in names}
    if "cap_embedder.1.weight" in model:
        split = any(_QKV.match(name) for name in model)
        return "diffusion", DIFFUSERS if split else COMFY
    autoencoder = {_strip(name, _VAE_PREFIXES) for name in names}
    if "decoder.conv_in.weight" in autoencoder:
        split = any(name.startswith("decoder.up_blocks.") for name in autoencoder)
        return "vae", DIFFUSERS if split else COMFY
    if names & {"model.embed_tokens.weight", "embed_tokens.weight"}:
        return "text_encoder", HF
    return "unknown", "unknown"


def to_comfy(sd: Mapping[str, torch.Tensor], source: str = "checkpoint") -> StateDict:
    """Convert a diffusion transformer to the names and fused tensors of ComfyUI's ``NextDiT``.

    A file that has this layout only loses a ``model.diffusion_model.`` prefix; its fp8 scales stay
    beside their weights. In a converted file, scaled fp8 weights are multiplied by their scales
    (to bfloat16), because a fused tensor can have only one scale.

    Args:
        sd: names to tensors; ``to_q``, ``to_k``, ``to_v`` weights are ``[dim, dim]``.
        source: the file or folder, as error messages name it.

    Raises:
        ZImageError: ``ZI-MODEL-KEYS`` when one of query, key and value is missing, or when a scale
            is neither for the whole weight nor for each row.
    """
    plain = {_strip(name, _DIFFUSION_PREFIXES): tensor for name, tensor in sd.items()}
    if detect(plain) != ("diffusion", DIFFUSERS):
        return plain
    out: StateDict = {}
    pending: dict[str, StateDict] = {}
    for name, tensor in _multiply_out(plain, source).items():
        match = _QKV.match(name)
        if match is None:
            out[_rename(name, _RENAMES)] = tensor
        else:
            fused = f"{match['stem']}qkv.{match['end']}"
            pending.setdefault(fused, {})[match["part"]] = tensor
    for name, parts in pending.items():
        out[name] = _fuse(name, parts, source)
    return out


def vae_to_comfy(sd: Mapping[str, torch.Tensor]) -> StateDict:
    """Convert an ``AutoencoderKL`` of diffusers to the names and shapes of the LDM code base.

    LDM numbers the up blocks in reverse order, and its attention projections are 1x1 convolutions:
    ``[C, C]`` becomes ``[C, C, 1, 1]``. Any number of levels is accepted. A file in the LDM layout
    only loses a ``first_stage_model.`` or ``vae.`` prefix.
    """
    plain = {_strip(name, _VAE_PREFIXES): tensor for name, tensor in sd.items()}
    if detect(plain) != ("vae", DIFFUSERS):
        return plain
    levels = 1 + max((int(m[1]) for m in map(_VAE_UP.match, plain) if m), default=0)
    out: StateDict = {}
    for name, tensor in plain.items():
        new = _rename(_VAE_UP.sub(lambda m: _up_block(m, levels), name), _VAE_RENAMES)
        if _VAE_ATTENTION.search(new) and tensor.ndim == 2:
            tensor = tensor[:, :, None, None]
        out[new] = tensor
    return out


def text_to_comfy(sd: Mapping[str, torch.Tensor]) -> StateDict:
    """Convert a Qwen3 to the names that ComfyUI expects: with ``model.``, without an output head.

    A file of the bare model lacks the prefix. A file of the language model has an output head,
    which conditioning does not use.
    """
    bare = "embed_tokens.weight" in sd
    return {
        f"model.{name}" if bare else name: tensor
        for name, tensor in sd.items()
        if not name.startswith("lm_head.")
    }


def _up_block(match: re.Match[str], levels: int) -> str:
    part = "block" if match[2] == "resnets" else "upsample"
    return f"decoder.up.{levels - 1 - int(match[1])}.{part}."


def _strip(name: str, prefixes: tuple[str, ...]) -> str:
    for prefix in prefixes:
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name


def _rename(name: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, replacement in rules:
        name = pattern.sub(replacement, name)
    return name


def _fuse(name: str, parts: StateDict, source: str) -> torch.Tensor:
    if set(parts) != {"q", "k", "v"}:
        found = f"{short(name)} ({'+'.join(sorted(parts))})"
        raise _wrong_tensors(source, found, "to_q + to_k + to_v")
    tensors = [parts["q"], parts["k"], parts["v"]]
    dtype = tensors[0].dtype
    if any(t.ndim == 0 or t.shape[1:] != tensors[0].shape[1:] for t in tensors):
        found = f"{short(name)} ({', '.join(str(list(t.shape)) for t in tensors)})"
        raise _wrong_tensors(source, found, "to_q, to_k, to_v [*, dim]")
    if len({t.dtype for t in tensors}) > 1 and any(t.dtype.itemsize == 1 for t in tensors):
        found = f"{short(name)} ({', '.join(str(t.dtype) for t in tensors)})"
        raise _wrong_tensors(
            source, found, Bilingual("类型相同的 to_q、to_k、to_v", "to_q, to_k, to_v of one type")
        )
    if dtype.itemsize == 1:  # torch cannot concatenate fp8 on every device, but it can bytes
        return torch.cat([t.view(torch.uint8) for t in tensors]).view(dtype)
    return torch.cat(tensors)


def _multiply_out(sd: StateDict, source: str) -> StateDict:
    """Replace each scaled fp8 weight by weight x scale in bfloat16, and remove the scales.

    Integer weights stay unchanged and are refused later, because their formats differ.
    """
    out: StateDict = {}
    for name, tensor in sd.items():
        if name == "scaled_fp8" or name.endswith(_WEIGHT_SCALES + _SCALE_EXTRAS):
            continue
        stem = name.removesuffix(".weight")
        scale = next((sd[stem + end] for end in _WEIGHT_SCALES if stem + end in sd), None)
        if scale is not None and stem != name and tensor.is_floating_point():
            factor = _per_row(name, tensor, scale, source).to(torch.float32)
            tensor = (tensor.to(torch.float32) * factor).to(torch.bfloat16)
        out[name] = tensor
    return out


def _per_row(name: str, weight: torch.Tensor, scale: torch.Tensor, source: str) -> torch.Tensor:
    """Return a scale of the whole weight or of each row in a shape that multiplies so."""
    if scale.numel() == 1:
        return scale.reshape(())
    rows = weight.shape[:1]
    if weight.ndim and scale.shape in (rows, (*rows, 1)):
        return scale.reshape(*rows, *[1] * (weight.ndim - 1))
    found = f"{short(name)} {list(weight.shape)}, scale {list(scale.shape)}"
    raise _wrong_tensors(source, found, f"scale [] | [1] | {[*rows]} | {[*rows, 1]}")


def _wrong_tensors(path: str, found: str, expected: Bilingual | str) -> ZImageError:
    return ZImageError("ZI-MODEL-KEYS", path=path, found=found, expected=expected)
