"""What a pack says of itself, and how much of it is listened to."""

from __future__ import annotations

from ...errors import Said
from ..host.log_capture import clean, clean_lines
from ..host.object_table import WorkerDied
from ..protocol import messages as m

LONGEST_TEXT, MOST_TEXTS = 200, 1000
MOST_PATHS = 5000
"""Looked at where ComfyUI answers everybody."""
MOST_NODES, LONGEST_NAME, MOST_BYTES = 5000, 256, 32 * 2**20


def sound(info: m.PackInfo) -> m.PackInfo:
    """A description whose texts for the log are fit for it."""
    info.trace = clean_lines(info.trace, 2 * 64 * 2**10)
    del info.looked_at[MOST_PATHS:]
    info.missing = clean(info.missing)[:LONGEST_TEXT]
    for texts in (info.patched, info.handlers, info.taken):
        texts[:] = [clean(one)[:LONGEST_TEXT] for one in texts[:MOST_TEXTS]]
    for node in info.nodes:
        node.trouble = clean_lines(node.trouble, 2000)
    return info


def absurd(info: m.PackInfo) -> str:
    """Why a description cannot be meant, in words; else nothing."""
    if len(info.nodes) > MOST_NODES:
        return Said(f"{len(info.nodes)} nodes", f"{len(info.nodes)} 个节点")
    long = [one.name for one in info.nodes if len(one.name) > LONGEST_NAME]
    if not long:
        return ""
    return Said(f"a name of {len(long[0])} characters", f"一个有 {len(long[0])} 个字符的名称")


def bad(why: str) -> str:
    """The end of a process that describes its pack so."""
    return Said(f"bad description: {why}".rstrip(": "), f"无法理解的说明：{why}".rstrip("："))


def judged(data: object) -> bytes:
    """An answer that can be a description.

    Raises:
        WorkerDied: it cannot; whoever sent it is to be ended.
    """
    if not isinstance(data, bytes) or len(data) > MOST_BYTES:
        raise WorkerDied(bad(""))
    return data
