"""Estimate the memory of a job from the headers of its files, without reading weights."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...engine import architecture
from ...engine.safetensors_file import Header, read_header
from ...errors import ZImageError
from .precision import Precision, weight_bytes
from .sampling_jobs import FILES, Job

Find = Callable[[str, str], str | None]
"""Returns the path of a file by model folder and name: ``folder_paths.get_full_path``."""

TOKEN_SIDE = 16
"""Pixels on each side of one token of the transformer."""
MAX_TEXT_TOKENS = 4096
"""Most tokens of a text. Each character counts as one token, which few texts exceed."""
VALUES_PER_CHANNEL = 18
"""Values that the transformer holds at its peak, for each token and each of its channels.

Measured with the small models on the CPU: 18.6 to 23, from 512x512 to 2048x2048 and batches of 1 to
4. ComfyUI's own reserve for Z-Image on a GPU is equal to 17.7. The number is low, so that no prompt
is refused that would fit.
"""
PICTURE_BYTES_PER_PIXEL = 15
"""Of a finished picture: three channels, each as a float and as one byte."""


@dataclass(frozen=True)
class Needs:
    """Memory of a job in bytes.

    Attributes:
        weights: of all three models.
        one_branch: of one evaluation of the transformer. The host can evaluate the branches of
            guidance one after the other, so a job fits if one does.
        all_branches: of the evaluation of all branches of guidance at once, which is faster.
        pictures: of the finished pictures in RAM.
    """

    weights: int
    one_branch: int
    all_branches: int
    pictures: int


def needs(job: Job, precision: Precision, find: Find) -> Needs | None:
    """Return the memory of a job, or None where a file cannot be judged.

    One token of a picture is 16 × 16 pixels, and the transformer holds :data:`VALUES_PER_CHANNEL`
    values for each token and channel. The autoencoder counts as it is stored.
    """
    pairs = zip(FILES.values(), job.files, strict=True)
    headers = [header for kind, name in pairs if (header := _header(find(kind, name)))]
    if len(headers) < len(FILES):
        return None
    diffusion, text_encoder, vae = headers
    width = _channels(diffusion)
    if width is None:
        return None
    kept, computed = precision.diffusion(diffusion, job.dtype)
    pixels = job.width * job.height + (job.references if _takes_references(diffusion) else 0)
    tokens = pixels // TOKEN_SIDE**2 + min(job.text, MAX_TEXT_TOKENS)
    one_branch = job.batch * tokens * width * computed * VALUES_PER_CHANNEL
    text_bytes = weight_bytes(text_encoder, precision.text_encoder(text_encoder))
    return Needs(
        weight_bytes(diffusion, kept) + text_bytes + _stored(vae),
        one_branch,
        one_branch * job.branches,
        job.batch * job.width * job.height * PICTURE_BYTES_PER_PIXEL,
    )


def _channels(header: Header) -> int | None:
    """Return the channels of a transformer, to which its text embedder maps; None without one."""
    for name, shape in header.shapes.items():
        if name.endswith("cap_embedder.1.weight"):
            return shape[0]
    return None


def _takes_references(header: Header) -> bool:
    """Return whether a model takes reference pictures, which are tokens like its result."""
    with contextlib.suppress(ZImageError):
        if architecture.declared(header.metadata, "").get("variant") in architecture.REFERENCES:
            return True
    return any(name.endswith(architecture.SIGLIP) for name in header.tensors)


def _stored(header: Header) -> int:
    return max(info.end for info in header.tensors.values())


def _header(path: str | None) -> Header | None:
    if path is None:
        return None  # an official folder, or no file, which the loader reports
    try:
        status = Path(path).stat()
        return _read(path, status.st_size, status.st_mtime_ns)
    except (OSError, ZImageError):
        return None


@functools.lru_cache(maxsize=32)
def _read(path: str, _size: int, _changed: int) -> Header:
    return read_header(path)
