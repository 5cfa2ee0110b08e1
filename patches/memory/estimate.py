"""What memory a job needs, judged by the headers of its files alone; no weights are read."""

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
"""Path of a file by model folder and name, as the host's ``folder_paths.get_full_path``."""

TOKEN = 16
"""Pixels a side that one token of the transformer stands for."""
LONGEST_TEXT = 4096
"""Tokens of a prompt; it has at most about as many as characters."""
VALUES = 18
"""Values that the transformer holds at its peak, for each token and each of its channels.

Measured with the small models on the CPU: 18.6 to 23, from 512x512 to 2048x2048 and batches of 1 to
4. What ComfyUI reserves for Z-Image on a GPU comes to 17.7. The least counts, because prompts are
refused by it.
"""
PICTURE = 15
"""Bytes of a finished picture for each pixel: three channels, as one byte and as float."""


@dataclass(frozen=True)
class Needs:
    """Bytes.

    Attributes:
        weights: of all three models.
        working: of one evaluation of the transformer, at least.
        room: of it with all branches of guidance at once.
        pictures: of what is handed on in RAM.
    """

    weights: int
    working: int
    room: int
    pictures: int


def needs(job: Job, precision: Precision, find: Find) -> Needs | None:
    """Return what a job takes, or None where a file cannot be judged.

    One token of a picture is 16 × 16 pixels, and the transformer holds :data:`VALUES` values for
    each token and channel. The autoencoder counts as it is stored.
    """
    pairs = zip(FILES.values(), job.files, strict=True)
    headers = [header for kind, name in pairs if (header := _header(find(kind, name)))]
    if len(headers) < len(FILES):
        return None
    diffusion, text_encoder, vae = headers
    shapes = diffusion.shapes
    width = next((s[0] for n, s in shapes.items() if n.endswith("cap_embedder.1.weight")), None)
    if width is None:
        return None
    kept, computed = precision.diffusion(diffusion, job.dtype)
    pixels = job.width * job.height + (job.references if _looks(diffusion) else 0)
    tokens = pixels // TOKEN**2 + min(job.text, LONGEST_TEXT)
    working = job.batch * tokens * width * computed * VALUES
    text_bytes = weight_bytes(text_encoder, precision.text_encoder(text_encoder))
    return Needs(
        weight_bytes(diffusion, kept) + text_bytes + _stored(vae),
        working,
        working * job.branches,
        job.batch * job.width * job.height * PICTURE,
    )


def _looks(header: Header) -> bool:
    """Whether a model takes reference pictures: tokens as those of what it makes."""
    with contextlib.suppress(ZImageError):
        if architecture.declared(header.metadata, "").get("variant") in architecture.REFERENCES:
            return True
    return any(name.endswith(architecture.SIGLIP) for name in header.tensors)


def _stored(header: Header) -> int:
    return max(info.end for info in header.tensors.values())


def _header(path: str | None) -> Header | None:
    if path is None:
        return None  # an official folder, or nothing: the loader tells
    try:
        about = Path(path).stat()
        return _read(path, about.st_size, about.st_mtime_ns)
    except (OSError, ZImageError):
        return None


@functools.lru_cache(maxsize=32)
def _read(path: str, _size: int, _changed: int) -> Header:
    return read_header(path)
