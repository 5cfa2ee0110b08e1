"""Checks and limits for what a pack's process says about the pack."""

from __future__ import annotations

from ...errors.bilingual import Bilingual
from ..protocol import messages as m
from ..protocol.exceptions import WorkerDied
from .log_capture import clean, clean_lines

LONGEST_TEXT = 200
MAX_TEXTS = 1000
MAX_PATHS = 5000
"""Files and folders whose state is read in ComfyUI's event loop."""
MAX_NODES = 5000
LONGEST_NAME = 256
MAX_BYTES = 32 * 2**20


def make_safe(info: m.PackInfo) -> m.PackInfo:
    """Make the texts of a description safe for the log, and return the description."""
    info.trace = clean_lines(info.trace, 2 * 64 * 2**10)
    del info.looked_at[MAX_PATHS:]
    info.missing = clean(info.missing)[:LONGEST_TEXT]
    for texts in (info.patched, info.handlers, info.taken):
        texts[:] = [clean(text)[:LONGEST_TEXT] for text in texts[:MAX_TEXTS]]
    for node in info.nodes:
        node.error = clean_lines(node.error, 2000)
    return info


def implausibility(info: m.PackInfo) -> Bilingual | None:
    """Return why a description is implausible, None if it is not."""
    if len(info.nodes) > MAX_NODES:
        return Bilingual(f"{len(info.nodes)} 个节点", f"{len(info.nodes)} nodes")
    lengths = [len(node.name) for node in info.nodes if len(node.name) > LONGEST_NAME]
    if not lengths:
        return None
    return Bilingual(f"一个有 {lengths[0]} 个字符的名称", f"a name of {lengths[0]} characters")


def unusable(why: str) -> Bilingual:
    """Return the reason for ending a process that sent an unusable description."""
    return Bilingual(
        f"无效的节点包描述：{why}".rstrip("："), f"bad description: {why}".rstrip(": ")
    )


def checked_bytes(data: object) -> bytes:
    """Return a response that can be a description.

    Raises:
        WorkerDied: it cannot be one; the caller has to end the worker.
    """
    if not isinstance(data, bytes) or len(data) > MAX_BYTES:
        raise WorkerDied(unusable(""))
    return data
