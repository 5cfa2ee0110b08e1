"""Decode a large picture strip by strip, with the same result as in one piece.

Decoding overlapping tiles is not exact: the decoder normalises over the whole picture (GroupNorm)
and attends over it, so tiles differ in tone and need blending. Here, every *layer* runs over strips
of rows with the neighbour rows that its kernel needs, and the statistics of a GroupNorm are
computed over all strips first. There are no seams; only the order of floating-point sums differs
from decoding in one piece.

Memory: a residual block stores its input and one intermediate picture, and writes its result over
its input; decoding in one piece stores several more. If even that exceeds the device's memory,
pictures between layers stay in main memory and only strips are copied to the device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from . import host

log = logging.getLogger(__name__)

STRIP_PIXELS = 1 << 15
"""Least pixels of a strip at the resolution of the layer; larger pictures have 1/128 of a picture.
"""

REACH = 20
"""Latent rows on each side that a TAESD pixel depends on, rounded up."""

Affine = tuple[Tensor, Tensor]


def decode(vae: Any, latent: Tensor) -> Tensor:
    """Decode one latent ``[1, 16, h, w]`` on the VAE's device to ``[1, 3, 8h, 8w]`` in -1..1.

    A VAE with other blocks than ComfyUI's standard ones or TAESD's is decoded in the host's tiles.
    """
    module = vae.first_stage_model
    if hasattr(module, "taesd_decoder"):
        return _by_rows(module.decode, latent)
    if not fits(module):
        log.info("%s: decoding in the host's tiles", type(module).__name__)
        picture = vae.decode_tiled(latent.float(), tile_x=64, tile_y=64, overlap=16)
        return picture.movedim(-1, 1) * 2.0 - 1.0
    post = getattr(module, "post_quant_conv", None)
    decoder = _StripDecoder(latent.device, _store(vae, latent))
    return decoder.decode(module.decoder, latent if post is None else post(latent))


def _by_rows(decoder: Callable[[Tensor], Tensor], latent: Tensor) -> Tensor:
    """Run a decoder of convolutions alone (TAESD) over strips with all rows they depend on.

    An output pixel depends on 18.2 latent rows on each side: 10 convolutions at latent resolution,
    10 at twice, 10 at four times and 5 at eight times that.
    """
    height, width = latent.shape[2:]
    rows = max(8, STRIP_PIXELS // width)
    out = []
    for top in range(0, height, rows):
        host.stop_if_interrupted()
        first, last = max(0, top - REACH), min(height, top + rows + REACH)
        picture = decoder(latent[:, :, first:last])
        bottom = min(height, top + rows)
        out.append(picture[:, :, 8 * (top - first) : 8 * (bottom - first)].clone())
    return torch.cat(out, dim=2)


def fits(module: nn.Module) -> bool:
    """Return whether the decoder consists of blocks that this module can run in strips."""
    decoder = getattr(module, "decoder", None)
    extras = (getattr(decoder, "give_pre_end", None), getattr(decoder, "tanh_out", None))
    if decoder is None or any(extras) or getattr(module, "bn", None) is not None:
        return False
    try:
        layers = _layers(decoder)
    except AttributeError:
        return False
    if layers is None:
        return False
    norms, convs = layers
    return all(map(_is_plain, convs)) and all(isinstance(n, nn.GroupNorm) for n in norms)


def _layers(decoder: Any) -> tuple[list[nn.Module], list[nn.Module]] | None:
    """Return norms and convolutions of a decoder's levels; None for a level of another kind."""
    norms = [decoder.norm_out]
    convs = [decoder.conv_out]
    for level in decoder.up:
        if len(level.attn) > 0:
            return None
        for block in level.block:
            norms += [block.norm1, block.norm2]
            convs += [block.conv1, block.conv2]
            if block.in_channels != block.out_channels and not hasattr(block, "nin_shortcut"):
                return None
        if hasattr(level, "upsample"):
            convs.append(level.upsample.conv)
    return norms, convs


def _is_plain(conv: nn.Module) -> bool:
    """Return whether a layer is a 3x3 convolution that keeps the size and pads with zeros."""
    return (
        isinstance(conv, nn.Conv2d)
        and (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1))
        and conv.padding_mode == "zeros"
    )


def _store(vae: Any, latent: Tensor) -> torch.device:
    """Return the device for pictures between layers: the VAE's if two fit, else main memory."""
    device = latent.device
    if device.type == "cpu":
        return device
    widest = max(block.conv1.in_channels for block in vae.first_stage_model.decoder.up[0].block)
    pixels = latent.shape[2] * latent.shape[3] * 64
    needed = 2 * widest * pixels * latent.element_size()
    return device if needed < host.free_memory(device) else torch.device("cpu")


class _StripDecoder:
    """Runs layers over strips: ``device`` computes, ``store`` has the pictures between layers."""

    def __init__(self, device: torch.device, store: torch.device) -> None:
        self.device = device
        self.store = store

    def decode(self, decoder: nn.Module, z: Tensor) -> Tensor:
        """Decode ``[1, 16, h, w]`` to ``[1, 3, 8h, 8w]`` on ``device``."""
        x = decoder.conv_in(z)  # the middle block runs in one piece: 1/64 of the final pixels
        x = decoder.mid.block_2(decoder.mid.attn_1(decoder.mid.block_1(x)))
        x = x.to(self.store)
        for index in reversed(range(len(decoder.up))):
            level = decoder.up[index]
            for block in level.block:
                x = self.residual(block, x)
            if index != 0:
                x = self.upsample(level.upsample, x)
        affine = self.affine(decoder.norm_out, x)
        out = x.new_empty((1, decoder.conv_out.out_channels, *x.shape[2:]), device=self.device)
        for top, bottom in self.strips(x):
            out[:, :, top:bottom] = self.convolve(decoder.conv_out, x, top, bottom, affine)
        return out

    def residual(self, block: nn.Module, x: Tensor) -> Tensor:
        """Overwrite ``x`` by ``shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x))))))``."""
        affine = self.affine(block.norm1, x)
        hidden = x.new_empty((1, block.conv1.out_channels, *x.shape[2:]))
        for top, bottom in self.strips(x):
            hidden[:, :, top:bottom] = self.convolve(block.conv1, x, top, bottom, affine)
        affine = self.affine(block.norm2, hidden)
        out = x[:, : block.out_channels]
        if block.out_channels > block.in_channels:
            out = torch.empty_like(hidden)
        for top, bottom in self.strips(x):
            change = self.convolve(block.conv2, hidden, top, bottom, affine)
            rows = x[:, :, top:bottom].to(self.device)
            if block.in_channels != block.out_channels:
                rows = block.nin_shortcut(rows)
            out[:, :, top:bottom] = rows + change
        return out

    def upsample(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Repeat every pixel in both directions, then apply the layer's convolution."""
        height = x.shape[2]
        out = x.new_empty((1, layer.conv.out_channels, 2 * height, 2 * x.shape[3]))
        for top, bottom in self.strips(out):
            first, last = max(0, top // 2 - 1), min(height, -(-bottom // 2) + 1)
            rows = x[:, :, first:last].to(self.device)
            rows = nn.functional.interpolate(rows, scale_factor=2.0, mode="nearest")
            start = top - 2 * first
            out[:, :, top:bottom] = layer.conv(rows)[:, :, start : start + bottom - top]
        return out

    def convolve(
        self, conv: Callable[..., Tensor], x: Tensor, top: int, bottom: int, affine: Affine
    ) -> Tensor:
        """Return rows ``top`` to ``bottom`` of ``conv(silu(norm(x)))`` for a 3x3 convolution."""
        first, last = max(0, top - 1), min(x.shape[2], bottom + 1)
        scale, shift = affine
        rows = x[:, :, first:last].to(self.device)
        rows = torch.addcmul(shift, rows.float(), scale).to(x.dtype)
        rows = nn.functional.silu(rows, inplace=True)
        return conv(rows)[:, :, top - first : bottom - first]

    def affine(self, norm: nn.GroupNorm, x: Tensor) -> Affine:
        """Return scale and shift per channel, float32, that equal the GroupNorm of the picture."""
        count = 0
        mean = torch.zeros(norm.num_groups, dtype=torch.float64, device=self.device)
        spread = torch.zeros_like(mean)
        for top, bottom in self.strips(x):
            rows = x[:, :, top:bottom].to(self.device).float().reshape(norm.num_groups, -1)
            variance, middle = torch.var_mean(rows, dim=1, correction=0)
            n = rows.shape[1]
            # Mean and sum of squares of two samples together (Chan, Golub and LeVeque, 1979).
            delta = middle.double() - mean
            mean = mean + delta * (n / (count + n))
            spread = spread + variance.double() * n + delta.square() * (count * n / (count + n))
            count += n
        rstd = (spread / count + norm.eps).rsqrt()
        per_group = x.shape[1] // norm.num_groups
        rstd, mean = (v.float().repeat_interleave(per_group) for v in (rstd, mean))
        scale = norm.weight.to(self.device).float() * rstd
        shift = norm.bias.to(self.device).float() - mean * scale
        return scale[None, :, None, None], shift[None, :, None, None]

    def strips(self, x: Tensor) -> Iterator[tuple[int, int]]:
        """Yield row ranges that cover ``x``, each with an even number of rows.

        Raises the host's exception when the prompt was interrupted.
        """
        height, width = x.shape[2:]
        rows = max(2, STRIP_PIXELS // width // 2 * 2, height // 256 * 2)
        for top in range(0, height, rows):
            host.stop_if_interrupted()
            yield top, min(height, top + rows)
