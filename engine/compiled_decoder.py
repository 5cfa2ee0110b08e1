"""The VAE decoder, compiled where that pays: on CUDA. Elsewhere, and after a failure, as it is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

log = logging.getLogger(__name__)

Decoder = Callable[[torch.Tensor], torch.Tensor]

_reported = False


def decoder_of(vae: Any, compiler: Callable[..., Decoder] = torch.compile) -> Decoder:
    """A callable ``[B, 16, h, w] -> [B, 3, 8h, 8w]`` for a loaded host VAE.

    On CUDA it is compiled at its first use, once per module and shape. When compiling fails, for
    want of a C compiler for instance, that is logged once and the plain decoder is used from then
    on; results agree within the rounding of the working precision.
    """
    module = vae.first_stage_model
    if torch.device(vae.device).type != "cuda":
        return module.decode
    kept = getattr(vae, "_zimage_decoder", None)
    if kept is None:  # kept on the VAE object, so that it goes when the VAE goes
        kept = vae._zimage_decoder = _guarded(module, compiler)
    return kept


def _guarded(module: torch.nn.Module, compiler: Callable[..., Decoder]) -> Decoder:
    fast: Decoder | None = None
    failed = False

    def decode(latent: torch.Tensor) -> torch.Tensor:
        nonlocal fast, failed
        plain: Decoder = module.decode  # type: ignore[assignment]
        if failed:
            return plain(latent)
        try:
            if fast is None:
                fast = compiler(plain, dynamic=False)
            return fast(latent)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - compilers fail in every way there is
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
