"""The VAE decoder, compiled on CUDA; uncompiled elsewhere and after a compiler failure."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

log = logging.getLogger(__name__)

Decoder = Callable[[torch.Tensor], torch.Tensor]

_reported = False


def decoder_of(vae: Any, compiler: Callable[..., Decoder] = torch.compile) -> Decoder:
    """Return a callable ``[B, 16, h, w] -> [B, 3, 8h, 8w]`` for a loaded host VAE.

    On CUDA, its first use compiles it, once per module and shape. When compilation fails (without
    a C compiler, for instance), the failure is logged once and the uncompiled decoder is used.
    Both give the same result within the rounding of the working precision.

    Args:
        vae: the host's VAE.
        compiler: replaces ``torch.compile`` in tests.
    """
    module = vae.first_stage_model
    if torch.device(vae.device).type != "cuda":
        return module.decode
    decoder = getattr(vae, "_zimage_decoder", None)
    if decoder is None:  # an attribute of the VAE, so that both have the same lifetime
        decoder = vae._zimage_decoder = _guarded(module, compiler)
    return decoder


def _guarded(module: torch.nn.Module, compiler: Callable[..., Decoder]) -> Decoder:
    """Return a decoder that compiles itself and falls back to the module after a failure."""
    compiled: Decoder | None = None
    failed = False

    def decode(latent: torch.Tensor) -> torch.Tensor:
        nonlocal compiled, failed
        plain: Decoder = module.decode  # type: ignore[assignment]
        if failed:
            return plain(latent)
        try:
            if compiled is None:
                compiled = compiler(plain, dynamic=False)
            return compiled(latent)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - the types of compiler errors are not documented
            failed = True
            _report(error)
            return plain(latent)

    return decode


def _report(error: Exception) -> None:
    global _reported
    if not _reported:
        _reported = True
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        log.warning("VAE decoder runs uncompiled (%s)", reason[:300])
